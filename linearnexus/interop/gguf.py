"""GGUF files: one file with settings (keys and values), the tensors' places, and the tensors.

    "GGUF" | version | tensors | keys | key, type, value ... | name, sizes, type, offset ... | the tensors' bytes

(ggml's docs/gguf.md, versions 2 and 3.) Every length is compared with what is left of the file before it is believed.

Look first at: `GGUFFile`, `parse`.
"""

import itertools
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.tensor_file import shown
from linearnexus.interop.quantized import KINDS, Kind, numbers

SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d")))
STRING, ARRAY = 8, 9
LARGEST_RANK = 4
MOST_TENSORS = 100_000


@dataclass(frozen=True)
class GGUFPlace:
    kind: int
    shape: tuple[int, ...]  # as NumPy has it: the last index runs fastest
    start: int  # bytes from the file's beginning
    blocks: int


class GGUFFile:
    """The settings of a file and the places of its tensors. Raises UserError, which names the file, where they are not
    sound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                if not file.read(1):
                    raise ValueError("it is empty")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                    self.settings, self._places = parse(buffer)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); restore it from a copy.") from error
        except ValueError as error:
            raise UserError(
                f"{path} is no whole GGUF file ({error}); take it again from where it came from."
            ) from error
        self.kinds = {
            name: ("F32" if place.kind in KINDS else f"of GGUF's type {place.kind}", place.shape)
            for name, place in self._places.items()
        }

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32. Raises UserError where the file has become shorter."""
        place = self._places[name]
        kind = KINDS[place.kind]
        blocks = np.fromfile(self.path, kind.block, place.blocks, offset=place.start)
        if len(blocks) != place.blocks:
            raise UserError(f"{self.path} has become shorter while it was read; take it again from where it came from.")
        return numbers(kind, blocks).reshape(place.shape)

    def where(self, name: str) -> str:
        return str(self.path)


def parse(buffer: Any) -> tuple[dict[str, Any], dict[str, GGUFPlace]]:
    """The settings and the tensors of a file in memory. Raises ValueError, which says what is wrong."""
    at = _Cursor(buffer)
    if at.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = at.number("I")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, and 2 and 3 can be read")
    n_tensor, n_key = at.number("Q"), at.number("Q")
    settings: dict[str, Any] = {}
    for _ in range(at.bounded(n_key, 13, "keys")):
        key = at.text()
        if key in settings:
            raise ValueError(f"the key {shown(key)} comes twice")
        settings[key] = at.value(at.number("I"))
    infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(at.bounded(min(n_tensor, MOST_TENSORS + 1), 25, "tensors")):
        name = at.text()
        rank = at.number("I")
        if name in infos or not 1 <= rank <= LARGEST_RANK or len(infos) == MOST_TENSORS:
            raise ValueError(
                f"tensor {shown(name)} comes twice, is one of more than {MOST_TENSORS:,} or has rank {rank}"
            )
        shape = tuple(at.number("Q") for _ in range(rank))[::-1]
        infos[name] = shape, at.number("I"), at.number("Q")
    step = settings.get("general.alignment", 32)
    if type(step) is not int or not 1 <= step <= 2**16:
        raise ValueError(f"general.alignment is {step!r:.40}")
    start = -(-at.place // step) * step
    places = {name: _place(name, *info, start, step, len(buffer)) for name, info in infos.items()}
    ends = sorted((place.start, place.start + _bytes(place), name) for name, place in places.items())
    for (_, end, first), (begin, _, second) in itertools.pairwise(ends):
        if begin < end:
            raise ValueError(f"tensors {shown(first)} and {shown(second)} overlap")
    return settings, places


def _place(name: str, shape: tuple[int, ...], kind: int, offset: int, start: int, step: int, size: int) -> GGUFPlace:
    """Of a kind that cannot be read no more than its start is known."""
    count = math.prod(shape)
    known = KINDS.get(kind)
    blocks = 0 if known is None else count // known.size
    place = GGUFPlace(kind, shape, start + offset, blocks)
    if offset % step or place.start + _bytes(place) > size:
        raise ValueError(f"tensor {shown(name)} does not lie in the file, or not at a multiple of {step} bytes")
    if known is not None and shape[-1] % known.size:
        raise ValueError(f"the rows of tensor {shown(name)} are not made of whole blocks")
    return place


def _bytes(place: GGUFPlace) -> int:
    known: Kind | None = KINDS.get(place.kind)
    return 0 if known is None else place.blocks * known.block.itemsize


class _Cursor:
    """Reads one thing after another, and never past the end."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.place = 0

    def take(self, count: int) -> bytes:
        if count > len(self._buffer) - self.place:
            raise ValueError(f"something of {count:,} bytes would begin at byte {self.place:,}, past the end")
        self.place += count
        return self._buffer[self.place - count : self.place]

    def number(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def bounded(self, count: int, least: int, what: str) -> int:
        """The count, where as many things of at least so many bytes are still there."""
        if count * least > len(self._buffer) - self.place:
            raise ValueError(f"it would have {count:,} {what}, more than it has room for")
        return count

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(_scalar(kind))
        kind, count = self.number("I"), self.number("Q")
        if kind == STRING:
            return [self.text() for _ in range(self.bounded(count, 8, "texts"))]
        size = struct.calcsize(_scalar(kind))
        return list(struct.unpack(f"<{self.bounded(count, size, 'numbers')}{_scalar(kind)}", self.take(count * size)))


def _scalar(kind: int) -> str:
    found = SCALARS.get(kind)
    if found is None:
        raise ValueError(f"a value has the unknown type {kind}")
    return found
