"""What the cache folder holds, by kind, and how a kind is deleted: only files that the package put there itself.

Everything here can be made or downloaded again, so deleting it costs time and nothing else.

Look first at: `KINDS`, `CacheKind.files`, `clear`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.core.paths import cache_dir


@dataclass(frozen=True)
class CacheKind:
    """One kind of thing that is cached: in a folder of its own in the cache folder, or beside these folders."""

    name: str
    says: str  # what it is
    folder: str  # "": the cache folder itself
    pattern: str = ".+"  # of the names of its files: what else lies there is not ours
    deep: bool = True  # are there folders inside the folder?

    @property
    def path(self) -> Path:
        return cache_dir() / self.folder

    def files(self) -> Iterator[Path]:
        """Its files. A link counts as one; what it leads to is not ours. Raises UserError for a folder that is a link
        itself."""
        if self.folder and self.path.is_symlink():
            raise UserError(
                f"{self.path} is a link to {os.readlink(self.path)}, which is left alone; delete what is there "
                "yourself."
            )
        for parent, folders, names in os.walk(self.path):
            links = [name for name in folders if (Path(parent) / name).is_symlink()]
            yield from (Path(parent) / name for name in sorted(names + links) if re.fullmatch(self.pattern, name))
            if not self.deep:
                return


KINDS = {
    kind.name: kind
    for kind in (
        CacheKind("programs", "compiled programs, so that the next start is quick", "xla"),
        CacheKind(
            "downloads", "files that were named by their address", "downloads", r"[0-9a-f]{16}-.+|\.[0-9a-f]{32}\.tmp"
        ),
        CacheKind("tokenizers", "tables of published tokenizers", "tiktoken", r"[0-9a-f]{40}(\..+)?"),
        CacheKind("texts", "the text tinyshakespeare", "", r"tinyshakespeare\.txt", deep=False),
    )
}


@dataclass(frozen=True)
class Cached:
    """What is cached of one kind. A folder that is a link holds nothing of ours, and `says` tells so."""

    kind: CacheKind
    files: tuple[Path, ...]
    size: int  # bytes
    link: str = ""


def held(kind: CacheKind) -> Cached:
    """Looks into the cache folder for one kind."""
    try:
        files = tuple(kind.files())
    except UserError as error:
        return Cached(kind, (), 0, str(error))
    return Cached(kind, files, sum(_size(file) for file in files))


def clear(what: Cached) -> int:
    """Deletes the files, and the folders that are empty then; the bytes that became free."""
    freed = 0
    for file in what.files:
        size = _size(file)
        file.unlink(missing_ok=True)
        freed += size
    if what.kind.folder and not what.link:
        for parent, _, _ in os.walk(what.kind.path, topdown=False):
            if not os.listdir(parent):
                os.rmdir(parent)
    return freed


def foreign_programs() -> str:
    """Where compiled programs are kept when JAX's own variable says so; "": in the cache folder."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR", "")


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # another process has just deleted it
        return 0
