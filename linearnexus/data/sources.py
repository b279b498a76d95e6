"""What `data prepare` may be given, as a list of files in a fixed order.

Look first at: `find_files`, `download`.
"""

import glob
import hashlib
import http.client
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.paths import cache_dir
from linearnexus.data.corpora import CORPORA, DOWNLOAD_TIMEOUT

Kind = Literal["text", "jsonl", "parquet"]
KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".zst")
LARGEST_DOWNLOAD = 50 * 2**30  # bytes


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


def find_files(sources: Sequence[str]) -> list[File]:
    """The files of all sources: names of corpora, files, folders (those with a known ending, subfolders too, hidden
    ones not), patterns, http(s) addresses. Files of a folder or pattern are in sorted order.

    Raises UserError for a source that is not there or has no file.
    """
    return [file for source in sources for file in _files(source)]


def _files(source: str) -> list[File]:
    if source in CORPORA:
        data = CORPORA[source]().text.encode("utf-8")
        return [File(source, Path(source), "text", "", len(data), 0, data, b"\n\n")]
    if source.startswith(("http://", "https://")):
        return [_file(download(source), source)]
    path = os.path.expanduser(source)
    if os.path.isdir(path):
        found = [Path(parent, name) for parent, _, names in os.walk(path) for name in names if _kind(name) is not None]
        found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not found:
            endings = ", ".join(KINDS)
            raise UserError(f"The folder '{source}' holds no {endings} file (nor one with .gz or .zst added).")
    elif os.path.exists(path):
        return [_file(Path(path), source)]
    elif any(sign in source for sign in "*?["):
        found = [Path(name) for name in glob.glob(path, recursive=True) if os.path.isfile(name)]
        if not found:
            raise UserError(f"No file matches the pattern '{source}'; check the folder and the ending.")
    elif source.startswith("hf:"):
        raise UserError(
            f"'{source}': data sets of the Hugging Face hub are not read directly; download one (hf download "
            f"{source[3:]} --repo-type dataset --local-dir FOLDER) and give the folder with its Parquet or JSON lines."
        )
    elif "/" in source or "\\" in source or _kind(source) is not None:
        raise UserError(
            f"There is no file or folder '{source}'; give a file, a folder, a pattern such as 'texts/*.jsonl', an "
            f"http(s) address, or one of: {', '.join(sorted(CORPORA))}."
        )
    else:
        raise unknown("corpus or file", source, CORPORA)
    return [_file(file, str(file)) for file in sorted(found, key=lambda file: file.parts)]


def _file(path: Path, name: str) -> File:
    if path.suffix == ".json":
        raise UserError(
            f"'{name}' is one JSON value; give JSON lines, one object a line, in a file that ends in .jsonl."
        )
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"Could not read '{name}' ({error.strerror}); check that you may read it.") from error
    compression = path.suffix[1:] if path.suffix in COMPRESSIONS else ""
    return File(name, path, _kind(path.name) or "text", compression, status.st_size, status.st_mtime_ns)


def _kind(name: str) -> Kind | None:
    stem, ending = os.path.splitext(name.lower())
    if ending in COMPRESSIONS:
        ending = os.path.splitext(stem)[1]
        return None if ending == ".parquet" else KINDS.get(ending)
    return KINDS.get(ending)


def download(address: str, largest: int = LARGEST_DOWNLOAD) -> Path:
    """The file at an address, kept in the cache folder: whole or not at all, fetched once.

    Raises UserError where it cannot be had or is too large.
    """
    base = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "index.txt"
    path = cache_dir() / "downloads" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{base}"
    if path.exists():
        return path
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(address, timeout=DOWNLOAD_TIMEOUT) as answer, temporary.open("xb") as file:
            promised = int(answer.headers.get("Content-Length") or -1)
            if promised > largest:
                raise UserError(f"{address} has {promised:,} bytes, more than the {largest:,} that are downloaded.")
            while data := answer.read(2**20):
                file.write(data)
                if file.tell() > largest:
                    raise UserError(f"{address} has more than the {largest:,} bytes that are downloaded.")
            if promised not in (-1, file.tell()):
                raise UserError(
                    f"The download of {address} ended after {file.tell():,} of {promised:,} bytes; try again."
                )
            file.flush()
            os.fsync(file.fileno())
        shutil.move(temporary, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Could not download {address} ({getattr(error, 'reason', error)}); check it.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
