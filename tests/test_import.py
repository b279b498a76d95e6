"""Importing the package, and using it, leaves the host process as it was; `prepare` changes it when it is called."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STATE = """
import os, signal, sys, warnings
def state():
    import jax, logging
    found = {name: getattr(jax.config, name) for name in dir(jax.config) if name.startswith("jax_")}
    return found, dict(os.environ), signal.getsignal(signal.SIGINT), list(warnings.filters), logging.root.level
before = state()
import linearnexus as ln
from linearnexus import api
ln.Run, ln.train, ln.load("storyteller").generate("Once", 4)
assert state() == before, "changed"
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "LINEARNEXUS_CACHE": str(folder), "JAX_PLATFORMS": "cpu"}


def test_importing_changes_nothing(tmp_path: Path) -> None:
    """Catches settings of JAX, the environment, signals or warnings that an import or a call leaves behind, and a cache
    folder that nobody asked for."""
    run(STATE, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_prepare_is_suggested_once_and_prepares(tmp_path: Path) -> None:
    """Catches a suggestion that is repeated, or made to a program that has followed it."""
    tiny = "n_layer=1, hidden_size=16, n_head=2, max_steps=1, eval_batches=1, sample_tokens=0"
    train = f"ln.train('gpt-nano', data='copying', {tiny})"
    told = run(f"import linearnexus as ln; {train}; {train}", tmp_path)
    assert told.count("linearnexus.prepare()") == 1
    code = f"import linearnexus as ln; ln.prepare(); {train}; import jax; print(jax.config.jax_compilation_cache_dir)"
    told = run(code, tmp_path)
    assert "linearnexus.prepare()" not in told and told.endswith(f"{tmp_path / 'xla'}\n")
