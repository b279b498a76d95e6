"""What a user gets from `pip install`: a quick command line, and every file that it needs."""

import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = {"jax", "jaxlib", "optax", "scipy", "matplotlib", "tiktoken", "tokenizers"}


def imported(*arguments: str) -> tuple[set[str], str]:
    """The top-level packages that `python *arguments` imports, and what it prints."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}, done.stdout


def test_help_is_quick_and_imports_no_jax() -> None:
    """Importing JAX takes a second or more. The limit is far above what help needs: a busy machine raises no alarm."""
    start = time.perf_counter()
    packages, printed = imported("-m", "linearnexus.cli.main", "--help")
    assert time.perf_counter() - start < 5
    assert "train" in printed and "generate" in printed
    assert "linearnexus" in packages and not packages & HEAVY


@pytest.mark.parametrize("verb", ["doctor", "cache"])
def test_help_of_a_verb_about_the_machine_imports_no_jax(verb: str) -> None:
    packages, printed = imported("-m", "linearnexus.cli.main", verb, "--help")
    assert f"linearnexus {verb}" in printed and "tyro" in packages and not packages & HEAVY


def test_configs_import_no_jax() -> None:
    """import-linter reads what is written; this also sees what the `__init__.py` of each package on the way imports."""
    contract = next(c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c.get("id") == "configs-without-jax")
    packages, _ = imported("-c", f"import {', '.join(contract['source_modules'])}")
    assert "linearnexus" in packages and not packages & HEAVY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_wheel_carries_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Catches a data file that .gitignore hides from the build, and tests or benchmarks that slip in."""
    files = {path for path in (ROOT / "linearnexus").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert "linearnexus/py.typed" in packed
    assert {f"linearnexus/tokenizers/data/{name}" for name in ("gpt2_vocab.bpe.xz", "LICENSE.gpt2")} <= packed


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    info = f"linearnexus-{PYPROJECT['project']['version']}.dist-info"
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= set(wheel.namelist())
    assert "linearnexus = linearnexus.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
