"""From files to documents, one after another in a fixed order, in bounded memory.

    .txt .md and others    a file is one document; with a separator, what stands between two of them
    .jsonl .ndjson         a line is one document: the text under a key
    .parquet               a row is one document: the text in a column of that name

each as it is or compressed (.gz, .zst). Text is UTF-8; a byte order mark is dropped and "\\r\\n" becomes "\\n".

The documents come as chunks of about a megabyte: many short documents, or one piece of a long one. Each chunk has
the position of the reader after it, from which reading can resume.

Look first at: `TextChunk`, `Reader.chunks`, `Reader._cut` (where a long document may be cut).
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.data.compression import count_lines, opened, skip
from linearnexus.data.files import File
from linearnexus.data.text import NotText, clean, encode
from linearnexus.tokenizers.tokenizer import AFTER_A_LETTER

PIECE = 2**20  # bytes of text in a chunk
LONGEST = 2**30  # bytes of a document that is read whole: a JSON line, a Parquet row, text between separators
BOUNDARY = re.compile(AFTER_A_LETTER.pattern.encode())


@dataclass(frozen=True)
class ReadPosition:
    """Where a reader is, so that reading can resume there."""

    file: int = 0
    at: int = 0  # bytes of the file's content, uncompressed, or rows of a Parquet file
    pieces: int = 0  # of the record there that have been read
    document: int | None = None  # the hash of the document that it is in the middle of


@dataclass
class TextChunk:
    """Some whole documents, or (where `document` is their hash) a piece of one."""

    texts: list[bytes] = field(default_factory=list)
    position: ReadPosition = field(default_factory=ReadPosition)  # after it
    name: str = ""  # the file, for people
    document: int | None = None
    begins: bool = True
    ends: bool = True
    inexact: int = 0  # 1: cut where the tokens may be others than those of the whole
    empty: int = 0  # documents of white space only, left out
    bad: int = 0  # documents that are not text, left out
    size: int = 0  # bytes of texts
    read: int = 0  # bytes of all files so far, as they are on the disk


@dataclass(frozen=True)
class Reader:
    files: list[File]
    text_field: str = "text"
    separator: bytes | None = None  # of documents in text files
    skip_bad: bool = False  # leave out what is not text; else it is refused
    piece: int = PIECE
    # Are the tokens of left + right those of left and those of right?
    fits: Callable[[str, str], bool] = lambda left, right: True

    def chunks(self, position: ReadPosition = ReadPosition()) -> Iterator[TextChunk]:
        """Chunks from a position on. Raises UserError, naming the file and the line or byte, for what is not text."""
        short = TextChunk()
        for chunk in self._documents(position):
            if chunk.document is None:
                short.texts += chunk.texts
                short.size += chunk.size
                short.empty += chunk.empty
                short.bad += chunk.bad
                short.position, short.read, short.name = chunk.position, chunk.read, chunk.name
                if short.size >= self.piece:
                    yield short
                    short = TextChunk()
            else:
                if short.name:
                    yield short
                    short = TextChunk()
                yield chunk
        if short.name:
            yield short

    def _documents(self, position: ReadPosition) -> Iterator[TextChunk]:
        before = sum(file.size for file in self.files[: position.file])
        for number in range(position.file, len(self.files)):
            file = self.files[number]
            here = position if number == position.file else ReadPosition(number)
            separator = b"\n" if file.kind == "jsonl" else file.separator or self.separator
            if file.kind == "parquet":
                documents = self._records(file, here, self._rows(file, here.at))
            elif separator is None:
                documents = self._whole(file, here)
            else:
                documents = self._records(file, here, self._split(file, here.at, separator))
            for chunk in documents:
                chunk.name, chunk.read = file.name, chunk.read + before
                yield chunk
            before += file.size

    def _records(
        self, file: File, position: ReadPosition, records: Iterator[tuple[Any, int, int]]
    ) -> Iterator[TextChunk]:
        """Documents that come whole: (text, bytes of it, or the error that it gave; the position after it; bytes of the
        file read)."""
        at, known = position.at, position.pieces
        for record, after, read in records:
            end = ReadPosition(position.file, after)
            try:
                data = _data(record)
            except NotText as error:
                self._refuse(file, at, after, error)
                yield TextChunk([], end, bad=1, read=read)
            else:
                if not data.strip():
                    yield TextChunk([], end, empty=1, read=read)
                elif len(data) <= 2 * self.piece:
                    yield TextChunk([data], end, size=len(data), read=read)
                else:
                    key = hash_of(data)
                    for number, (piece, _, last, exact) in enumerate(self._pieces(io.BytesIO(data)), 1):
                        if number > known:
                            here = end if last else ReadPosition(position.file, at, number, key)
                            yield TextChunk(
                                [piece], here, "", key, number == 1, last, not exact, size=len(piece), read=read
                            )
            at, known = after, 0

    def _whole(self, file: File, position: ReadPosition) -> Iterator[TextChunk]:
        """A text file as one document; a long one is read twice, the first time for its hash."""
        key, end = position.document, ReadPosition(position.file + 1)
        if position.at == 0:
            digest, size, count = hashlib.blake2b(digest_size=8), 0, 0
            data = b""
            try:
                with opened(file) as (stream, _):
                    for data, *_ in self._pieces(stream):
                        digest.update(data)
                        size, count = size + len(data.strip()), count + 1
            except NotText as error:
                self._refuse(file, None, 0, error)
                yield TextChunk([], end, bad=1, read=file.size)
                return
            if not size or count == 1:
                yield TextChunk([data] if size else [], end, empty=not size, size=len(data), read=file.size)
                return
            key = _number(digest)
        with opened(file) as (stream, raw):
            start = position.at
            for data, at, last, exact in self._pieces(stream, start):
                here = end if last else ReadPosition(position.file, at, 0, key)
                yield TextChunk([data], here, "", key, start == 0, last, not exact, size=len(data), read=raw.tell())
                start = at

    def _pieces(self, stream: io.BufferedIOBase, at: int = 0) -> Iterator[tuple[bytes, int, bool, bool]]:
        """UTF-8 text from byte `at` on in pieces: (text, the position after it, is it the last, is the cut exact?)."""
        skip(stream, at)
        buffer = b""
        while True:
            buffer += stream.read(2 * self.piece - len(buffer))
            last = len(buffer) < 2 * self.piece
            cut, exact = (len(buffer), True) if last else self._cut(buffer)
            yield clean(buffer[:cut], at), at + cut, last, exact
            if last:
                return
            at, buffer = at + cut, buffer[cut:]

    def _cut(self, buffer: bytes) -> tuple[int, bool]:
        """Where to cut a buffer of two pieces, near its middle, and whether the tokens stay those of the whole.

        The best place is between a letter and white space; where the tokenizer joins even there, or the text has no
        such place (Chinese, say), it is the end of some character.
        """
        end = self.piece
        for begin in (end - 4096, end // 2):
            places = [found.end() for found in BOUNDARY.finditer(buffer, max(begin, 0), end)]
            for cut in places[:-9:-1]:
                if self._exact(buffer, cut):
                    return cut, True
        while buffer[end] & 0xC0 == 0x80 or buffer[end - 1 : end + 1] == b"\r\n":  # inside a character, or a line's end
            end -= 1
            if not end:
                raise NotText(f"byte {self.piece:,} is 0x{buffer[self.piece]:02X}", "LATIN1")
        return end, self._exact(buffer, end)

    def _exact(self, buffer: bytes, cut: int) -> bool:
        left = buffer[max(0, cut - 256) : cut].decode("utf-8", "ignore")
        return self.fits(left, buffer[cut : cut + 256].decode("utf-8", "ignore"))

    def _split(self, file: File, at: int, separator: bytes) -> Iterator[tuple[Any, int, int]]:
        """What stands between separators, from byte `at` on."""
        with opened(file) as (stream, raw):
            skip(stream, at)
            buffer, start, more = b"", 0, True
            while more:
                fresh = stream.read(self.piece)
                more, read = bool(fresh), raw.tell()
                searched = max(start, len(buffer) - len(separator) + 1)
                buffer = buffer + fresh
                while (stop := buffer.find(separator, searched)) >= 0 or (not more and start < len(buffer)):
                    stop = len(buffer) if stop < 0 else stop
                    record = buffer[start:stop]
                    after = min(stop + len(separator), len(buffer))
                    at, start = at + after - start, after
                    searched = start
                    if file.kind == "text" or record.strip():  # an empty line of JSON lines is no document
                        yield (self._json(record) if file.kind == "jsonl" else record), at, read
                buffer, start = buffer[start:], 0
                if len(buffer) > LONGEST:
                    raise UserError(
                        f"'{file.name}' has a document of over {LONGEST:,} bytes from byte {at:,} on; cut it into "
                        "several, or write it to a text file of its own."
                    )

    def _json(self, line: bytes) -> Any:
        try:
            record = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except UnicodeDecodeError as error:
            return NotText(f"byte {error.start:,} of the line is 0x{line[error.start]:02X}", "LATIN1")
        except (ValueError, RecursionError) as error:
            return NotText(f"it is not JSON: {error}")
        return self._field(record if isinstance(record, dict) else None, record)

    def _field(self, record: dict[str, Any] | None, seen: Any) -> Any:
        if record is None:
            return NotText(f"it is not an object such as {{{json.dumps(self.text_field)}: ...}} but {str(seen)[:40]!r}")
        if not isinstance(text := record.get(self.text_field), str):
            names = ", ".join(name for name, value in record.items() if isinstance(value, str)) or "none"
            return NotText(
                f"it has no text under '{self.text_field}'; fields that are text: {names}; choose one with --text-field"
            )
        return text

    def _rows(self, file: File, first: int) -> Iterator[tuple[Any, int, int]]:
        """The rows of a Parquet file, by batches of a few."""
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise UserError(
                f"Reading '{file.name}' needs pyarrow, which is not installed; pip install 'linearnexus[data]'."
            ) from None
        try:
            with ParquetFile(file.path, memory_map=False) as table:
                total, row = table.metadata.num_rows, 0
                if self.text_field not in table.schema_arrow.names:
                    names = ", ".join(table.schema_arrow.names)
                    raise UserError(
                        f"'{file.name}' has no column '{self.text_field}'; give --text-field one of: {names}."
                    )
                for group in range(table.num_row_groups):
                    if row + table.metadata.row_group(group).num_rows <= first:
                        row += table.metadata.row_group(group).num_rows
                        continue
                    for batch in table.iter_batches(64, [group], [self.text_field], use_threads=False):
                        for text in batch.column(0).to_pylist() if row + len(batch) > first else [None] * len(batch):
                            row += 1
                            if row > first:
                                yield text, row, file.size * row // total
        except ArrowException as error:
            raise UserError(f"'{file.name}' cannot be read as Parquet ({str(error).splitlines()[0]}).") from error

    def _refuse(self, file: File, at: int | None, after: int, error: NotText) -> None:
        if self.skip_bad:
            return
        where = ""
        if at is not None and file.kind == "parquet":
            where = f" in row {at + 1:,}"
        elif at is not None and file.kind == "jsonl":
            with opened(file) as (stream, _):
                where = f" in line {1 + count_lines(stream, after - 1):,}"
        elif at is not None:
            where = f" in the document at byte {at:,}"
        skip_it = "leave such documents out with --skip-bad True, or "
        raise error.refusal(file.name, where, or_else=skip_it, otherwise="correct it.")


def hash_of(data: bytes) -> int:
    """64 bits that stand for a document's text."""
    return _number(hashlib.blake2b(data, digest_size=8))


def _number(digest: "hashlib.blake2b") -> int:
    return int.from_bytes(digest.digest(), "little")


def _data(record: Any) -> bytes:
    """A record as UTF-8 with plain line ends. Raises NotText."""
    if isinstance(record, NotText):
        raise record
    if isinstance(record, str):
        return encode(record)
    if isinstance(record, bytes):
        return clean(record)
    raise NotText("there is none" if record is None else f"a {type(record).__name__} is none")
