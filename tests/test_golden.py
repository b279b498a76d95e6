"""What LinearNexus computed at 15da3a2, before its training loop was taken apart, it computes still.

tests/golden/__main__.py says how to measure a part anew where a difference is meant.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import HERE

ROOT = Path(__file__).resolve().parents[1]
FREE = ("XLA_FLAGS", "NPROC", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


def check(part: str) -> None:
    """In a process of its own, with the settings that the command line makes."""
    environment = {name: value for name, value in os.environ.items() if name not in FREE} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.golden", "--check", part]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.slow
def test_the_options_of_every_verb() -> None:
    check("options")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["weights", "losses", "tuning", "samples", "resumed", "programs"])
def test_goldens(part: str) -> None:
    """Bit for bit on the machine and the versions that they were made with, within rounding elsewhere."""
    check(part)


def test_the_named_differences() -> None:
    """Every difference from 15da3a2 has its reason."""
    kept = json.loads((HERE / "goldens.json").read_text())
    assert kept["commit"] == "15da3a2" and all(len(reason) > 40 for reason in kept["differences"].values())
