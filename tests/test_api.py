"""`import linearnexus as ln`: what scripts and notebooks use, and that the command line says the same."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

import linearnexus as ln
from linearnexus.core.errors import UserError
from tests.tiny import PERIOD, config, text_file

SMALL: dict[str, Any] = {
    "n_layer": 1,
    "hidden_size": 32,
    "n_head": 2,
    "sequence_length": 32,
    "batch_size": 4,
    "warmup_steps": 10,
    "learning_rate": 5e-3,
    "sample_tokens": 5,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a run of a preset, runs/one."""
    made = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        # trained, yet not so long that sampling has no choice left
        ln.train("gpt-nano", name="one", data=text_file(made), max_steps=60, quiet=True, **SMALL)
    return made


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_train_returns_the_run() -> None:
    """Catches an option that does not reach the run, a preset's field that overrides it, and a run that is not the best
    checkpoint's."""
    run = ln.load("runs/one")
    assert isinstance(run, ln.Run)
    assert run.folder == Path("runs/one") and run.config.preset == "gpt-nano"
    assert {name: getattr(run.config, name) for name in SMALL if hasattr(run.config, name)} == {
        name: value for name, value in SMALL.items() if hasattr(run.config, name)
    }
    model = run.config.model
    assert (model.n_layer, model.hidden_size, model.block(0).mixer.n_head) == (1, 32, 2)  # type: ignore[attr-defined]
    losses = {row["step"]: row["validation_loss"] for row in run.metrics() if "validation_loss" in row}
    assert run.step == min(losses, key=losses.__getitem__) and losses[run.step] < losses[0] - 0.5


def test_a_run_is_found_by_every_name() -> None:
    """Catches a path taken for a name below runs/, and the other way round."""
    same = [ln.load(name).folder.resolve() for name in ("one", "runs/one", "runs/latest", "latest", Path("runs/one"))]
    assert len(set(same)) == 1
    with pytest.raises(UserError, match="did you mean 'one'"):
        ln.load("runs/onee")


def test_load_reads_the_checkpoint_asked_for() -> None:
    """Catches weights of another step."""
    last, best, first = (ln.load("one", which) for which in ("last", "best", 54))
    assert (last.step, first.step) == (60, 54) and best.step in (54, 60)
    assert (last.model.embedding != first.model.embedding).any()
    with pytest.raises(UserError, match="no checkpoint named '5'"):
        ln.load("one", 5)


def test_generate_and_stream_give_the_same_text() -> None:
    """Catches sampling options that are dropped on one of the ways."""
    run = ln.load("one")
    options: dict[str, Any] = {"temperature": 1.5, "top_k": 4, "seed": 3}
    text = run.generate("abac", 40, **options)
    assert len(text) == 40
    pieces = list(run.stream("abac", 40, **options))
    assert len(pieces) > 1 and "".join(pieces) == text
    assert run.complete(["abac"], 40, samples=2, **options)[0].text == text
    assert ln.generate("one", "abac", 40, **options) == text
    assert run.generate("abac", 40, temperature=1.5, top_k=4, seed=4) != text
    assert run.generate("abac", 40, stop="\n", **options) == text.split("\n")[0]


def test_inspect() -> None:
    run = ln.load("one")
    seen = run.inspect("abacab", top=3, temperature=0.5)
    assert "".join(token.text for token in seen.tokens) == "abacab"
    assert len(seen.candidates) == 3
    assert sum(candidate.probabilities["raw"] for candidate in run.inspect("abacab", top=6).candidates) == (
        pytest.approx(1.0, abs=1e-5)
    )


def test_metrics_survive_half_a_row(tmp_path: Path) -> None:
    """A killed run may leave half a line. Catches a notebook that cannot look at such a run."""
    run = ln.load("one")
    rows = run.metrics()
    assert rows[0]["step"] == 0 and rows[-1]["step"] == 60
    (tmp_path / "metrics.jsonl").write_text((run.folder / "metrics.jsonl").read_text() + '{"step": 7')
    assert dataclasses.replace(run, folder=tmp_path).metrics() == rows


@pytest.mark.slow
def test_the_command_line_gives_the_same(run_cli: Any, place: Path) -> None:
    """The same options and seeds in a process of its own: the same weights, samples and text. Catches defaults that
    differ between the two, and a model that depends on the process."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    done = run_cli("train", "gpt-nano", "--data", "text.txt", "--name", "two", "--max-steps", "60", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    one, two = ln.load("one", "last"), ln.load("two", "last")
    assert one.config == dataclasses.replace(two.config, data=one.config.data)
    assert (one.folder / "samples.txt").read_text() == (two.folder / "samples.txt").read_text()
    for mine, other in zip(jax.tree.leaves(one.model), jax.tree.leaves(two.model), strict=True):
        assert mine.tobytes() == other.tobytes()
    sampling = ["--temperature", "1.2", "--top-p", "0.9", "--seed", "5"]
    written = run_cli("generate", "one", "abac", "--max-tokens", "50", *sampling, cwd=place)
    assert written.stdout == "abac" + ln.load("one").generate("abac", 50, temperature=1.2, top_p=0.9, seed=5) + "\n"


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    """Catches options that a recipe's own fields override, and a preset's name in place of the recipe's."""
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from linearnexus.models.presets import override, preset\n"
        "from linearnexus.training.config import TrainConfig\n"
        "def recipe():\n"
        "    model = override(preset('gpt-nano'), n_layer=1, hidden_size=32, n_head=2)\n"
        "    return TrainConfig(model=model, data='text.txt', epochs=3.0, sequence_length=32, batch_size=4)\n"
    )
    run = ln.train(str(recipe), max_steps=2, dropout=0.25, sample_tokens=0, quiet=True)
    assert run.folder == Path("runs/mine-text-1")
    assert (run.config.preset, run.config.max_steps, run.config.epochs) == ("mine", 2, None)
    assert (run.config.model.n_layer, run.config.model.dropout, run.config.batch_size) == (1, 0.25, 4)
    with pytest.raises(UserError, match=r"did you mean .*mine\.py"):
        ln.train(str(tmp_path / "mime.py"))
    recipe.write_text("def recipe():\n    return 7\n")
    with pytest.raises(UserError, match="returns a TrainConfig"):
        ln.train(str(recipe))


def test_a_config_object() -> None:
    run = ln.train(config("mamba", "text.txt", max_steps=1, sample_tokens=0), seed=3, quiet=True)
    assert run.config.preset == "tiny-mamba" and run.config.seed == 3


def test_going_on() -> None:
    """Catches a name that is ignored, and a returned run that is not the newest checkpoint."""
    ln.train(config("gpt", "text.txt", max_steps=4, eval_interval=2, sample_tokens=0), name="short", quiet=True)
    run = ln.train(resume="short", max_steps=8, quiet=True)
    assert run.step == 8 and run.metrics()[-1]["step"] == 8
    with pytest.raises(UserError, match="keeps its own"):
        ln.train(resume="short", name="other")
    with pytest.raises(UserError, match="n_layer 3 changes the architecture"):
        ln.train(resume="short", n_layer=3)
    assert ln.train(resume="short", n_layer=1, quiet=True).step == 8


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ln.train(learnin_rate=1e-3), "did you mean 'learning_rate'"),
        (lambda: ln.train(n_heads=2), "did you mean 'n_head'"),
        (lambda: ln.train("gpt-nao"), "did you mean 'gpt-nano'"),
        (lambda: ln.train("mamba-nano", n_head=2), "No layer of this model has a n_head"),
        (lambda: ln.train(optimizer="adam"), "adamw"),
        (lambda: ln.train(batch_size=0), "batch_size is 0"),
        (lambda: ln.train(resume="one", max_step=80), "did you mean 'max_steps'"),
        (lambda: ln.train(max_steps=3, epochs=2), "both set the length"),
        (lambda: ln.load("one").generate("a", temperatur=1.0), "did you mean 'temperature'"),
        (lambda: ln.load("one").generate("z"), "character 'z'"),
        (lambda: ln.generate("one", "a", max_tokens=0), "max_tokens is 0"),
    ],
    ids=range(11),
)
def test_a_mistake_is_one_sentence_that_names_the_nearest_word(call: Any, sentence: str, place: Path) -> None:
    """Catches an option that is ignored, and a traceback from deep inside."""
    before = sorted(path.name for path in (place / "runs").iterdir())
    with pytest.raises(UserError, match=sentence):
        call()
    assert sorted(path.name for path in (place / "runs").iterdir()) == before


def test_the_package_imports_jax_only_when_it_is_needed() -> None:
    """Catches `import linearnexus` that takes seconds, a name of `__all__` that is missing, and a wrong name that does
    not raise AttributeError (hasattr and copy rely on it)."""
    code = (
        "import sys, linearnexus as ln; assert 'jax' not in sys.modules; "
        "assert not hasattr(ln, 'tran'); [getattr(ln, name) for name in ln.__all__]; assert 'jax' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_tiny_text_is_what_the_model_learns() -> None:
    """The tests above would prove little on a model that writes one letter."""
    assert len(set(ln.load("one", "last").generate(PERIOD, 30, temperature=0))) > 3
