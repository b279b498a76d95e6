"""The text to train on: three corpora with names, or the user's own files.

Look first at: `load_corpus` (what a source may be), `CORPORA` (the names), `text.decode` (what counts as text).
"""

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.paths import cache_dir, write_atomic
from linearnexus.core.resolve import resolve
from linearnexus.data.download import DOWNLOAD_TIMEOUT
from linearnexus.data.files import File, could_not_read, exists, find_paths, is_text
from linearnexus.data.text import read_text

pydoc = LazyPackage("pydoc_data.topics")  # half a megabyte

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
BEGINNING = 2**16  # bytes that an early check reads


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
    files = _find(source)
    text = "\n\n".join(map(read_text, files))
    if not text.strip():
        raise UserError(f"'{source}' holds no text; give a file that is not empty.")
    path = os.path.expanduser(source)
    name = os.path.basename(os.path.abspath(path)) if os.path.exists(path) else source
    return Corpus(name, text, "1 file" if len(files) == 1 else f"{len(files):,} files")


def check_corpus(source: str) -> None:
    """Raises the `UserError` of `load_corpus` where a look at the files shows it: a small source is read whole, of a
    larger one the beginning of the first file, and nothing of what can be read only once (a pipe)."""
    if source not in CORPORA:
        files = _find(source)
        if any(file.exists() and not file.is_file() for file in files):
            return
        if sum(File.at(file, str(file)).size for file in files) <= BEGINNING:
            load_corpus(source)
        else:
            read_text(files[0], BEGINNING)


def is_corpus(source: str) -> bool:
    """Is there a corpus, a file or a folder of this name, or a file that matches this pattern?"""
    return source in CORPORA or exists(source)


def _find(source: str) -> list[Path]:
    return find_paths(
        source,
        is_text,
        CORPORA,
        f"The folder '{source}' holds no .txt or .md file; for others give a pattern: '{source}/*.py'.",
        "a text file, a folder of .txt or .md files, a pattern such as 'texts/*.txt'",
    )


def _stories() -> Corpus:
    generate = resolve("linearnexus.data.stories:generate")  # its grammar is parsed when it is asked for
    return Corpus("stories", generate(), "short stories that this package writes itself, the same on every machine")


def _python_docs() -> Corpus:
    topics = pydoc.topics
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    note = f"the language reference inside Python {version}; another Python version has another text"
    return Corpus("python-docs", "\n\n".join(topics[key] for key in sorted(topics)), note)


def _shakespeare() -> Corpus:
    """Tiny Shakespeare, downloaded once; nothing but the bytes with the pinned SHA-256 is ever used or kept."""
    path = cache_dir() / "tinyshakespeare.txt"
    note = "Shakespeare's plays, the usual small benchmark (tiny Shakespeare)"
    damaged = ""
    if path.exists():
        if _is_shakespeare(_bytes(path)):
            return Corpus("shakespeare", read_text(path), note)
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
    return Corpus("shakespeare", read_text(path), note)


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise could_not_read(path, error) from error
