"""A run that is stopped, killed or damaged goes on, and ends with the same bits as one that was left alone.

`tests/torture.py` does the same at length; its `differences` tells here too what two runs do not have in common.
"""

import dataclasses
import json
import math
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from linearnexus import api
from linearnexus.core.errors import UserError
from linearnexus.training import checkpoint, launch, run_folder
from linearnexus.training import step as step_module
from linearnexus.training.config import TrainConfig
from linearnexus.training.hooks import time_budget
from linearnexus.training.report import read_metrics, read_samples
from tests.tiny import config, text_file
from tests.torture import begin, differences, folder, last_step, start

# A row of the log seldom ends where a checkpoint is made, so losses wait in the checkpoint for their row.
STEPS, EVERY = 240, 20
OPTIONS: dict[str, Any] = {
    "max_steps": STEPS,
    "eval_interval": EVERY,
    "log_interval": 7,
    "sample_tokens": 8,
    "optimizer": "muon",
}
RECIPE = """\
from tests.tiny import config


def recipe():
    return config("jamba", {data!r}, dropout=0.1, **{options!r})
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text and the recipe of all these runs: a tiny hybrid with dropout."""
    made = tmp_path_factory.mktemp("runs")
    (made / "tiny.py").write_text(RECIPE.format(data=text_file(made), options=OPTIONS))
    return made


@pytest.fixture(scope="module")
def settings(place: Path) -> TrainConfig:
    return dataclasses.replace(config("jamba", str(place / "text.txt"), dropout=0.1, **OPTIONS), preset="tiny")


@pytest.fixture(scope="module")
def alone(place: Path, settings: TrainConfig) -> Path:
    """The run that was left alone."""
    return api.train(settings, name=str(place / "alone"), quiet=True).folder


@pytest.fixture(scope="module")
def half(place: Path, settings: TrainConfig) -> Path:
    """The same run, stopped in the middle between two rows and two checkpoints."""
    return stopped_at(127, settings, place / "half")


def stopped_at(step: int, settings: TrainConfig | None, run: Path) -> Path:
    """A run, a new one or (settings None) one that goes on, that gets Ctrl-C in this step, here in this process."""
    real = step_module.learning_rate

    def rate(settings: TrainConfig, done: int, total: int | None) -> float:
        if done + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return real(settings, done, total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "learning_rate", rate)
        with pytest.raises(launch.Interrupted):
            if settings is None:
                launch.resume(run, {}, quiet=True)
            else:
                launch.train(settings, str(run), quiet=True)
    assert checkpoint.steps(run / "checkpoints")[-1] == step
    return run


def go_on(run: Path, **changes: Any) -> Path:
    return launch.resume(run, changes, quiet=True)


def copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def lines(printed: str) -> str:
    return " ".join(printed.split())


# --- Stopped and killed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_signal_stops_saves_and_tells(number: int, code: int, place: Path, alone: Path) -> None:
    """In a process of its own. Catches a lost step, an exit code that hides the signal, a sentence that names no way
    to go on, and a resumed run that repeats or skips a batch, a key or a row."""
    run = place / f"signal{number}"
    process = start(begin("tiny.py", run, []), place)
    while process.poll() is None and last_step(run) < 50:
        time.sleep(0.005)
    process.send_signal(number)
    output = (place / "output.txt").read_text
    assert process.wait(300) == code, output()
    stopped = checkpoint.steps(run / "checkpoints")[-1]
    assert 50 <= stopped < STEPS
    told = f"Stopped at step {stopped}, saved. Resume it with: linearnexus train --resume {run}"
    assert told in output() and "Traceback" not in output()
    assert (run / "report.html").is_file()
    process = start(begin("tiny.py", run, []), place)
    assert process.wait(300) == 0, output()
    assert f"Resuming from step {stopped}." in output() and "another setting" not in output()
    assert differences(alone, run) == []


def test_a_killed_run_goes_on(place: Path, alone: Path) -> None:
    """SIGKILL at three random moments, from the start of the process on. Catches a run that cannot go on because it was
    killed before its first checkpoint, half a checkpoint taken for a whole one, rows and samples written twice, and
    temporary folders that stay."""
    run = place / "killed"
    draw = random.Random(time.time_ns())
    for _ in range(3):
        process = start(begin("tiny.py", run, []), place)
        time.sleep(draw.uniform(0, 5))
        process.kill()
        process.wait()
    process = start(begin("tiny.py", run, []), place)
    assert process.wait(300) == 0, (place / "output.txt").read_text()
    assert differences(alone, run) == []
    assert not list(run.glob("checkpoints/.*"))


def test_a_run_stopped_between_rows_goes_on_bit_for_bit(half: Path, alone: Path, tmp_path: Path) -> None:
    """The checkpoint of step 127 holds the losses of steps 127 back to the row of 126. Catches a mean that is taken in
    another precision after a resume, and losses that are lost or counted twice."""
    assert len(checkpoint.load_state(folder(half, 127))["pending"]) == 1
    run = stopped_at(137, None, copy(half, tmp_path / "run"))
    assert len(checkpoint.load_state(folder(run, 137))["pending"]) == 4
    assert differences(alone, go_on(run)) == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt", {"optimizer": "sophia", "gradient_accumulation_steps": 2}),
        ("mamba", {"optimizer": "adamw", "order": "random", "dtype": "bfloat16"}),
        ("gpt", {"optimizer": "lion", "schedule": "wsd", "tokenizer": "byte"}),
    ],
    ids=["sophia", "adamw", "lion"],
)
@pytest.mark.slow
def test_every_kind_of_state_goes_on(kind: str, options: dict[str, Any], place: Path, tmp_path: Path) -> None:
    """Catches what an optimizer keeps beside moments (Sophia's key and count), and a batch that depends on the steps
    of this process. Stopped in step 11, after Sophia's second look at the Hessian."""
    length: dict[str, Any] = {"max_steps": 23, "eval_interval": 23, "sample_tokens": 0, "log_interval": 4}
    chosen = config(kind, str(place / "text.txt"), dropout=0.1, **length, **options)
    whole = launch.train(chosen, str(tmp_path / "whole"), quiet=True)
    assert differences(whole, go_on(stopped_at(11, chosen, tmp_path / "run"))) == []


def test_rows_behind_a_checkpoint_are_cut(half: Path, alone: Path, tmp_path: Path) -> None:
    """What a kill left behind the checkpoint is cut away, and a stop right after that records the length that is left.
    Catches rows written twice, and a log that is filled up with zeros when it is cut to a length it does not have."""
    run = copy(half, tmp_path / "run")
    for name in ("metrics.jsonl", "samples.txt"):
        with (run / name).open("a") as file:
            file.write('{"step": 133, "loss": 9.0}\n' * 50 + '{"step": 1')
    run = stopped_at(129, None, run)
    state = checkpoint.load_state(folder(run, 129))
    assert state["log_lengths"] == [(run / name).stat().st_size for name in ("metrics.jsonl", "samples.txt")]
    assert differences(alone, go_on(run)) == []
    assert b"\0" not in (run / "metrics.jsonl").read_bytes()


def test_a_log_that_was_deleted_is_not_filled_with_zeros(half: Path, tmp_path: Path) -> None:
    """Catches a file that is lengthened to what the checkpoint remembers."""
    run = copy(half, tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    go_on(run)
    assert read_metrics(run / "metrics.jsonl")[0]["step"] == 133
    assert b"\0" not in (run / "metrics.jsonl").read_bytes()


def test_a_run_killed_before_its_first_checkpoint_begins_again(alone: Path, tmp_path: Path) -> None:
    """Catches a run that blocks its name and can be neither resumed nor trained. A run that has rows and lost its
    checkpoints is another thing: it must not be trained over."""
    run = copy(alone, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint"):
        go_on(run)
    (run / "metrics.jsonl").write_text('{"step": 0, "validation_loss": 1.9, "seconds": 0.5}\n{"st')
    (run / "samples.txt").unlink()
    with pytest.raises(UserError, match=f"has no checkpoint; to make one: linearnexus train --resume {run}"):
        api.load(run)
    assert differences(alone, go_on(run)) == []


def test_a_run_killed_after_its_first_checkpoint_does_not_repeat_it(alone: Path, tmp_path: Path) -> None:
    """The checkpoint of step 0 has its evaluation and its sample behind it. Catches both written twice."""
    once = dataclasses.replace(run_folder.read_config(alone)[0], max_steps=1)
    run = launch.train(once, str(tmp_path / "run"), quiet=True)
    for step in checkpoint.steps(run / "checkpoints")[1:]:
        shutil.rmtree(folder(run, step))
    assert checkpoint.steps(run / "checkpoints") == [0] and read_samples(run / "samples.txt")
    shutil.copy(alone / "config.json", run / "config.json")
    assert differences(alone, go_on(run)) == []


def test_a_second_stop_ends_at_once(settings: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a program that cannot be stopped, and handlers that stay when the run is over."""
    handler = signal.getsignal(signal.SIGINT)

    def rate(*_: Any) -> float:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(step_module, "learning_rate", rate)
    with pytest.raises(KeyboardInterrupt):
        launch.train(settings, str(tmp_path / "run"), quiet=True)
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [0]


# --- Damaged ----------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated": (checkpoint.MODEL, truncate, "is damaged"),
    "flipped": (checkpoint.OPTIMIZER, flip, "is damaged"),
    "state": (checkpoint.STATE, flip, "is damaged"),
    "missing": (checkpoint.OPTIMIZER, Path.unlink, "is missing"),
    "no manifest": (checkpoint.MANIFEST, Path.unlink, "is missing"),
    "half manifest": (checkpoint.MANIFEST, truncate, "is damaged"),
    "not text": (checkpoint.MANIFEST, lambda path: path.write_bytes(b"\xff" * 50), "is damaged"),
    "other manifest": (checkpoint.MANIFEST, lambda path: path.write_text("[1, 2]"), "is damaged"),
    "empty manifest": (checkpoint.MANIFEST, lambda path: path.write_text('{"sha256": {}}'), "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.slow
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_used(
    damage: str, half: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches weights that are loaded unseen, an error without the file's name, a fall back to the damaged one, and a
    resumed run whose log or weights are not those of the step it fell back to."""
    name, spoil, words = DAMAGE[damage]
    run = copy(half, tmp_path / "run")
    spoil(folder(run, 127) / name)
    found: list[str] = []
    assert api.load(run, 127, on_message=found.append).step == 120
    assert len(found) == 1 and f"{folder(run, 127) / name} {words}" in found[0]
    launch.resume(run, {})
    told = lines(capsys.readouterr().out)
    assert f"{folder(run, 127) / name} {words}" in told and "Resuming from step 120." in told
    assert differences(alone, run) == []
    assert 127 not in checkpoint.steps(run / "checkpoints")


def test_a_damaged_checkpoint_does_not_outlive_an_earlier_one(half: Path, tmp_path: Path) -> None:
    """Stopped before the step of the damaged one is reached again. Catches a damaged checkpoint that stays the newest,
    and takes the place of the one to fall back to."""
    run = copy(half, tmp_path / "run")
    flip(folder(run, 127) / checkpoint.MODEL)
    stopped_at(123, None, run)
    assert checkpoint.steps(run / "checkpoints")[-2:] == [120, 123]


def test_without_a_good_checkpoint_the_error_says_so(half: Path, tmp_path: Path) -> None:
    run = copy(half, tmp_path / "run")
    for step in checkpoint.steps(run / "checkpoints"):
        flip(folder(run, step) / checkpoint.MODEL)
    before = (run / "metrics.jsonl").read_bytes(), (run / "config.json").read_bytes()
    with pytest.raises(UserError, match="has no good checkpoint"):
        go_on(run, max_steps=500)
    assert before == ((run / "metrics.jsonl").read_bytes(), (run / "config.json").read_bytes())


def test_a_checkpoint_of_another_model_is_refused(half: Path, tmp_path: Path) -> None:
    """config.json was edited. Catches weights that are broadcast, cut or left at their random values."""
    run = copy(half, tmp_path / "run")
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"hidden_size": 32', '"hidden_size": 16'))
    with pytest.raises(UserError, match=r"tensor embedding is float32\[6, 32\], and the config asks for .*\[6, 16\]"):
        go_on(run)


def test_what_a_kill_left_is_cleaned_up(half: Path, tmp_path: Path) -> None:
    """Catches temporary folders that fill the disk, kill by kill, and one that is taken for a checkpoint."""
    run = copy(half, tmp_path / "run")
    for name in (".step_00000140.999.tmp", ".step_00000127.1.tmp"):
        shutil.copytree(folder(run, 127), run / "checkpoints" / name)
    assert checkpoint.steps(run / "checkpoints")[-1] == 127
    go_on(run)
    assert not list(run.glob("checkpoints/.*"))


def test_a_full_disk_leaves_the_checkpoint_before(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches half a checkpoint, and a traceback in place of the way to go on."""
    run = copy(half, tmp_path / "run")

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "_write_text", full)
    with pytest.raises(UserError, match=f"No space left.*linearnexus train --resume {re.escape(str(run))}"):
        go_on(run)
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {"step_00000127"}
    assert all(checkpoint.problem(folder(run, step)) is None for step in checkpoint.steps(run / "checkpoints"))
    assert not list(run.glob("checkpoints/.*"))


# --- Other settings ---------------------------------------------------------------------------------------------------


def test_another_setting_is_told(
    half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a resumed run that promises the same bits where it cannot, and one that warns for nothing."""
    launch.resume(copy(half, tmp_path / "same"), {"max_steps": 128})
    assert "another setting" not in capsys.readouterr().out
    monkeypatch.setenv("NPROC", "7")
    launch.resume(copy(half, tmp_path / "other"), {"max_steps": 128})
    told = lines(capsys.readouterr().out)
    assert re.search(r"began in another setting \(threads \S+ -> 7\): it resumes, but its last bits may differ", told)


@pytest.mark.slow
def test_a_run_becomes_longer(alone: Path, settings: TrainConfig, tmp_path: Path) -> None:
    """A finished run of 240 steps goes on to 280; with a constant rate it is the run of 280 steps. Catches a run that
    ends at once, a schedule of the old length, and a config that still tells the old one."""
    steady = dataclasses.replace(settings, schedule="constant", max_steps=STEPS + 40)
    longer = launch.train(steady, str(tmp_path / "longer"), quiet=True)
    run = launch.train(dataclasses.replace(steady, max_steps=STEPS), str(tmp_path / "run"), quiet=True)
    go_on(run, max_steps=STEPS + 40)
    # 240 is no multiple of 7: the shorter run had a row for its last step, and the others follow from there
    cut = {row["step"] for row in read_metrics(run / "metrics.jsonl")} - {
        row["step"] for row in read_metrics(longer / "metrics.jsonl")
    }
    assert cut <= {STEPS}
    assert weights(run) == weights(longer)
    cosine = go_on(copy(alone, tmp_path / "cosine"), max_steps=STEPS + 40)
    assert last_step(cosine) == STEPS + 40
    rows = {row["step"]: row for row in read_metrics(cosine / "metrics.jsonl") if "loss" in row}
    assert rows[STEPS + 40]["learning_rate"] == pytest.approx(0.1 * settings.peak_rate)
    assert rows[252]["learning_rate"] > 0.1 * settings.peak_rate
    assert api.load(cosine).config.max_steps == STEPS + 40
    assert [step for step, _ in read_samples(cosine / "samples.txt")] == list(range(0, STEPS + 41, EVERY))


def weights(run: Path) -> list[bytes]:
    last = folder(run, checkpoint.steps(run / "checkpoints")[-1])
    return [(last / name).read_bytes() for name in (checkpoint.MODEL, checkpoint.OPTIMIZER)]


def test_a_finished_run_that_is_resumed_changes_nothing(alone: Path, tmp_path: Path) -> None:
    """Catches a step too many."""
    assert differences(alone, go_on(copy(alone, tmp_path / "run"))) == []
    assert differences(alone, go_on(copy(alone, tmp_path / "shorter"), max_steps=STEPS, schedule="cosine")) == []


def test_minutes_set_a_new_length(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that came to its end gets minutes, then more of them. Catches minutes that are never measured because the
    checkpoint knows a length: the run would end where it stood. Without other minutes, that length holds."""
    monkeypatch.setattr(time_budget, "MEASURE_SECONDS", 0.05)
    run, lengths = copy(alone, tmp_path / "run"), [STEPS]
    for _ in range(2):
        state = checkpoint.load_state(folder(run, lengths[-1]))
        go_on(run, max_minutes=state["seconds"] / 60 + 0.02, eval_interval=10**6, sample_tokens=0)
        lengths.append(last_step(run))
        assert checkpoint.load_state(folder(run, lengths[-1]))["total"] == lengths[-1] > lengths[-2]
    assert last_step(go_on(run)) == lengths[-1]


def test_a_run_stopped_before_its_minutes_were_measured(settings: TrainConfig, tmp_path: Path) -> None:
    """Stopped in the third step and the fifth: nothing was measured yet. Catches a measurement that waits for a step
    which is long past."""
    minutes = dataclasses.replace(settings, max_steps=None, max_minutes=5.0, sample_tokens=0)
    run = stopped_at(5, minutes, tmp_path / "run")
    assert checkpoint.load_state(folder(run, 5))["total"] is None
    run = stopped_at(9, None, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_budget, "MEASURE_SECONDS", 0.05)
        go_on(run, max_minutes=checkpoint.load_state(folder(run, 9))["seconds"] / 60 + 0.02)
    assert last_step(run) > 9


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 8}, "was trained with another batch_size"),
        ({"seed": 1}, "was trained with another seed"),
        ({"max_step": 300}, "did you mean 'max_steps'"),
        ({"max_steps": "300"}, "max_steps is '300'"),
        ({"max_steps": 300, "epochs": 2.0}, "both set the length"),
        ({"sample_prompt": "xyz"}, "character 'x'"),
        ({"sample_prompt": "xyz", "sample_tokens": 0, "warmup_steps": -1}, "warmup_steps is -1"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_change_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str, half: Path, tmp_path: Path) -> None:
    """Catches an option that is ignored, a traceback for a misspelt one, and a config that is written all the same."""
    run = copy(half, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=sentence):
        go_on(run, **changes)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_another_text_is_refused(half: Path, tmp_path: Path) -> None:
    """Catches a run that goes on with a file of the same name and other words."""
    run = copy(half, tmp_path / "run")
    values = json.loads((run / "config.json").read_text())
    values["data"] = text_file(tmp_path, "cabad\n" * 500)
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="has changed since"):
        go_on(run)


def test_an_integer_too_large_for_a_float_survives(tmp_path: Path) -> None:
    """The state on the disk is what was in memory, bit by bit. Catches a checkpoint that goes through another type."""
    tree = {
        "step": jax.numpy.uint32(2**32 - 1),
        "tiny": jax.numpy.float32(1e-42),
        "low": jax.numpy.arange(3, dtype="bfloat16"),
        "empty": jax.numpy.zeros((0, 3)),
    }
    checkpoint.save(tmp_path, 3, {checkpoint.MODEL: tree, checkpoint.OPTIMIZER: {}}, {"best": [math.pi, 3]})
    back = checkpoint.load_tree(folder_of(tmp_path, 3) / checkpoint.MODEL, tree)
    for name, leaf in tree.items():
        assert back[name].dtype == leaf.dtype and back[name].tobytes() == leaf.tobytes(), name
    assert checkpoint.load_state(folder_of(tmp_path, 3))["best"][0] == math.pi


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step_{step:08d}"
