"""Files of text on the disk: what the ending of a name means, and what a path, a folder or a pattern stands for.

Look first at: `File`, `find_paths`.
"""

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from linearnexus.core.errors import UserError, unknown

Kind = Literal["text", "jsonl", "parquet"]
KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
TEXT_ENDINGS = tuple(ending for ending, kind in KINDS.items() if kind == "text")
COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True)
class File:
    name: str  # as the user knows it
    path: Path
    kind: Kind
    compression: str  # "gz", "zst", or none
    size: int  # bytes on the disk
    modified: int  # nanoseconds
    data: bytes | None = None  # the content, of a corpus that this package makes
    separator: bytes | None = None  # of the documents in it, where that is known

    @classmethod
    def at(cls, path: Path, name: str) -> "File":
        """The file at a path. Raises UserError where there is none."""
        try:
            status = path.stat()
        except OSError as error:
            raise could_not_read(name, error) from error
        ending = path.suffix.lower()
        compression = ending[1:] if ending in COMPRESSIONS else ""
        return cls(name, path, kind_of(path.name) or "text", compression, status.st_size, status.st_mtime_ns)


def kind_of(name: str) -> Kind | None:
    """What the ending of a name says is in the file, a .gz or .zst after it aside; None for an unknown ending."""
    stem, ending = os.path.splitext(name.lower())
    if ending in COMPRESSIONS:
        kind = KINDS.get(os.path.splitext(stem)[1])
        return None if kind == "parquet" else kind
    return KINDS.get(ending)


def is_text(name: str) -> bool:
    """Does the name end as that of a plain text file?"""
    return name.lower().endswith(TEXT_ENDINGS)


def is_pattern(source: str) -> bool:
    return any(sign in source for sign in "*?[")


def exists(source: str) -> bool:
    """Is there a file or a folder of this name, or a file that matches this pattern?"""
    path = os.path.expanduser(source)  # os.path, not Path: see below
    return os.path.exists(path) or (is_pattern(source) and next(glob.iglob(path, recursive=True), None) is not None)


def find_paths(
    source: str, wanted: Callable[[str], bool], corpora: Iterable[str], empty_folder: str, choices: str
) -> list[Path]:
    """The files of a source, in sorted order: a file, a folder (the files with a wanted name, subfolders too, hidden
    ones not), or a glob pattern ("**" goes into subfolders).

    empty_folder: the sentence for a folder without such a file; choices: what may be given, for the sentence about a
    source that is not there, which also names the corpora. Raises UserError.
    """
    # os.path, not Path: its tests answer False where those of a Path may raise (a name too long, a locked folder).
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        found = _walk(path, wanted)
        if not found:
            raise UserError(empty_folder)
    elif os.path.exists(path):
        found = [Path(path)]
    elif is_pattern(source):
        found = [Path(name) for name in glob.glob(path, recursive=True) if os.path.isfile(name)]
        if not found:
            raise UserError(f"No file matches the pattern '{source}'; check the folder and the ending.")
    elif "/" in source or "\\" in source or wanted(source):
        names = ", ".join(sorted(corpora))
        raise UserError(f"There is no file or folder '{source}'; give {choices}, or one of: {names}.")
    else:
        raise unknown("corpus or file", source, corpora)
    return sorted(found, key=lambda file: file.parts)  # by parts: the same order on every system


def _walk(folder: str, wanted: Callable[[str], bool]) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # in place: the walk then skips the others
        found += [Path(parent, name) for name in names if wanted(name) and not name.startswith(".")]
    return found


def _refuse(error: OSError) -> NoReturn:
    raise could_not_read(error.filename, error) from error


def could_not_read(name: str | os.PathLike[str], error: OSError) -> UserError:
    return UserError(f"Could not read '{name}' ({error.strerror}); check that you may read it.")
