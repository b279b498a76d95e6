"""docs/add_an_optimizer.md works as written, and what is said where an optimizer of one's own does not."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linearnexus.training.report import read_metrics

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add_an_optimizer.md").read_text(encoding="utf-8")
OPTIMIZER, RECIPE, SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SMALL = {"n_layer": 1, "hidden_size": 32, "n_head": 2, "batch_size": 2, "sequence_length": 32}
SHORT = {"20": "3", "40": "5"}
VARIABLE = "LINEARNEXUS_PLUGINS"
# Compares the optimizer with its equations, for two steps; and its static field with the plain form.
EQUATIONS = """
import jax, numpy as np
from my_optimizer import NesterovConfig
from linearnexus.core.module import matrix, module, vector
from linearnexus.training.optimizer import Optimizer
from tests.tiny import config

@module
class Toy:
    square: jax.Array = matrix()
    bias: jax.Array = vector()

draw = np.random.default_rng(0)
weights, *gradients = (Toy(draw.normal(size=(3, 3)), draw.normal(size=3)) for _ in range(3))
for lookahead in (True, False):
    own = NesterovConfig(weight_decay=0.1, momentum=0.7, lookahead=lookahead)
    optimizer = Optimizer.of(config("gpt", optimizer=own, gradient_clip=0.0))
    state, m = optimizer.init(weights), {"square": 0.0, "bias": 0.0}
    for gradient in gradients:
        update, state = optimizer.update(gradient, state, weights, None)
        for name, decay in (("square", 0.1), ("bias", 0.0)):
            g = getattr(gradient, name)
            m[name] = g + 0.7 * m[name]
            step = g + 0.7 * m[name] if lookahead else m[name]
            expected = -step - decay * getattr(weights, name)
            np.testing.assert_allclose(getattr(update, name), expected, rtol=1e-5, atol=1e-6)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's optimizer and a text."""
    (tmp_path / "my_optimizer.py").write_text(OPTIMIZER, encoding="utf-8")
    (tmp_path / "text.txt").write_text("Once upon a time there was a little dog. It ran to the tree.\n" * 200)
    return tmp_path


def options() -> list[str]:
    pairs = {**SMALL, "data": "text.txt", "sample_tokens": 5, "eval_batches": 1}
    return [word for name, value in pairs.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def python(code: str, folder: Path) -> str:
    """What a script in the folder prints, as `python script.py` runs it."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_works_as_written(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the commands, a few steps long and with a small model, each in a process of its own; then the recipe.
    Catches an optimizer that only the process that began a run knows, and a momentum that a resumed run ignores."""
    printed = []
    (folder / "my_recipe.py").write_text(RECIPE, encoding="utf-8")
    for line in [*COMMANDS.splitlines(), "linearnexus train my_recipe.py --max-steps 3"]:
        words = [SHORT.get(word, word) for word in shlex.split(line)]
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        if words[1] == "train" and "--resume" not in words:
            words += options()
        done = run_cli(*words[1:], cwd=folder)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        printed.append(done.stdout)
    assert "Suggested: --learning-rate" in printed[0] and "the usual one is 0.1" in printed[0]
    assert "nesterov, learning rate 0.1" in printed[1] and "Resuming from step 3." in printed[2]
    assert printed[3].startswith("Once") and "nesterov" in printed[4]
    run, recipe = folder / "runs" / "gpt-nano-text-1", folder / "runs" / "my_recipe-text-1"
    momenta = [json.loads((path / "config.json").read_text())["optimizer"]["momentum"] for path in (run, recipe)]
    assert momenta == [0.8, 0.95]
    assert json.loads((run / "config.json").read_text())["optimizer"]["weight_decay"] == 0.0  # not that of the preset
    assert max(row["step"] for row in read_metrics(run / "metrics.jsonl")) == 5


def test_the_script(folder: Path) -> None:
    small = ", ".join(f"{name}={value!r}" for name, value in (SMALL | {"sample_tokens": 0, "eval_batches": 1}).items())
    code = SCRIPT.replace('"gpt-nano"', f'"gpt-nano", {small}').replace("stories", "text.txt")
    code = code.replace("max_steps=20", "max_steps=3").replace("max_steps=40", "max_steps=5")
    assert python(f"{code}\nprint(run.config.optimizer)", folder).splitlines()[-1].count("momentum=0.9") == 1


def test_the_optimizer_is_its_equations(folder: Path) -> None:
    """Catches a traced field that is read from the config, a decay of biases, and a sign that leads uphill."""
    python(EQUATIONS, folder)


@pytest.mark.slow
def test_without_the_variable(run_cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a sentence that speaks of mixers alone, and a traceback. The mistakes in a field are sentences too."""
    monkeypatch.setenv(VARIABLE, "my_optimizer.py")
    train = ["train", "gpt-nano", "--max-steps", "1", *options()]
    done = run_cli(*train, "--optimizer", "nesterov", "--name", "own", cwd=folder)
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv(VARIABLE)
    for words in (["train", "--resume", "runs/own"], ["generate", "runs/own", "Once"]):
        done = run_cli(*words, cwd=folder)
        (sentence,) = done.stderr.splitlines()
        assert done.returncode == 2 and f"set {VARIABLE} (an optimizer, an objective)" in sentence, done.stderr
    monkeypatch.setenv(VARIABLE, "my_optimizer.py")
    for optimizer, said in (
        ("nesterov(momentum=1)", "momentum is 1; give 0 to below 1"),
        ("nestrov", "did you mean 'nesterov'?"),
        ("nesterov(beta1=0.9)", "There is no option of NesterovConfig named 'beta1'"),
    ):
        done = run_cli(*train, "--optimizer", optimizer, cwd=folder)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    done = run_cli("train", "--resume", "runs/own", "--optimizer", "nesterov(lookahead=False)", cwd=folder)
    assert done.returncode == 2 and "was trained with another optimizer (nesterov), which cannot" in done.stderr


def test_the_file_is_short_and_links_lead_somewhere() -> None:
    assert len(OPTIMIZER.splitlines()) < 40
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
    assert np.isclose(float(re.search(r"usual_rate = (\S+)", OPTIMIZER)[1]), 0.1)  # type: ignore[index]
