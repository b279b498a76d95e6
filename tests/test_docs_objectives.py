"""docs/add_an_objective.md works as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linearnexus.training.report import read_metrics
from tests.torture import differences

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add_an_objective.md").read_text(encoding="utf-8")
OBJECTIVE, RECIPE, ROLLOUTS, LOOP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SMALL = (
    "--data text.txt --n-layer 1 --hidden-size 32 --n-head 2 --batch-size 2 --sequence-length 32 --sample-tokens 5 "
    "--eval-batches 2"
)
VARIABLE = "LINEARNEXUS_PLUGINS"
# A batch of the objective beside its formula in NumPy, with and without weights of the targets.
FORMULA = """
import jax, numpy as np
from my_objective import ZLoss
from linearnexus.data.batches import Batch
from linearnexus.training.step import mean_loss, random_state
from tests.tiny import config

model = random_state(config("gpt")).model
draw = np.random.default_rng(0)
ids = draw.integers(0, 6, (3, 2, 9)).astype(np.int32)
logits = np.stack([np.asarray(model(rows[:, :-1]).logits, np.float64) for rows in ids])
log_z = np.log(np.exp(logits).sum(-1))
entropy = log_z - np.take_along_axis(logits, ids[..., 1:, None], -1)[..., 0]
for weights in (None, draw.integers(0, 2, (3, 2, 8)).astype(np.float32)):
    batch = Batch(ids[..., :-1], ids[..., 1:], weights=weights)
    loss, metrics = mean_loss(ZLoss(False, 0.5), model, None, batch, jax.random.key(0))
    expected = np.average(entropy + 0.5 * log_z**2, weights=weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.average(entropy, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(metrics["log_z"], np.average(log_z, weights=weights), rtol=1e-5)
"""
# Trains a run of the page's rollouts, and gets Ctrl-C in a step (0: in none).
SAMPLE = """
import signal
import sys
from linearnexus.core.config import config_class
from linearnexus.training import launch
from tests.tiny import config

given = config("gpt", "text.txt", max_steps=8, eval_interval=5, sample_tokens=0, warmup_steps=0, learning_rate=0.01)
RolloutConfig = config_class("rollouts")
texts = sys.modules[RolloutConfig.__module__].SampledTexts
real = texts.next

def stopping(self, step, state):
    if step + 1 == int(sys.argv[2]):
        signal.raise_signal(signal.SIGINT)
    return real(self, step, state)

texts.next = stopping
try:
    launch.train(RolloutConfig(**vars(given)), sys.argv[1], quiet=True)
except launch.Interrupted:
    print("stopped")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files and a text."""
    files = {"my_objective.py": OBJECTIVE, "my_recipe.py": RECIPE, "my_rollouts.py": ROLLOUTS}
    files["text.txt"] = "Once upon a time there was a little dog. It ran to the tree.\n" * 200
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def python(code: str, folder: Path, *arguments: str, **variables: str) -> str:
    """What a script in the folder prints, as `python script.py` runs it."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "script.py", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_works_as_written(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the commands, a few steps long and with a small model, each in a process of its own. Catches an objective
    that only the first process knows, one that training leaves aside, and a metric that no row has; then a sentence
    without the variable."""
    printed = []
    for line in COMMANDS.splitlines():
        words = [{"40": "5", "stories": "text.txt"}.get(word, word) for word in shlex.split(line)]
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        if words[1:] == ["train", "my_recipe.py"]:
            words += ["--max-steps", "3", "--log-interval", "1", *shlex.split(SMALL)]
        done = run_cli(*words[1:], cwd=folder)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed.append(done.stdout)
    assert "Guessing at random" in printed[0] and "Resuming from step 3." in printed[1]
    assert "bits per byte" in printed[2] and printed[3].startswith("Once")
    run = folder / "runs" / "my_recipe-text-1"
    config = json.loads((run / "config.json").read_text())
    assert (config["type"], config["z_loss"]) == ("z_loss", 1e-3)
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5] and all(row["log_z"] > 1 for row in rows)
    monkeypatch.delenv(VARIABLE)
    for words in (["train", "--resume", "runs/latest"], ["generate", "runs/latest", "Once"]):
        done = run_cli(*words, cwd=folder)
        (sentence,) = done.stderr.splitlines()
        assert done.returncode == 2 and f"set {VARIABLE} (an optimizer, an objective)" in sentence, done.stderr


@pytest.mark.slow
def test_the_fields_from_python(folder: Path) -> None:
    """As the page says: `ln.train("my_recipe.py", z_loss=1e-2)`."""
    assert 'ln.train("my_recipe.py", z_loss=1e-2)' in PAGE
    small = "n_layer=1, hidden_size=32, n_head=2, batch_size=2, sample_tokens=0, eval_batches=1, max_steps=2"
    code = f'import linearnexus as ln\nrun = ln.train("my_recipe.py", z_loss=1e-2, data="text.txt", {small})\n'
    printed = python(code + "print(run.config.z_loss)", folder, LINEARNEXUS_PLUGINS="my_objective.py")
    assert printed.splitlines()[-1] == "0.01"


def test_the_objective_is_its_formula(folder: Path) -> None:
    python(FORMULA, folder)


@pytest.mark.slow
def test_rollouts_resume(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 6 trains on the rollout of step 5 again, which a stopped run has from its checkpoint alone. Catches texts
    that are sampled anew, and a stream whose draws depend on what was drawn before."""
    variables = {VARIABLE: "my_rollouts.py"}
    assert python(SAMPLE, folder, "alone", "0", **variables) == ""
    assert python(SAMPLE, folder, "stopped", "5", **variables) == "stopped\n"
    monkeypatch.setenv(*next(iter(variables.items())))
    done = run_cli("train", "--resume", "runs/stopped", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert differences(folder / "runs" / "alone", folder / "runs" / "stopped") == []


@pytest.mark.slow
def test_the_loop_with_a_hook(folder: Path) -> None:
    """The page's program with a small model. Catches a hook that cannot stop the loop."""
    code = LOOP.replace('preset("gpt-nano")', "models['gpt']").replace("stories", "text.txt")
    options = "sequence_length=32, batch_size=4, learning_rate=0.01, warmup_steps=0"
    code = code.replace('data="text.txt"', f'data="text.txt", {options}')
    printed = python(f"from tests.tiny import MODELS as models\n{code}", folder).splitlines()
    losses = [float(line.split()[1]) for line in printed]
    assert 1 < len(losses) < 200 and losses[-1] < 3.0 and min(losses[:-1]) >= 3.0
    assert not (folder / "runs").exists()


def test_the_files_are_short_and_links_lead_somewhere() -> None:
    assert len(OBJECTIVE.splitlines()) < 45 and len(ROLLOUTS.splitlines()) < 55
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
    for path in re.findall(r"`((?:linearnexus|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).is_file(), path
