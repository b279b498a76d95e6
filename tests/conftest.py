"""What every test has: run-time shape checks, compiled code kept between runs, and a few fixtures.

The first part must come before anything imports `linearnexus` or JAX.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
# pytest's own place for such things: `pytest --cache-clear` and `make clean` empty it.
CACHE = ROOT / ".pytest_cache" / "d" / "linearnexus"

# Processes started by a test inherit all of this.
os.environ["LINEARNEXUS_CACHE"] = str(CACHE)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs run once or twice here: LLVM's optimisation, and modules for several threads, would double the compile time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NPROC", "1")  # XLA's threads: workers that each use every core only get in each other's way

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a fine float


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, except for constructors: a module's fields hold what a tree map puts there (None, names, shapes)."""
    if function.__name__ == "__init__":
        return function
    try:
        return _check(function)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        # Self outside a checked class; a Protocol that is not @runtime_checkable. If it is the return type, as it
        # mostly is, the arguments are checked all the same: jaxtyping asks for the two apart.
        return function


install_import_hook("linearnexus", f"{__name__}.check")


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Forgets compiled programs once they take a third of what Linux allows: each has a dozen memory maps or more, a
    process may have 65,530, and beyond them it ends in a segmentation fault."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def strict() -> Iterator[None]:
    """No silent change of a dtype or a rank. Not for optax, whose updates mix dtypes."""
    import jax

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with larger texts beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_cli("train", "gpt-nano", cwd=tmp_path)`: the real command line in its own process, its output as text."""

    def run(*arguments: str | os.PathLike[str], cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "linearnexus.cli.main", *map(os.fspath, arguments)]
        # PYTHONPATH: this checkout, whatever is installed. COLUMNS: no sentence is broken at the width of a terminal.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)

    return run
