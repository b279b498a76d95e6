"""Fine-tuning: conversations to batches, templates, adapters, whole runs, chat."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import linearnexus as ln
from linearnexus.core.errors import UserError
from linearnexus.generation.config import SamplingConfig
from linearnexus.interop.families import linear_layers
from linearnexus.mixers.configs import AttentionConfig, MLPConfig, MoEConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.posttraining import peft
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.conversations import messages_of, read
from linearnexus.posttraining.lora import Adapters, adaptable, describe
from linearnexus.posttraining.recipes import default_sft_config
from linearnexus.posttraining.session import Session
from linearnexus.posttraining.source import open_conversations
from linearnexus.posttraining.templates import (
    JinjaTemplate,
    Message,
    PlainTemplate,
    encode_conversation,
    stop_text,
    template_of,
)
from linearnexus.tokenizers import ByteTokenizer, CharTokenizer, TiktokenTokenizer
from linearnexus.training import checkpoint
from tests.steps import losses
from tests.tiny import MODELS, config

LETTERS = "".join(map(chr, range(32, 127))) + "\n"
WORDS = ("red", "blue", "green", "black", "white", "brown", "pink")
SHORT: dict[str, Any] = {"sample_tokens": 4, "eval_interval": 10, "log_interval": 7, "sequence_length": 64}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run runs/base, which knows ASCII, and questions.jsonl with 41 examples, one too long."""
    made = tmp_path_factory.mktemp("sft")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        Path("text.txt").write_text((LETTERS + "User: the color\n\nAssistant: red\n\n") * 40)
        ln.train(config("jamba", "text.txt", max_steps=2, sample_tokens=0), name="base", quiet=True)
        lines = [json.dumps({"prompt": f"color {n % 7}", "completion": WORDS[n % 7]}) for n in range(40)]
        Path("questions.jsonl").write_text("\n".join([*lines, json.dumps({"prompt": "x" * 90, "completion": "no"})]))
    return made


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def learned(**options: Any) -> SFTConfig:
    return dataclasses.replace(
        default_sft_config(config("gpt")), data="questions.jsonl", **{"sequence_length": 64, **options}
    )


# --- templates and batches --------------------------------------------------------------------------------------------

TALK = [Message("system", "Be kind."), Message("user", "a\n\nb"), Message("assistant", "c"), Message("user", "d")]
TALK.append(Message("assistant", "e"))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer.train(LETTERS), TiktokenTokenizer("gpt2")])
def test_the_plain_template(tokenizer: Any) -> None:
    """Only the answers and their ends are learned, in the same ids as when they are asked for. Catches an end that is
    not learned, a marker that is, and a blank line that ends an answer before it is over."""
    template = template_of(tokenizer)
    ids, answers = encode_conversation(TALK, template, tokenizer, stop_text(template, tokenizer))
    text = tokenizer.decode(ids)
    end = stop_text(template, tokenizer)
    assert end == ("\n\n" if tokenizer.end_token is None else "<|endoftext|>")
    between = "\n\n" if tokenizer.end_token is not None else ""
    question = "a\n\nb" if tokenizer.end_token is not None else "a\nb"
    assert text == (f"System: Be kind.\n\nUser: {question}\n\nAssistant: c{end}{between}User: d\n\nAssistant: e{end}")
    runs = "".join("x" if answer else "." for answer in answers)
    taught = [tokenizer.decode(ids[a:b]) for a, b in spans(runs)]
    assert taught == [f" c{end}", f" e{end}"]
    if tokenizer.end_token is not None:
        assert ids[-1] == tokenizer.end_token
    assert ids[: runs.index("x")] == tokenizer.encode(template.text(TALK[:2], True))
    with pytest.raises(UserError, match="does not know them all"):
        template_of(CharTokenizer.train("abc"))


def spans(runs: str) -> list[tuple[int, int]]:
    begins = [n for n in range(len(runs)) if runs[n] == "x" and (n == 0 or runs[n - 1] == ".")]
    return [(n, n + len(runs[n:].split(".")[0])) for n in begins]


def test_a_tokenizers_own_template() -> None:
    """ChatML as in SmolLM2 and Qwen, on a tokenizer whose special tokens are looked up by name. Catches a special token
    that is written as text, a text of the user's that becomes one, and a template that cannot be run."""
    pytest.importorskip("jinja2")

    @dataclasses.dataclass(frozen=True)
    class Special(CharTokenizer):
        special_tokens: ClassVar = {"<|im_start|>": 200, "<|im_end|>": 201}

        def decode(self, ids: Any) -> str:
            names = {number: name for name, number in self.special_tokens.items()}
            return "".join(names.get(id_) or CharTokenizer.decode(self, [id_]) for id_ in ids)

    tokenizer, template = Special(LETTERS), JinjaTemplate(CHATML, "", "<|im_end|>")
    assert stop_text(template, tokenizer) == "<|im_end|>"
    ids, answers = encode_conversation(TALK, template, tokenizer, stop_text(template, tokenizer))
    assert ids.count(200) == 5 and ids.count(201) == 5 and ids[-1] == 201
    taught = [tokenizer.decode([id_]) for id_, answer in zip(ids, answers, strict=True) if answer]
    assert taught == ["c", "<|im_end|>", "e", "<|im_end|>"]
    with pytest.raises(UserError, match=r"holds the special token <\|im_end\|>"):
        encode_conversation([Message("user", "a<|im_end|>"), Message("assistant", "b")], template, tokenizer, "")
    for source in ("{{ raise_exception('no system') }}", "{{ messages.__class__.__mro__[1].__subclasses__() }}"):
        with pytest.raises(UserError, match="chat template refuses"):
            JinjaTemplate(source, "", "").text(TALK, True)
    forgets = JinjaTemplate("{{ messages[-1].content }}", "", "")
    with pytest.raises(UserError, match="otherwise once it goes on"):
        encode_conversation(TALK, forgets, tokenizer, "")


def test_only_answers_count_in_packed_rows() -> None:
    """Every example is in one row, whole, and the targets that count are its answers. Catches weights that are shifted
    by one, lost or doubled by packing, an example that is trained on and held out, and padding that counts."""
    source = open_conversations(learned(), Path("runs/base/tokenizer.json"))
    batches = source.batches(learned())
    rows = batches.rows(np.arange(batches.rows_per_epoch))
    assert rows.starts is not None and rows.weights is not None and rows.valid is not None
    seen = []
    for inputs, targets, starts, weights, valid in zip(*rows, strict=True):
        row = [*inputs, targets[-1]]
        begins = [*np.flatnonzero(starts), int(valid.sum()) + (weights[-1] == 1)]  # a full row ends with a target
        for begin, end in itertools.pairwise(begins):
            text = source.tokenizer.decode(row[begin:end])
            number, answer = text.split(" ")[2][0], text.split("Assistant:")[1]
            assert answer == f" {WORDS[int(number)]}\n\n"
            counted = targets[begin:end][weights[begin:end] == 1]
            assert source.tokenizer.decode(counted) == answer and set(weights[begin:end]) == {0, 1}
            seen.append(text)
        assert not weights[~valid].any()
    held = source.tokenizer.decode(source.validation.ids).split("User: ")[1:]
    assert len(seen) + len(held) == 40 and len(held) >= 4
    assert not {text.removeprefix("User: ") for text in seen} & set(held)
    total = sum(weights.sum() for share in source.evaluation(learned()) for _, weights in share.batches)
    assert total == source.validation.answers.sum()


def test_examples_that_are_too_long() -> None:
    """Catches one that is dropped or cut in silence, and a row that it does not fit in."""
    source = open_conversations(learned(), Path("runs/base/tokenizer.json"))
    assert (
        "1 of 41 examples are longer than the 64 tokens" in source.notes[0] and "left out: line 41." in source.notes[0]
    )
    assert "line" in source.notes[1] and "held out: 'color" in source.notes[1]
    short = learned(sequence_length=30, too_long="cut")  # of the answers of 41 examples, those of three letters fit
    source = open_conversations(short, Path("runs/base/tokenizer.json"))
    assert "were cut" in source.notes[1] and max(np.diff([*source.train.starts, source.train_tokens])) <= 31
    with pytest.raises(UserError, match=r"No example of questions\.jsonl fits"):
        open_conversations(learned(sequence_length=8), Path("runs/base/tokenizer.json"))


def test_the_questions_that_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same every time; their answers stand in the text that is shown; a file of that name goes before them."""
    data, found = read(Path("story-questions"))
    assert data == read(Path("story-questions"))[0] and len(found) == 2000
    for _, messages in found[:200]:
        text = messages[0].content
        assert messages[0].role == "user" and text.endswith("?")
        assert all(turn.content.split()[-1] in text for turn in messages if turn.role == "assistant")
    monkeypatch.chdir(tmp_path)
    Path("story-questions").write_text('{"prompt": "a", "completion": "b"}')
    assert len(read(Path("story-questions"))[1]) == 1


def test_the_forms_of_examples() -> None:
    ask, answer = Message("user", "2+2?"), Message("assistant", "4")
    for example in (
        {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4", "name": "x"}]},
        {"instruction": "2+2?", "input": "", "output": "4"},
        {"prompt": "2+2?", "completion": "4"},
    ):
        assert messages_of(example) == (ask, answer)
    assert messages_of({"instruction": "Add.", "input": "2, 2", "output": "4"})[0].content == "Add.\n\n2, 2"


GOOD = '{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", r"holds no example"),
        (GOOD + "\n{'a': 1}\n", r"line 3 is not JSON \(.* at column 2\)"),
        (GOOD + "[1]\n", "line 2: the example is no object but list"),
        (GOOD + '{"text": "a"}\n', "line 2: the example has the keys 'text'"),
        (GOOD + '{"messages": [{"role": "user", "content": "a"}]}\n', "line 2: it has no turn of the assistant"),
        (GOOD + '{"messages": [{"role": "tool", "content": "a"}]}\n', "line 2: the role is 'tool'"),
        (GOOD + '{"prompt": "a", "completion": 3}\n', 'line 2: "completion" is no text'),
        (GOOD + '{"prompt": "a", "completion": " "}\n', "line 2: an answer of the assistant is empty"),
        (GOOD + '{"prompt": "\u00e9", "completion": "b"}\n', "line 2: The character 'é'"),
        (GOOD, "too few to hold one out"),
        (3 * GOOD, "has 3 examples that can be used, all alike"),
    ],
)
def test_mistakes_in_the_file(lines: str, sentence: str) -> None:
    Path("bad.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        ln.sft("base", "bad.jsonl", quiet=True)
    assert [path.name for path in Path("runs").iterdir() if "bad" in path.name] == []


# --- adapters ---------------------------------------------------------------------------------------------------------

_moe = BlockConfig(MODELS["mamba"].pattern[0].mixer, MoEConfig(n_expert=2, experts_per_token=1, width=1))
HYBRID = ModelConfig((*MODELS["jamba"].pattern, _moe), n_layer=3, hidden_size=32, vocab_size=13)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_adapters(method: Any) -> None:
    """At first the model is the same; after a change the effective weights are those of the paper, in NumPy. Catches a
    length along the wrong side, a scale that is lost, and a target that is left out."""
    model = LanguageModel.init(HYBRID, jax.random.key(0))
    adapters = Adapters.init(model, learned(method=method, rank=3, alpha=6.0), 0)
    assert set(adapters.layers) == set(adaptable(model)) and len(adapters.layers) == 19
    for mine, other in zip(jax.tree.leaves(adapters.merged(model)), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    moved = jax.tree.map(lambda array: array + 0.1 * jax.random.normal(jax.random.key(1), array.shape), adapters)
    merged = moved.merged(model)
    W, adapter = np.asarray(experts(model)), moved.layers["blocks.2.channel_mixer.up"]
    V = W + 2 * np.einsum("xir,xro->xio", adapter.A, adapter.B)
    if method == "dora":
        V = V * (np.asarray(adapter.magnitude) / np.linalg.norm(V, axis=1))[:, None, :]
    np.testing.assert_allclose(experts(merged), V, rtol=1e-5, atol=1e-6)
    for part in ("embedding", "norm"):
        assert jax.tree.all(jax.tree.map(jnp.array_equal, getattr(merged, part), getattr(model, part)))


def experts(model: Any) -> Any:
    """A stack of two matrices."""
    return model.blocks[2].channel_mixer.up


@pytest.mark.slow
def test_every_adapter_gets_a_gradient() -> None:
    """In attention, Mamba, an MLP and experts. Catches a mixer that reads a weight past its adapter, and a gradient of
    the base."""
    model = LanguageModel.init(HYBRID, jax.random.key(0))
    adapters = Adapters.init(model, learned(method="dora", rank=3), 0)
    ids = jax.random.randint(jax.random.key(1), (1, 2, 12), 0, 13)

    @jax.jit
    def gradient(adapters: Adapters) -> Any:
        return jax.grad(lambda a: losses(a.merged(model), ids[..., :-1], ids[..., 1:], jax.random.key(0))[0])(adapters)

    gradients = gradient(adapters)
    assert jax.tree.structure(gradients) == jax.tree.structure(adapters)
    for adapter in gradients.layers.values():
        assert np.asarray(adapter.B).any() and np.asarray(adapter.magnitude).any() and not np.asarray(adapter.A).any()


def test_targets() -> None:
    """Catches a target that matches by letters and not by parts, and one that matches nothing in silence."""
    model = LanguageModel.init(HYBRID, jax.random.key(0))
    for targets, count in ((("mixer",), 12), (("wq", "blocks.0"), 7), (("mixer.wo",), 1), (("channel_mixer.up",), 3)):
        assert len(Adapters.init(model, learned(targets=targets), 0).layers) == count, targets
    with pytest.raises(UserError, match="no target named 'w_inn'; did you mean 'w_in'"):
        Adapters.init(model, learned(targets=("wq", "w_inn")), 0)
    told = describe(model, learned(rank=2, targets=("wq",)))
    assert told[0] == "LoRA, rank 2, alpha 16, beside 1 matrices:" and "mixer.wq" in told[1] and "in layer 2" in told[1]
    assert told[2].startswith("128 parameters train")
    for options, sentence in (
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"method": "full", "targets": ("wq",)}, "full fine-tuning trains everything"),
    ):
        with pytest.raises(UserError, match=sentence):
            learned(**options)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(place: Path) -> Path:
    """The run of a LoRA, left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return ln.sft("base", "questions.jsonl", name="taught", max_steps=20, dropout=0.1, quiet=True, **SHORT).folder


def test_a_run_of_adapters(taught: Path) -> None:
    """Catches a base that moves, adapters that are saved with the base or not at all, a loaded model that is not base
    and adapters, and a held-out loss that does not fall."""
    run, base = ln.load("taught", "last"), ln.load("base")
    found = [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]
    assert found[-1] < found[0] - 0.05
    assert (run.model.embedding == base.model.embedding).all()
    tensors = load_file(taught / "checkpoints/step_00000020/model.safetensors")
    assert all(name.startswith("layers.blocks.") for name in tensors)
    one = "layers.blocks.1.mixer.wq"
    expected = base.model.blocks[1].mixer.wq + 2 * tensors[f"{one}.A"] @ tensors[f"{one}.B"]  # type: ignore[union-attr]
    np.testing.assert_allclose(run.model.blocks[1].mixer.wq, expected, atol=1e-6)  # type: ignore[union-attr]
    assert (taught / "samples.txt").read_text().count("=== step") == 3
    best = ln.load("taught")
    settings = json.loads((taught / "adapter/adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (8, 16.0, "runs/base")
    alone = load_file(taught / "adapter/adapter_model.safetensors")
    assert len(alone) == 2 * len(settings["target_modules"])
    A, B = (alone[f"base_model.model.blocks.1.mixer.wq.lora_{name}.weight"] for name in "AB")
    change = best.model.blocks[1].mixer.wq - base.model.blocks[1].mixer.wq  # type: ignore[union-attr]
    np.testing.assert_allclose((16 / 8) * (B @ A).T, change, atol=1e-6)


def test_adapters_of_a_published_family_have_its_names(tmp_path: Path) -> None:
    """So that PEFT finds the layers (tests/parity/adapters.py lets it); a model of no family keeps ours."""
    block = BlockConfig(AttentionConfig(n_head=2), MLPConfig(2.0, "silu", gated=True))
    llama = ModelConfig((block,), 2, 16, 11, tie_embeddings=False)
    settings = dataclasses.replace(learned(method="lora", rank=3), model=llama)
    adapters = Adapters.init(LanguageModel.init(llama, jax.random.key(0)), settings, 0)
    peft.save(adapters, settings, "base", tmp_path)
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert len(names) == 14
    assert {name for name in names if ".1." in name} == {
        f"model.layers.1.{name}"
        for name in (
            *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
            *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        )
    }
    saved = load_file(tmp_path / "adapter_model.safetensors")
    down = saved["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"]
    np.testing.assert_array_equal(down, np.asarray(adapters.layers["blocks.0.channel_mixer.down"].A).T)
    assert linear_layers(MODELS["gpt"]) == {}


@pytest.mark.slow
def test_it_goes_on_bit_for_bit(taught: Path) -> None:
    """A run that was stopped, without the one it began with. Catches adapters that begin anew, a base that is lost, and
    batches that change."""
    ln.sft("base", "questions.jsonl", name="half", max_steps=10, schedule="constant", quiet=True, **SHORT)
    ln.sft("base", "questions.jsonl", name="whole", max_steps=20, schedule="constant", quiet=True, **SHORT)
    shutil.move("runs/base", "gone")
    try:
        half = ln.train(resume="half", max_steps=20, quiet=True)
    finally:
        shutil.move("gone", "runs/base")
    whole = ln.load("whole", "last")
    for mine, other in zip(jax.tree.leaves(half.model), jax.tree.leaves(whole.model), strict=True):
        assert mine.tobytes() == other.tobytes()
    with Path("questions.jsonl").open("a") as file:
        file.write("\n" + GOOD)
    try:
        with pytest.raises(UserError, match=r"questions\.jsonl has changed since the run began"):
            ln.train(resume="half", max_steps=30, quiet=True)
    finally:
        Path("questions.jsonl").write_text(Path("questions.jsonl").read_text().removesuffix("\n" + GOOD))


@pytest.mark.slow
def test_full_fine_tuning_of_adapters_and_a_dead_target(taught: Path) -> None:
    """A run of adapters is a base like any other; and a matrix that nothing is read from is told before the run begins.
    Catches a base without its adapters, and adapters that train nothing."""
    run = ln.sft("taught", "questions.jsonl", name="full", method="full", max_steps=1, quiet=True, **SHORT)
    first, taught_ = ln.load("full", 0), ln.load("taught")
    assert run.config.freezes_base is False
    assert (first.model.blocks[1].mixer.wq == taught_.model.blocks[1].mixer.wq).all()  # type: ignore[union-attr]
    base = ln.load("base")
    attention = base.model.blocks[1]
    silent = dataclasses.replace(attention.mixer, wo=jnp.zeros_like(attention.mixer.wo))  # type: ignore[union-attr, type-var]
    blocks = (base.model.blocks[0], dataclasses.replace(attention, mixer=silent))
    shutil.copytree("runs/base", "runs/silent")
    folder = Path(f"runs/silent/checkpoints/step_{base.step:08d}")
    state = checkpoint.load_state(folder)
    shutil.rmtree("runs/silent/checkpoints")
    trees = {checkpoint.MODEL: dataclasses.replace(base.model, blocks=blocks), checkpoint.OPTIMIZER: {}}
    checkpoint.save(folder.parent, base.step, trees, state)
    with pytest.raises(UserError, match=r"blocks\.1\.mixer\.wq gets no gradient.*1 of 2 targets"):
        ln.sft("silent", "questions.jsonl", name="none", targets=("wq", "mixer.wo"), max_steps=1, quiet=True, **SHORT)
    assert not Path("runs/none").exists()


# --- chat -------------------------------------------------------------------------------------------------------------


def test_a_chat_is_what_its_whole_history_gives(taught: Path) -> None:
    """Each answer equals that of a fresh generator on all of the text, though only what is new is read. Catches a state
    that has seen the tokens decoded past the stop, a turn that is lost, and a history that grows past the context."""
    run = ln.load("taught", "last")
    greedy = SamplingConfig(temperature=0)
    told: list[str] = []
    chat = Session(run.generator, "Name colors.", greedy, 8, told.append)
    read = []
    for question in ("color 1", "color 2", "color 3"):
        text = "".join(chat.ask(question))
        before = (*chat.system, *chat.history[:-1])
        prompt = PlainTemplate().text(before, True)
        alone = run.generator.generate(prompt, 8, greedy, stop="\n\n")[0].text
        assert text == alone.lstrip() and chat.history[-1] == ("assistant", text.strip())
        read.append(chat.read)
    assert "forgotten" in told[0] and len(chat.history) == 2 * (3 - len(told))
    assert read[1] < read[0] + 8 or told
    chat.reset()
    assert chat.history == ()
    with pytest.raises(UserError, match="The character"):
        chat.ask("\u00e9")
    assert chat.history == ()
    answer = chat.ask("color 1")
    begun = next(answer)
    answer.close()  # type: ignore[attr-defined] # as Ctrl-C does
    assert chat.history[-1] == ("assistant", begun.strip())


def test_chat_through_a_pipe(taught: Path, run_cli: Any) -> None:
    command = [sys.executable, "-m", "linearnexus.cli.main", "chat", "runs/taught", "--temperature", "0"]
    lines = (
        "color 1\n/help\n/nonsense\n\n/reset\ncolor 1\n/fork here\ncolor 2\n/save talk\n/undo\n/load talk\n/load here\n"
        "/retry\n/save\n/load nowhere\n/exit\ncolor 2\n"
    )
    root = str(Path(ln.__file__).parents[1])
    done = subprocess.run(
        [*command, "--max-tokens", "6"],
        input=lines,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    first, *help_ = done.stdout.splitlines()
    second, kept, _, saved, undone, loaded, forked, *_ = help_[8:]
    assert first == second and help_[0].startswith("/undo") and help_[7].startswith("/help")
    assert (kept, saved) == ("Kept as here; /load here returns here.", "Saved as talk.")
    assert undone == forked == "The last question is: color 1" and loaded == "The last question is: color 2"
    known = "/exit, /fork, /help, /load, /reset, /retry, /save, /undo"
    assert done.stderr.splitlines() == [
        f"linearnexus: There is no command named '/nonsense'; known: {known}.",
        "linearnexus: /save needs a file, such as /save first.",
        "linearnexus: nowhere cannot be read (No such file or directory); restore it from a copy.",
    ]
