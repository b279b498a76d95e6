"""Where files go: the cache folder, and a write that leaves either the old file or the whole new one.

Look first at: `cache_dir` (the order of the environment variables), `write_atomic` (temporary file, fsync, rename).
"""

import os
import sys
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


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file or a folder's names to the disk (Windows has no handle for a folder)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
