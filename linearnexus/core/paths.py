"""Where files go: the cache folder, and writes that leave either the old file or folder, or the whole new one.

Look first at: `cache_dir` (the order of the environment variables), `write_atomic` and `atomic_folder` (a temporary
file or folder, fsync, rename).
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def cache_dir() -> Path:
    """The folder for downloads, not created here.

    $LINEARNEXUS_CACHE, else $XDG_CACHE_HOME/linearnexus, else %LOCALAPPDATA%\\linearnexus on Windows and
    ~/.cache/linearnexus elsewhere. An empty variable counts as unset.
    """
    if own := os.environ.get("LINEARNEXUS_CACHE"):
        return Path(own).expanduser()
    local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    parent = os.environ.get("XDG_CACHE_HOME") or local or "~/.cache"
    return Path(parent).expanduser() / "linearnexus"


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write bytes, or text as UTF-8 with its newlines as they are; a reader never sees half a file.

    Raises `OSError` as the system gave it; the old file is then untouched and the temporary one is gone.
    """
    path = Path(path)
    # Not `tempfile`: its files are readable by the owner only, and the rename would keep that.
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write into, which becomes `path` when the block has ended, with everything in it on the disk. An
    existing folder is replaced: it stays as it is until the new one is whole.

    Where the block or the disk raises, the new folder is gone and the error is passed on. A kill may leave a folder
    beside `path` with a name that begins with "." and ends in ".tmp".
    """
    path = Path(path)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old.tmp"))
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process of the same number
        temporary.mkdir(parents=True)
        yield temporary
        for parent, _, names in os.walk(temporary):
            for name in names:
                sync(os.path.join(parent, name))
            sync(parent)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file or a folder's names to the disk (Windows has no handle for a folder)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
