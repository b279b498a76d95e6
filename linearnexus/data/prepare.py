"""`data prepare`: documents to token shards, on all cores, in bounded memory, killed at any moment and gone on with.

    reader (this process)  ->  chunks of a megabyte  ->  worker processes: tokens, hashes
                           ->  this process, in order: duplicates, splits, groups of shards on the disk

A group is written whole or not at all, together with the position of the reader after it. Whether a document
trains or validates is decided by the hash of its text, so that copies of it fall on the same side. Duplicates are found
by 64-bit hashes: of the text, and of its words alone (letters and digits, case folded); two sets of 8 bytes a document
each, twice that while they are merged.

Look first at: `prepare`; `encode.encode` (the workers), `writer.Writer.add` (in order).
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.core.paths import write_atomic
from linearnexus.data.documents import PIECE, Reader, TextChunk
from linearnexus.data.encode import Encoded, encode
from linearnexus.data.files import File
from linearnexus.data.inputs import find_files
from linearnexus.data.shards import (
    MANIFEST,
    RECIPE,
    SPLITS,
    TOKENIZER,
    VERSION,
    Prepared,
    open_prepared,
    sha256,
)
from linearnexus.data.writer import COUNTS, PrepareSettings, Writer
from linearnexus.tokenizers import TRAINED, build, check, load, save
from linearnexus.tokenizers.char import CharTokenizer
from linearnexus.tokenizers.tokenizer import Tokenizer

SAMPLE = 2**24  # bytes of text that a tokenizer is trained on
IN_THIS_PROCESS = 2**22  # bytes of files: for less, starting workers takes longer than they save
DEFAULT = PrepareSettings()


@dataclass
class PrepareProgress:
    """How far it has come."""

    read: int = 0  # bytes of the files
    total: int = 0
    documents: int = 0
    tokens: int = 0
    resumed: int = 0  # tokens that were there already


def prepare(
    sources: list[str],
    folder: Path,
    settings: PrepareSettings = DEFAULT,
    workers: int | None = None,
    on_progress: Callable[[PrepareProgress], None] = lambda progress: None,
) -> Prepared:
    """Makes a prepared folder, or goes on with one that a kill left unfinished, and opens it. `workers`: processes; 0:
    this one only; None: one a core.

    Raises UserError for what the user can put right; the groups that are finished then stay.
    """
    files = find_files(sources)
    if not any(file.size for file in files):
        raise UserError(f"{', '.join(sources)}: the files are empty; give some that hold text.")
    recipe = {
        "version": VERSION,
        # skip_bad may change: what is written so far has nothing bad, or was written with it
        "settings": {name: value for name, value in asdict(settings).items() if name != "skip_bad"},
        "files": [{"name": file.name, "bytes": file.size, "modified": file.modified} for file in files],
    }
    _begin(folder, recipe)
    try:
        if not (folder / MANIFEST).exists():
            piece = max(4096, min(PIECE, settings.shard_tokens))
            reader = Reader(files, settings.text_field, _separator(settings.separator), settings.skip_bad, piece)
            tokenizer = _tokenizer(settings.tokenizer, reader, folder)
            reader = replace(reader, fits=_fits(tokenizer))
            writer = Writer(folder, tokenizer, settings)
            small = sum(file.size for file in files) < IN_THIS_PROCESS
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            count = (0 if small else cores) if workers is None else workers
            progress = PrepareProgress(total=sum(file.size for file in files), resumed=writer.tokens)
            encoded_chunks = _encoded(reader.chunks(writer.position), tokenizer, folder / TOKENIZER, count)
            with contextlib.closing(writer), contextlib.closing(encoded_chunks) as results:
                for chunk, encoded in results:
                    writer.add(chunk, encoded)
                    progress.read, progress.documents, progress.tokens = chunk.read, writer.documents, writer.tokens
                    on_progress(progress)
                writer.finish()
            _write_manifest(folder, writer, tokenizer, files, settings)
    except UserError:
        if not (folder / "00000").exists():  # nothing that another start could go on from
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(
            f"{folder} could not be written ({error.strerror or error}); make room, then run the same command again: "
            "it goes on from the last whole group."
        ) from error
    return open_prepared(folder)


# --- in the workers ---------------------------------------------------------------------------------------------------


_own: dict[str, Tokenizer] = {}  # of a worker process


def _start_worker(path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:  # a killed parent closes no queue: a worker would wait for ever
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _own["tokenizer"] = load(path)


def _work(chunk: TextChunk) -> Encoded:
    return encode(chunk, _own["tokenizer"])


def _encoded(
    chunks: Iterator[TextChunk], tokenizer: Tokenizer, path: Path, workers: int
) -> Generator[tuple[TextChunk, Encoded], None, None]:
    """(chunk, what came of it), in order, a few chunks under way at a time. path: the tokenizer's file."""
    if workers == 0:
        for chunk in chunks:
            with _named(chunk):
                encoded = encode(chunk, tokenizer)
            yield chunk, encoded
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of threads, JAX's above all
    pool = ProcessPoolExecutor(workers, context, _start_worker, (str(path),))
    try:
        waiting = deque((chunk, pool.submit(_work, chunk)) for chunk in islice(chunks, 2 * workers))
        while waiting:
            chunk, future = waiting.popleft()
            with _named(chunk):
                encoded = future.result()
            del future
            chunk.texts = []  # nobody needs them any more
            waiting.extend((chunk, pool.submit(_work, chunk)) for chunk in islice(chunks, 1))
            yield chunk, encoded
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process ended unexpectedly (for want of memory, perhaps); run the same command again, with a "
            "smaller --workers: it goes on from the last whole group."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _named(chunk: TextChunk) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"'{chunk.name}': {error}") from error


# --- in this process --------------------------------------------------------------------------------------------------


def _write_manifest(
    folder: Path, writer: Writer, tokenizer: Tokenizer, files: list[File], settings: PrepareSettings
) -> None:
    groups = writer.groups
    sums = {
        split: {name: sum(group[split][name] for group in groups) for name in ("documents", "tokens", "bytes")}
        for split in SPLITS
    }
    manifest = {
        "version": VERSION,
        "tokenizer": {
            "name": settings.tokenizer,
            "vocab_size": tokenizer.vocab_size,
            "end_token": tokenizer.end_token,
            "sha256": sha256(folder / TOKENIZER),
        },
        "dtype": writer.dtype.name,
        "settings": asdict(settings),
        "sources": [{"name": file.name, "bytes": file.size} for file in files],
        **sums,
        **{name: sum(group[name] for group in groups) for name in COUNTS},
        "groups": groups,
    }
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _begin(folder: Path, recipe: dict[str, Any]) -> None:
    """Makes the folder, or sees that what was begun there is the same. Raises UserError where it is not."""
    path = folder / RECIPE
    again = "give another --output, or delete the folder."
    try:
        if path.exists():
            try:
                before = json.loads(path.read_text())
                changed = {
                    name: f"{name} {before['settings'].get(name)!r} (now {value!r})"
                    for name, value in recipe["settings"].items()
                    if before["settings"].get(name) != value
                }
            except (ValueError, KeyError, AttributeError) as error:
                raise UserError(f"{path} is damaged; {again}") from error
            if changed:
                raise UserError(f"{folder} was begun with another {', '.join(changed.values())}; {again}")
            if before != recipe:
                raise UserError(f"{folder} was begun with other sources, or they have changed since; {again}")
            for left in folder.glob(".*.tmp"):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
            return
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty, and nothing is overwritten; give another --output.")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(recipe, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); give another --output.") from error


def _tokenizer(name: str, reader: Reader, folder: Path) -> Tokenizer:
    """The tokenizer of the folder: what is there already, else built, from the text where it needs that."""
    path = folder / TOKENIZER
    if not path.exists():
        if name == "char":  # every character of all documents
            characters: set[str] = set()
            for chunk in reader.chunks():
                characters.update(*(data.decode("utf-8") for data in chunk.texts))
            tokenizer: Tokenizer = CharTokenizer("".join(sorted(characters)))
        else:
            tokenizer = build(name, _sample(reader.chunks()) if check(name)[0] in TRAINED else "")
        save(tokenizer, path)
    return load(path)


def _sample(chunks: Iterable[TextChunk]) -> str:
    """The first megabytes of text."""
    found, size = [], 0
    for chunk in chunks:
        found += chunk.texts
        size += chunk.size
        if size >= SAMPLE:
            break
    return b"\n\n".join(found).decode("utf-8")


def _fits(tokenizer: Tokenizer) -> Callable[[str, str], bool]:
    def fits(left: str, right: str) -> bool:
        try:
            return tokenizer.encode(left + right) == tokenizer.encode(left) + tokenizer.encode(right)
        except UserError:  # a character without a token is told where the whole text is encoded
            return True

    return fits


def _separator(given: str | None) -> bytes | None:
    r"""Typed in a shell, "\n" is two characters."""
    return None if given is None else given.replace("\\n", "\n").replace("\\t", "\t").encode("utf-8")
