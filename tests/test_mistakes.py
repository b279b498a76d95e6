"""Mistakes on the real command line: each gets one sentence that helps, the right exit code, and leaves nothing behind.

The mistakes are in tests/mistakes.py.
"""

import time
from pathlib import Path

import pytest

from tests.mistakes import MISTAKES, Impossible, Mistake, faults, first_run, make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with runs/tiny, trained once for all workers: by the one that can make the folder."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "mistakes"
    done = folder / "done"
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + 240
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert done.exists(), "the worker that trains the run has not ended"
        return folder
    first_run(folder)
    done.touch()
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
@pytest.mark.slow
def test_a_mistake(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Catches a traceback, an answer that does not name what was given or what to do, one that takes a box or a page,
    the wrong exit code, a run folder or a temporary file that a failed start leaves, and a run that cannot go on."""
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    try:
        answer = make(mistake, folder, request.getfixturevalue("trained") if mistake.on_run else None)
    except Impossible as reason:
        pytest.skip(str(reason))
    assert faults(mistake, answer) == [], answer
    assert not list(temporary.iterdir())
