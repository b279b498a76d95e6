"""The text to train on: three corpora with names, or the user's own files.

Look first at: `load_corpus` (what a source may be), `CORPORA` (the names), `_read_text` (what counts as text).
"""

import glob
import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.paths import cache_dir, write_atomic

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer
SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Corpus:
    """`name` is what a table shows; `note` says in one phrase where the text comes from."""

    name: str
    text: str
    note: str


def load_corpus(source: str) -> Corpus:
    """The text of a source; documents are joined by a blank line.

    A source is, in this order: a name in `CORPORA` (write ./stories for a file of that name), a text file, a folder
    (all its .txt and .md files, subfolders too, hidden ones not, in sorted order), or a glob pattern ("**" goes into
    subfolders; sorted order). Files are UTF-8; a byte order mark is dropped and "\\r\\n" becomes "\\n".

    Raises `UserError` if there is no such source, no text in it, or a file that is not UTF-8 text.
    """
    if source in CORPORA:
        return CORPORA[source]()
    # os.path, not Path: its tests answer False where those of a Path may raise (a name too long, a locked folder).
    path = os.path.expanduser(source)
    name = os.path.basename(os.path.abspath(path))
    if os.path.isdir(path):
        files = _text_files(Path(path))
        if not files:
            raise UserError(
                f"The folder '{source}' holds no .txt or .md file; for others give a pattern: '{source}/*.py'."
            )
    elif os.path.exists(path):
        files = [Path(path)]
    elif any(sign in source for sign in "*?["):
        name = source
        files = [Path(found) for found in glob.glob(path, recursive=True) if os.path.isfile(found)]
        if not files:
            raise UserError(f"No file matches the pattern '{source}'; check the folder and the ending.")
    elif "/" in source or "\\" in source or source.endswith(SUFFIXES):
        raise UserError(
            f"There is no file or folder '{source}'; give a text file, a folder of .txt or .md files, a pattern such "
            f"as 'texts/*.txt', or one of: {', '.join(sorted(CORPORA))}."
        )
    else:
        raise unknown("corpus or file", source, CORPORA)
    files.sort(key=lambda file: file.parts)  # by parts: the same order on every system
    text = "\n\n".join(map(_read_text, files))
    if not text.strip():
        raise UserError(f"'{source}' holds no text; give a file that is not empty.")
    return Corpus(name, text, "1 file" if len(files) == 1 else f"{len(files):,} files")


def _stories() -> Corpus:
    from linearnexus.data.stories import generate  # writes about 4 MB of text: only when asked for

    return Corpus("stories", generate(), "short stories that this package writes itself, the same on every machine")


def _python_docs() -> Corpus:
    from pydoc_data.topics import topics

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    note = f"the language reference inside Python {version}; another Python version has another text"
    return Corpus("python-docs", "\n\n".join(topics[key] for key in sorted(topics)), note)


def _shakespeare() -> Corpus:
    """Tiny Shakespeare, downloaded once; nothing but the bytes with the pinned SHA-256 is ever used or kept."""
    path = cache_dir() / "tinyshakespeare.txt"
    note = "Shakespeare's plays, the usual small benchmark (tiny Shakespeare)"
    damaged = ""
    if path.exists():
        if _is_shakespeare(_read(path)):
            return Corpus("shakespeare", _read_text(path), note)
        damaged = f"The cached file '{path}' is damaged. "
        note += f"; the cached file '{path}' was damaged and has been downloaded again"
    data = _download(damaged)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as error:
        raise UserError(
            f"Could not write '{path}' ({error.strerror}); set LINEARNEXUS_CACHE to a folder that you can write to."
        ) from error
    return Corpus("shakespeare", _read_text(path), note)


CORPORA: dict[str, Callable[[], Corpus]] = {
    "stories": _stories,
    "python-docs": _python_docs,
    "shakespeare": _shakespeare,
}


def _download(damaged: str) -> bytes:
    """The bytes of tiny Shakespeare; `damaged` is the sentence that goes before an error."""
    instead = "use --data stories or --data python-docs, which need no network, or --data with the path of a text file."
    try:
        with urllib.request.urlopen(SHAKESPEARE_URL, timeout=DOWNLOAD_TIMEOUT) as response:
            data: bytes = response.read(SHAKESPEARE_BYTES + 1)  # one byte more shows that it is too long
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{damaged}Could not download {SHAKESPEARE_URL} ({reason}); {instead}") from error
    if not _is_shakespeare(data):
        raise UserError(
            f"{damaged}What came from {SHAKESPEARE_URL} is not tiny Shakespeare and was not kept; {instead}"
        )
    return data


def _is_shakespeare(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == SHAKESPEARE_SHA256


def _text_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]  # in place: the walk then skips the others
        found += [Path(parent, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"Could not read '{error.filename}' ({error.strerror}); check that you may read it.") from error


def _read_text(path: Path) -> str:
    data = _read(path)
    convert = "convert it to UTF-8 first, for example: iconv -f {} -t UTF-8 '{}' > utf8.txt"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"'{path}' is UTF-16 text; {convert.format('UTF-16', path)}")
    if (position := data.find(b"\0")) >= 0:
        raise UserError(f"'{path}' is a binary file (byte {position:,} is 0), not text; give plain text files.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte {error.start:,} is 0x{data[error.start]:02X}"
        raise UserError(f"'{path}' is not UTF-8 text ({found}); {convert.format('LATIN1', path)}") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")
