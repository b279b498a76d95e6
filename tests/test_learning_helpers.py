"""What helps a training along: early stopping, averaged weights, and the search for a learning rate."""

import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import linearnexus as ln
from linearnexus import api
from linearnexus.cli.main import main
from linearnexus.core.config import config as named_config
from linearnexus.core.errors import UserError
from linearnexus.core.module import module, named_leaves
from linearnexus.training import checkpoint, launch
from linearnexus.training import step as step_module
from linearnexus.training.config import TrainConfig
from linearnexus.training.job import Job
from linearnexus.training.objective import Objective
from tests import killed, tiny
from tests.torture import differences, folder, last_step


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.text_file(tmp_path)


# --- Early stopping ---------------------------------------------------------------------------------------------------

EVERY = 5
FORGETFUL = {"learning_rate": 0.02, "optimizer": "adamw(weight_decay=0)", "batch_size": 16}  # learns a text by heart
STILL = {"learning_rate": 1e-12}  # no weight changes, so the loss is the same number every time


def watched(name: str, patience: int | None, **options: Any) -> Path:
    given = {"max_steps": 200, "eval_interval": EVERY, "eval_batches": 0, "warmup_steps": 0, "schedule": "constant"}
    settings = tiny.config("gpt", "noise.txt", patience=patience, sample_tokens=0, **{**given, **options})
    return launch.train(settings, name)


def validation(run: Path) -> dict[int, float]:
    return {row["step"]: row["validation_loss"] for row in ln.load(run).metrics() if "validation_loss" in row}


def files(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "report.html"}


@pytest.mark.parametrize("options", [FORGETFUL, STILL], ids=["rises", "stands still"])
def test_a_run_stops_when_its_validation_loss_no_longer_falls(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A text of random letters has nothing to learn but its frequencies. Catches a patience that is counted in steps,
    an evaluation that is as good as the best one taken for a better one, a count that a new best loss does not set
    back, a stop that saves nothing, and a resumed run that takes another step or changes a file."""
    draw = random.Random(0)
    Path("noise.txt").write_text("".join(draw.choice(sorted(set(tiny.PERIOD))) for _ in range(1500)))
    run = watched("short", 2, **options)
    losses = validation(run)
    best = min(losses, key=losses.__getitem__)
    assert list(losses) == list(range(0, best + 2 * EVERY + 1, EVERY)) and last_step(run) == max(losses)
    assert (best > 0) is (options is FORGETFUL)
    words = (
        f"The validation loss has not fallen below {losses[best]:.3f}, that of step {best}, in 2 evaluations: the run"
    )
    said = capsys.readouterr().out
    assert said.count(f"{words} ends at step {max(losses)}.") == 1 and "Done. Best validation loss" in said
    assert checkpoint.steps(run / "checkpoints")[-1] == max(losses) and ln.load(run).step == best

    before = files(run)
    launch.resume(run, {})
    assert words in capsys.readouterr().out
    assert files(run) == before

    alone = watched("long", 4, **options)
    assert last_step(alone) >= max(losses) + 2 * EVERY
    launch.resume(run, {"patience": 4}, quiet=True)
    assert differences(alone, run) == []


def test_without_patience_a_run_has_its_full_length() -> None:
    Path("noise.txt").write_text(tiny.PERIOD * 150)
    assert last_step(watched("whole", None, **STILL, max_steps=30)) == 30


@pytest.mark.parametrize("patience", [0, -1])
def test_no_patience_at_all_is_refused(patience: int) -> None:
    with pytest.raises(UserError, match=f"patience is {patience}; give 1 or more"):
        tiny.config("gpt", patience=patience)


# --- Averaged weights -------------------------------------------------------------------------------------------------

DECAY = (
    0.6  # so low that both parts of the rule count in ten steps: the warm-up's decay is 2/11 at first, 11/20 at last
)


def train(name: str, decay: float = DECAY) -> Path:
    """A run that averages its weights; `tests.killed` calls it in a process that dies before a step."""
    settings = tiny.config(
        *("gpt", "text.txt"), max_steps=14, eval_interval=1, log_interval=3, sample_tokens=0, ema_decay=decay
    )
    real = step_module.learning_rate

    def rate(config: TrainConfig, done: int, total: int | None) -> float:
        killed.die_at(done)
        return real(config, done, total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "learning_rate", rate)
        return launch.train(settings, name, quiet=True)


def test_the_average_is_that_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay in float64 of the weights that each step's checkpoint holds, after every step. Catches an average that
    begins at zero, that misses the first or the last step, that counts the weights before a step instead of those after
    it, and a decay without its warm-up; a loss of other weights in metrics.jsonl; and `load` of the weights instead."""
    save, replay, errors = checkpoint.save, {}, []

    def saved(checkpoints: Path, step: int, trees: Any, state: Any) -> Path:
        path = save(checkpoints, step, trees, state)
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, weight in load_file(path / checkpoint.MODEL).items():
            new = weight.astype(np.float64)
            replay[name] = new if step == 0 else decay * replay[name] + (1 - decay) * new
        for name, average in load_file(path / "ema.safetensors").items():
            errors.append(np.abs(average - replay[name]).max())
        return path

    monkeypatch.setattr(checkpoint, "save", saved)
    run = train("averaged")
    last = folder(run, 14)
    assert len(errors) == 15 * len(replay) and max(errors) < 1e-6
    weights = load_file(last / checkpoint.MODEL)
    assert max(np.abs(weights[name] - replay[name]).max() for name in weights) > 1e-3
    averaged, plain = (ln.load(run, "last", average=average) for average in (True, False))
    for name, leaf in named_leaves(averaged.model).items():
        np.testing.assert_allclose(leaf, replay[name], atol=1e-6, rtol=0)
        np.testing.assert_array_equal(named_leaves(plain.model)[name], weights[name])
    rows = [row for row in plain.metrics() if "validation_loss" in row]
    assert [row["step"] for row in rows] == list(range(15))
    assert rows[0]["validation_loss_ema"] == rows[0]["validation_loss"]
    assert all(row["validation_loss_ema"] != row["validation_loss"] for row in rows[1:])
    text = Path("text.txt").read_text()
    assert averaged.evaluate(text).loss == pytest.approx(rows[-1]["validation_loss_ema"], abs=0.05)


def test_the_average_survives_a_kill() -> None:
    """Catches an average that a resumed run begins anew with its weights of then."""
    run = killed.resumes(__name__, 9)
    assert (folder(run, 14) / "ema.safetensors").is_file()


def test_a_run_without_an_average() -> None:
    """Catches a file or a column that nobody asked for, and the weights themselves in place of an average."""
    run = train("plain", 0.0)
    assert not list(run.rglob("ema.safetensors"))
    assert not any("validation_loss_ema" in row for row in ln.load(run).metrics())
    with pytest.raises(UserError, match=r"plain keeps no average of its weights; .*--ema-decay 0\.999"):
        ln.load(run, average=True)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=rf"ema_decay is {decay}; give 0 \(off\) to below 1"):
        tiny.config("gpt", ema_decay=decay)


# --- The search for a learning rate -----------------------------------------------------------------------------------

SMALL = {"n_layer": 1, "hidden_size": 32, "n_head": 2, "batch_size": 4, "sequence_length": 32}


@named_config("test_constant_loss")
class ConstantConfig(TrainConfig):
    job = f"{__name__}:ConstantTraining"


@module
class Constant(Objective):
    def loss(self, trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        value = 1.3 + 0.0 * jnp.sum(trained.embedding)
        return value, {"loss": value}


class ConstantTraining(Job):
    def objective(self) -> Objective:
        return Constant()


def check_finding(finding: api.RateFinding) -> None:
    """The plot is all that is in runs/."""
    lowest = min(finding.losses)
    assert len(finding.rates) == len(finding.losses) and finding.losses[0] - lowest > 0.2
    assert list(finding.rates) == sorted(finding.rates)
    assert finding.rates[0] < finding.suggestion < finding.rates[finding.losses.index(lowest)]
    root = ET.fromstring(finding.plot.read_text())
    assert root.tag.endswith("svg") and f"suggested: {finding.suggestion:.2g}" in "".join(root.itertext())


def test_the_command_line_finds_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches an option that the function does not have, a suggestion at the edge of the sweep or beyond the lowest
    loss, a plot that no browser opens, a run or `latest` that stays behind, and a plot that replaces an earlier one."""
    options = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    main(["train", "gpt-nano", "--data", "text.txt", "--find-rate", *options])
    said = capsys.readouterr().out
    assert [path.name for path in Path("runs").iterdir()] == ["rates-gpt-nano-text-1.svg"]
    (suggested,) = re.findall(r"Suggested: --learning-rate (\S+) \(the usual one is 0\.005\)", said)
    finding = api.find_rate("gpt-nano", data="text.txt", **SMALL)
    assert f"{finding.suggestion:.2g}" == suggested  # the same seed, the same sweep
    check_finding(finding)
    assert {path.name for path in Path("runs").iterdir()} == {f"rates-gpt-nano-text-{n}.svg" for n in (1, 2)}


def test_a_rate_for_a_run_that_begins_with_weights() -> None:
    """Catches a sweep from random weights: the parent's loss is far below that of guessing."""
    settings = tiny.config("gpt", "text.txt", max_steps=60, learning_rate=0.01, sample_tokens=0)
    launch.train(settings, "parent", quiet=True)
    finding = api.find_rate(from_run="parent", data="text.txt")
    assert finding.losses[0] < 1.0
    assert {path.name for path in Path("runs").iterdir()} == {"parent", "latest", finding.plot.name}


def test_a_constant_loss_is_refused() -> None:
    """The mean of equal losses falls by its rounding. Catches a rate that is suggested because of it, and a plot of
    nothing."""
    settings = ConstantConfig(**vars(tiny.config("gpt", "text.txt", sample_tokens=0)))
    with pytest.raises(UserError, match=r"The loss of tiny-gpt on text\.txt never fell in 100 steps of rising"):
        api.find_rate(settings)
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": ("nothing=2",)}, "There is no parameter for --rate named 'nothing'"),
        ({"data": "nowhere.txt"}, "nowhere.txt"),
        ({"decay": ("embedding",)}, "decay has 'embedding'; write PATTERN=NUMBER"),
    ],
)
def test_what_training_refuses_the_search_refuses(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        api.find_rate(tiny.config("gpt", "text.txt"), **options)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
