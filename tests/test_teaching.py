"""`linearnexus explain`: every number beside an independent computation, every picture read, every mistake answered.

The run is a tiny hybrid, a Mamba and an attention layer, trained on a part of the stories. The commands of
docs/concepts.md run on it too; what does not depend on the model or on times is compared with what the page shows.
"""

import dataclasses
import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linearnexus as ln
from linearnexus.cli import explain as verb
from linearnexus.cli import generate as writing
from linearnexus.cli import inspect, options
from linearnexus.cli import tokenizer as cutter
from linearnexus.cli.main import main
from linearnexus.core.errors import UserError
from linearnexus.data.corpora import load_corpus
from linearnexus.generation.config import SamplingConfig
from linearnexus.models.costs import costs
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import preset
from linearnexus.teaching import attention, cache, complexity, generate, hybrid, mamba, picture, runs, sampling, size
from linearnexus.teaching import tokens as cutting
from linearnexus.teaching import training as teaching_training
from linearnexus.teaching.topics import ALSO, TOPICS
from linearnexus.tokenizers import CharTokenizer
from linearnexus.training import run_folder
from linearnexus.training.run_folder import STORYTELLER
from scripts.concepts import COLUMNS, commands, tidy
from tests.laws.reference import rotate
from tests.tiny import MODELS, config

CONCEPTS = (Path(__file__).resolve().parents[1] / "docs" / "concepts.md").read_text(encoding="utf-8")
TRAIN = "train jamba-nano --data part.txt --tokenizer word"
SMALL = "--pattern mamba,attention --n-layer 2 --hidden-size 32 --batch-size 4 --sequence-length 32 --max-steps 30"
FEW = "--sample-tokens 0 --eval-batches 1 --optimizer adamw --name hybrid"
TEXT = TOPICS["attention"].example
SAMPLE = cutting.SAMPLE
load_once = functools.cache(load_corpus)  # writing the stories takes a second
forward = jax.jit(LanguageModel.__call__)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained hybrid, runs/hybrid (the latest), and a GPT that has no weights yet, runs/gpt."""
    made = tmp_path_factory.mktemp("teaching")
    (made / "part.txt").write_text(load_once("stories").text[:200_000])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(options, "prepare", lambda on_message: None)
        gpt = config("gpt", data="part.txt")
        run_folder.write_config(run_folder.create(gpt, "gpt"), gpt, {"corpus": {"sha256": ""}})
        main([*TRAIN.split(), *SMALL.split(), *FEW.split()])
    return made


@pytest.fixture(autouse=True)
def in_place(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the folder; the process's memory settings stay as they are, and measurements are short."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for module in (verb, inspect, writing):
        monkeypatch.setattr(module, "prepare", lambda on_message: None)
    monkeypatch.setattr(complexity, "LENGTHS", (32, 64))
    monkeypatch.setattr(complexity, "DOUBLING", 32)
    monkeypatch.setattr(cutting, "SAMPLE", 100_000)
    for module in (cutting, cutter):
        monkeypatch.setattr(module, "load_corpus", load_once)
    monkeypatch.setattr(complexity, "ROUNDS", 1)
    monkeypatch.setattr(cache, "LENGTHS", (16, 32))
    monkeypatch.setattr(cache, "ROUNDS", 1)
    monkeypatch.setattr(cache, "preset", lambda name: MODELS["mamba"])
    yield


@pytest.fixture(scope="module")
def run(place: Path) -> ln.Run:
    return ln.load(place / "runs" / "hybrid")


@pytest.fixture(scope="module")
def logits(run: ln.Run) -> np.ndarray:
    """[T, W] of TEXT, from one full forward pass."""
    ids = jnp.asarray([run.tokenizer.encode(TEXT)])
    return np.asarray(forward(run.model, ids).logits[0], np.float64)


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_attention_is_the_softmax_of_queries_and_keys(run: ln.Run) -> None:
    """Catches maps of another layer or head, rows for columns, a mask that is drawn and not the model's."""
    ids = run.tokenizer.encode(TEXT)
    x = run.model.embedding[jnp.asarray([ids])]
    context = complexity.context(len(ids))
    x = run.model.blocks[0](x, context).y  # the layer before
    inputs = np.asarray(run.model.blocks[1].norm(x)[0], np.float64)
    mixer = run.model.blocks[1].mixer
    heads = attention.maps_of(run, ids)
    assert [head.name for head in heads] == [f"layer 2, head {number}" for number in (1, 2, 3, 4)]
    for number, head in enumerate(heads):
        part = slice(8 * number, 8 * number + 8)
        q, k = (inputs @ np.asarray(w, np.float64)[:, part] for w in (mixer.wq, mixer.wk))
        q, k = (np.array([rotate(row, t, mixer.config.rope_theta) for t, row in enumerate(rows)]) for rows in (q, k))
        for t in range(len(ids)):
            np.testing.assert_allclose(head.weights[t, : t + 1], softmax(k[: t + 1] @ q[t] / 8**0.5), atol=1e-5)
            assert np.isnan(head.weights[t, t + 1 :]).all()
        distance = sum(head.weights[t, s] * (t - s) for t in range(len(ids)) for s in range(t + 1)) / len(ids)
        assert head.distance == pytest.approx(distance)


def test_what_tokens_wrote_adds_up_to_the_state(run: ln.Run) -> None:
    """Catches a decay applied too early or too late, and writes that are not the model's. The state is that of the
    model's own steps."""
    ids = run.tokenizer.encode(TEXT)
    parts = mamba.parts(runs.seen(run, ids)[0])
    state = run.model.init_state(1, 32)
    for token, of_each in zip(ids, parts, strict=True):
        _, state = generate.step(run.model, jnp.asarray([token]), state)
        np.testing.assert_allclose(of_each.sum(0), state.layers[0].h[0], rtol=1e-4, atol=1e-6)
    (layer,) = mamba.layers_of(run, ids)
    assert layer.layer == 1 and layer.numbers == state.layers[0].h[0].size
    falls = np.diff(layer.remains, axis=0)
    assert np.diagonal(layer.remains) == pytest.approx(1)
    assert (falls[np.tril(np.ones_like(falls), 0) > 0] <= 1e-6).all()  # a write only fades
    assert np.isnan(layer.remains[np.triu_indices(len(ids), 1)]).all()
    assert 0 < layer.kept < 1


@pytest.mark.slow
def test_the_loop_writes_what_generate_writes(run: ln.Run) -> None:
    """Catches another seed, index or state than the engine's, and probabilities of another step."""
    prompt = TOPICS["generate"].example
    steps = generate.loop(run, prompt)
    assert "".join(step.token for step in steps) == run.generate(prompt, max_tokens=len(steps))
    begin = run.tokenizer.encode(prompt)
    ids = begin + [token for step in steps for token in run.tokenizer.encode(step.token)]
    scores = np.asarray(forward(run.model, jnp.asarray([ids])).logits[0], np.float64)
    for place, step in enumerate(steps, len(begin)):
        assert step.text == run.tokenizer.decode(ids[:place])
        expected = softmax(scores[place - 1] / SamplingConfig().temperature)
        assert step.probability == pytest.approx(expected[ids[place]], rel=1e-3)
        assert [p for _, p in step.candidates] == pytest.approx(sorted(expected, reverse=True)[:4], rel=1e-3)


@pytest.mark.slow
def test_strategies_change_the_probabilities_as_the_guide_says(run: ln.Run, logits: np.ndarray) -> None:
    """Catches a stage of sampling that is not applied, or applied to another strategy."""
    found = sampling.distributions(run, TEXT)
    scores = logits[-1]
    order = np.argsort(-scores)
    plain = softmax(scores)
    three = np.where(plain >= plain[order[2]], plain, 0)
    before = np.cumsum(plain[order]) - plain[order]
    nucleus = np.zeros_like(plain)
    nucleus[order[before < 0.9]] = plain[order[before < 0.9]]
    expected = {
        "greedy": np.eye(len(scores))[order[0]],
        "T = 0.5": softmax(scores / 0.5),
        "T = 1": plain,
        "T = 1.5": softmax(scores / 1.5),
        "top-k 3": three / three.sum(),
        "top-p 0.9": nucleus / nucleus.sum(),
    }
    assert list(found) == list(expected)
    for name, seen in found.items():
        assert [c.id for c in seen.candidates] == list(order[: len(seen.candidates)])
        given = [c.probabilities[sampling.LAST] for c in seen.candidates]
        assert given == pytest.approx(expected[name][order[: len(given)]], abs=1e-5), name
        assert seen.kept[sampling.LAST] == (expected[name] > 0).sum()
    written = sampling.continuations(run, TEXT)
    assert [len(texts) for texts in written.values()] == [1, 10, 10, 10, 10, 10]
    assert written["greedy"] == [run.generate(TEXT, max_tokens=sampling.LENGTH, temperature=0)]


def test_losses_are_those_of_training(run: ln.Run, logits: np.ndarray) -> None:
    """Catches a shift by none or two, and bits for nats."""
    pairs = teaching_training.losses(run, TEXT)
    tokens = [run.tokenizer.decode([token]) for token in run.tokenizer.encode(TEXT)]
    assert [pair.input for pair in pairs] == tokens[:-1] and [pair.target for pair in pairs] == tokens[1:]
    targets = run.tokenizer.encode(TEXT)[1:]
    expected = -np.log(softmax(logits)[np.arange(len(targets)), targets])
    assert [pair.loss for pair in pairs] == pytest.approx(expected, rel=1e-4)
    said = " ".join(str(part) for part in teaching_training.explain(run, TEXT).parts)
    assert f"Mean loss {expected.mean():.3f} nats" in said


def test_parts_of_a_model_are_all_of_it() -> None:
    """Catches a weight that is counted twice or never."""
    for name in ("gpt2-small", "jamba-moe-nano", "rwkv7-nano"):
        assert sum(size.parts(preset(name)).values()) == costs(preset(name)).parameters, name
    assert size.parts(preset("gpt2-small"))["embedding"] == 50_257 * 768


def test_layers_keep_what_their_states_take(run: ln.Run) -> None:
    found = hybrid.layers_of(run.config.model)
    assert [(layer.mixer, layer.grows) for layer in found] == [("mamba", False), ("attention", True)]
    for place, length in enumerate(hybrid.LENGTHS[:2]):
        state = run.model.init_state(1, length)
        assert [layer.bytes[place] for layer in found] == [cache.nbytes(layer) for layer in state.layers]
    assert found[1].keeps == "keys 4 x 8192 x 8\nvalues 4 x 8192 x 8"


@pytest.mark.slow
def test_states_stay_and_caches_grow() -> None:
    """Times are measured elsewhere: a busy machine must raise no alarm."""
    found = complexity.measured((32, 64), 1)
    assert found["attention"].kept == {32: 32_768, 64: 65_536}
    assert len(set(found["Mamba"].kept.values())) == 1
    assert all(its.seconds[length] > 0 for its in found.values() for length in its.seconds)
    its = complexity.ComplexityMeasurement({16: 1.0, 32: 2.5, 64: 10.0, 512: 5.0}, {}, {})
    assert complexity.doublings(its) == [(64, 4.0)]  # from 32 tokens up


def test_a_measured_step_goes_on_from_so_many_tokens(run: ln.Run) -> None:
    """Catches a state that begins again: then the cache would look cheaper than it is."""
    found = cache.measured(run.config.model, (16, 32), 1)
    grown = found.bytes[32] - found.bytes[16]
    assert grown == 16 * 2 * 32 * 4  # keys and values of 16 tokens, float32
    assert set(found.cached) == set(found.without) == {16, 32}
    _, state = cache.more(run.model, cache.after(run.model, 16))
    assert state.index.tolist() == state.position.tolist() == [16 + cache.STEPS]


def test_tokens_are_those_of_the_guide() -> None:
    found = {cut.kind: cut for cut in cutting.cuts("Hello, world!")}
    assert [int(token) for _, token in found["BPE of GPT-2"].tokens] == [15496, 11, 995, 0]
    assert found["BPE of GPT-2"].vocab_size == 50_257
    assert len(found["character"].tokens) == 13 and len(found["word"].tokens) == 4


# --- the pictures -----------------------------------------------------------------------------------------------------


def words_of(svg: str) -> list[str]:
    """The words of an SVG, which must be well-formed; all is inside its frame and large enough to read."""
    root = ET.fromstring(svg)
    frame = [float(value) for value in root.attrib["viewBox"].split()]
    space = "{http://www.w3.org/2000/svg}"
    for shape in root.iter(f"{space}rect"):
        x, y, width, height = (float(shape.get(name, 0)) for name in ("x", "y", "width", "height"))
        assert x >= -0.1 and x + width <= frame[2] + 0.1 and y >= -0.1 and y + height <= frame[3] + 0.1
    texts = list(root.iter(f"{space}text"))
    assert all(0 <= float(text.attrib["x"]) <= frame[2] and 0 <= float(text.attrib["y"]) <= frame[3] for text in texts)
    for text in texts:
        size, wide = float(text.attrib["font-size"]), 0.61 if text.get("class") == "mono" else 0.55
        length = len(text.text or "") * size * wide
        begin = float(text.attrib["x"]) - length * {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]]
        assert size >= 11
        assert text.get("transform") or (begin >= -5 and begin + length <= frame[2] + 5), text.text
    return [text.text or "" for text in texts]


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.slow
def test_every_topic_in_the_terminal_and_as_a_picture(topic: str, tmp_path: Path, capsys) -> None:
    """Catches a topic that fails, a line wider than the terminal, colours in a file, a picture without title or units.
    The look into the run is the default one."""
    file = tmp_path / f"{topic}.svg"
    text = ["runs/hybrid"] if TOPICS[topic].about == "model" else []
    main(["explain", topic, *text, "--save", str(file)])
    out = capsys.readouterr().out
    assert "\x1b" not in out and "nan" not in out.lower().replace("nano", "")
    told = out.splitlines()
    assert max(len(line) for line in told if not line.startswith(("Next:", "Saved"))) <= 80
    assert told[-1] == f"Next: {TOPICS[topic].command}"
    assert " ".join(told).count("Look for:") == 1
    axes = {
        "generate": "probability of the next token, percent",
        "sampling": "probability, percent",
        "tokens": " tokens of 50,257",
        "attention": "share of attention",
        "complexity": "time to read the text, ms",
        "mamba": "left in the state of what a token wrote",
        "hybrid": "KiB kept after 8,192 tokens",
        "training": "nats or more: blind guessing",
        "cache": "time of one more token, ms",
        "size": "million parameters",
    }
    words = " | ".join(words_of(file.read_text()))
    assert axes[topic] in words
    assert ET.fromstring(file.read_text()).attrib["aria-label"] in words


def test_pictures_stay_in_their_frames(run: ln.Run) -> None:
    """Catches letters that are too small, and shapes that are cut off."""
    long = "Once upon a time there was a princess called Nora. " * 2
    assert "layer 2, head 2" in words_of(picture.svg(attention.explain(run, long).picture))
    assert "layer 1" in words_of(picture.svg(mamba.explain(run, long).picture))
    assert "tokens 2 to 13" in words_of(picture.svg(teaching_training.explain(run, long).picture))
    strange = words_of(picture.svg(cutting.explain("a<b>&\u4f60").picture))
    assert "'a<b>&\u4f60' as tokens" in strange
    assert any(text.startswith("The character '<'") for text in strange)  # not learned
    assert "gpt2-small" in " ".join(words_of(picture.svg(size.explain("gpt2-small", preset("gpt2-small")).picture)))


def test_a_png_has_the_shapes_of_the_svg(tmp_path: Path) -> None:
    """Catches a picture upside down or of another size: a box, a line and words are found where they were placed."""
    from matplotlib.image import imread

    box = picture.Rect(10, 20, 30, 10, "#ff0000")
    line = picture.Line(((100, 5), (100, 95)), "#0000ff", 4)
    words = picture.Label(150, 80, "cost: $5 and $6", 20, "#00ff00", bold=True)
    path = tmp_path / "x.png"
    picture.save(picture.Picture("x", 400, 100, (box, line, words)), str(path))
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    assert pixels.shape == (100 * picture.PNG_SCALE, 400 * picture.PNG_SCALE, 3)
    scale = picture.PNG_SCALE
    assert pixels[25 * scale, 25 * scale].tolist() == [255, 0, 0]
    assert pixels[50 * scale, 100 * scale].tolist() == [0, 0, 255]
    assert pixels[2, 2].tolist() == [255, 255, 255]
    green = np.argwhere((pixels[..., 1] > 200) & (pixels[..., 0] < 50)) / scale
    assert green[:, 0].min() > 55 and green[:, 0].max() < 90 and green[:, 1].min() > 149


# --- the command line -------------------------------------------------------------------------------------------------


def test_without_a_topic_the_list(capsys) -> None:
    main(["explain"])
    told = capsys.readouterr().out
    assert re.findall(r"^(\w+)  +\w", told, re.MULTILINE) == list(TOPICS)


@pytest.mark.parametrize("word", ["bpe", "BPE", "vocabulary"])
def test_a_word_of_the_glossary_is_a_topic_too(word: str, capsys) -> None:
    main(["explain", "tokens", "abc"])
    told = capsys.readouterr().out
    main(["explain", word, "abc"])
    assert capsys.readouterr().out == told
    assert set(ALSO.values()) == set(TOPICS) - {"generate"} and not set(ALSO) & set(TOPICS)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["atention"], "did you mean 'attention'?"),
        (["attention", TEXT, "--run", "gone"], "There is no run named 'gone'"),
        (["attention", "a"], "give a longer one"),
        (["mamba", TEXT * 9], "give a shorter one"),
        (["mamba", TEXT, "--run", "runs/gpt"], "has no mamba layer"),
        (["tokens", "--run", "runs/gpt"], "leave --run out"),
        (["complexity", "a"], "takes no text"),
        (["size", "gpt-nanoo"], "did you mean 'gpt-nano'?"),
        (["size", "gpt-nano", "--run", "runs/gpt"], "not both"),
        (["size", "--save", "a.gif"], ".svg or .png"),
        (["size", "--save", "nowhere/a.svg"], "There is no folder nowhere"),
        (["size", "--save", "text.txt.svg/../text.txt"], ".svg or .png"),
        (["size", "--save", "there.svg"], "there.svg exists"),
        (["size", "--savee", "a.svg"], "did you mean '--save'?"),
    ],
)
def test_a_mistake_gets_a_sentence(arguments: list[str], says: str, place: Path, capsys) -> None:
    (place / "there.svg").write_text("mine")
    before = sorted(path for path in place.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(["explain", *arguments])
    told = capsys.readouterr()
    assert end.value.code == 2 and told.out == ""
    assert told.err.startswith("linearnexus: ") and told.err.count("\n") == 1 and says in told.err
    assert sorted(place.rglob("*")) == before and (place / "there.svg").read_text() == "mine"


def test_an_example_that_the_model_cannot_read(run: ln.Run) -> None:
    letters = dataclasses.replace(run, tokenizer=CharTokenizer("abc"))
    assert runs.example(letters, "cab") == "cab"
    with pytest.raises(UserError, match="give a text like those it has read"):
        runs.example(letters, "cabs")


def test_without_a_run_the_model_of_the_package_is_shown(
    run: ln.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where the latest has no such layer; a run that was asked for is never replaced."""
    told: list[str] = []
    gpt = config("gpt")
    monkeypatch.chdir(tmp_path)
    opened = lambda *asked: runs.open_run(*asked, told.append).folder  # noqa: E731
    monkeypatch.setattr(runs, "load", lambda folder, on_message: dataclasses.replace(run, folder=folder))
    assert opened(None, "mamba") == run_folder.PRETRAINED[STORYTELLER] and told == []
    run_folder.write_config(run_folder.create(gpt, "gpt"), gpt, {"corpus": {"sha256": ""}})
    run_folder.remember_latest(Path("runs/gpt"))
    assert opened(None, "attention") == Path("runs/gpt") and told == []
    assert opened(None, "mamba") == run_folder.PRETRAINED[STORYTELLER]
    assert len(told) == 1 and "runs/gpt has no mamba layer" in told[0]
    with pytest.raises(UserError, match="runs/gpt has no mamba layer"):
        opened("gpt", "mamba")


def test_the_model_of_the_package_writes_sentences_and_stays_as_it_is() -> None:
    """From its own files, a few MB; a word of most is one token, so that the next word can be shown."""
    run = ln.load(STORYTELLER)
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6e6
    assert "She" in [run.tokenizer.decode([number]).strip() for number in run.tokenizer.encode(TEXT)]
    story = run.generate("Once upon a time there was a", max_tokens=60, temperature=0.5)
    known = {word.strip('.,!?"') for word in load_once("stories").text.split()}
    assert {word.strip('.,!?"') for word in story.split()[:-1]} <= known
    with pytest.raises(UserError, match="train --from storyteller"):
        ln.train(resume=STORYTELLER)


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands_of_the_page(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Catches a command that was renamed, an output that is no longer the one shown, a topic that is left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(place / "runs")
    monkeypatch.setattr(cutting, "SAMPLE", SAMPLE)
    explained = set()
    for command in commands(CONCEPTS):
        words = ["runs/latest" if word == STORYTELLER else word for word in command.words]
        if words[:2] == ["explain", "cache"]:
            words.insert(2, "runs/latest")  # a smaller model
        main(words)
        printed = tidy(capsys.readouterr().out)
        assert printed.strip(), words
        if command.kind == "text":
            assert printed == command.output, "run: python -m scripts.concepts docs/concepts.md"
        explained.add(words[1] if words[0] == "explain" and len(words) > 1 else "")
    assert explained >= set(TOPICS)
    saved = {path.name for path in tmp_path.glob("*.svg")}
    assert saved >= {Path(target).name for target in re.findall(r"\]\((images/[^)]+)\)", CONCEPTS)}
