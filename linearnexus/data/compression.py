"""A file's content, whatever it is compressed with.

Look first at: `opened`.
"""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.data.files import File, could_not_read

BLOCK = 2**20  # bytes read at a time


@contextmanager
def opened(file: File) -> Iterator[tuple[io.BufferedIOBase, io.BufferedIOBase]]:
    """(the content, the file as it is on the disk, whose position tells how far reading has come)."""
    try:
        with io.BytesIO(file.data) if file.data is not None else open(file.path, "rb") as raw:
            if file.compression == "gz":
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream, raw
            elif file.compression == "zst":
                with _zstd(raw, file.name) as stream:
                    yield stream, raw
            else:
                yield raw, raw
    except UserError:
        raise
    except EOFError as error:
        raise UserError(f"'{file.name}' ends too early: it was cut short; take it again from where it came.") from error
    except OSError as error:
        if error.strerror:
            raise could_not_read(file.name, error) from error
        raise UserError(
            f"Could not read '{file.name}' ({error}); check that it is compressed as its name says."
        ) from error


def _zstd(raw: Any, name: str) -> Any:
    try:
        from compression.zstd import ZstdFile  # Python 3.14

        return ZstdFile(raw)
    except ImportError:
        pass
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        raise UserError(
            f"Reading '{name}' needs zstandard, which is not installed; pip install 'linearnexus[data]'."
        ) from None
    return io.BufferedReader(ZstdDecompressor().stream_reader(raw, read_across_frames=True))


def skip(stream: io.BufferedIOBase, count: int) -> None:
    """Reads on `count` bytes from the beginning."""
    if isinstance(stream, io.BufferedReader | io.BytesIO) and stream.seekable():
        stream.seek(count)
        return
    while count and (data := stream.read(min(count, BLOCK))):
        count -= len(data)


def count_lines(stream: io.BufferedIOBase, stop: int) -> int:
    """New lines in the first `stop` bytes."""
    lines = 0
    while stop > 0 and (data := stream.read(min(stop, BLOCK))):
        lines, stop = lines + data.count(b"\n"), stop - len(data)
    return lines
