"""Safetensors files, read and written tensor by tensor: a model never lies in memory twice.

    8 bytes: the header's length | the header: JSON, {name: {dtype, shape, data_offsets}} | the tensors' bytes

Nothing in a file is believed before the whole header has been checked: its length, its JSON, that the tensors lie one
behind the other from the first byte to the last. Tensors are read, not mapped: pages of a mapping count as memory of
the process, and a mapped file that somebody cuts off ends it.

Look first at: `parse`, `TensorFile`, `write`.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.paths import sync

LARGEST_HEADER = 100_000_000  # bytes, as in the safetensors library
LARGEST_RANK = 32
BFLOAT16 = np.dtype(jnp.bfloat16)
# Bytes of an element, and the type to read it as.
DTYPES: dict[str, tuple[int, np.dtype[Any] | None]] = {
    **{f"F{8 * size}": (size, np.dtype(f"<f{size}")) for size in (2, 4, 8)},
    "BF16": (2, BFLOAT16),
    "F8_E4M3": (1, None),
    "F8_E5M2": (1, None),
    "BOOL": (1, np.dtype(bool)),
    **{f"{sign.upper()}{8 * size}": (size, np.dtype(f"<{sign}{size}")) for sign in "iu" for size in (1, 2, 4, 8)},
}


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in its file."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]  # as it is read
    start: int  # bytes behind the header
    stored: tuple[int, ...] | None = None  # the shape in the file, where that is another one
    columns: tuple[int, int] | None = None  # the first and the last but one of `stored` that are read; None: all


class TensorFile:
    """A file whose header is sound. Raises UserError, which names the file, where it is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if not 0 < length <= min(size - 8, LARGEST_HEADER):
                    raise ValueError(f"the header would have {length:,} bytes, and the file has {size:,}")
                self._data = 8 + length
                self.places = parse(file.read(length), size - self._data)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); restore it from a copy.") from error
        except ValueError as error:
            raise UserError(
                f"{path} is no whole safetensors file ({error}); take it again from where it came from."
            ) from error

    def read(self, name: str) -> np.ndarray:
        """One tensor. Raises UserError where the file has become shorter."""
        place = self.places[name]
        dtype = DTYPES[place.dtype][1]
        if dtype is None:
            raise UserError(
                f"{self.path}: tensor {shown(name)} is {place.dtype}, which cannot be read; give F32, F16 or BF16."
            )
        stored = place.shape if place.stored is None else place.stored
        count = math.prod(stored)
        flat = np.fromfile(self.path, dtype, count, offset=self._data + place.start)
        if flat.size != count:
            raise UserError(f"{self.path} has become shorter while it was read; take it again from where it came from.")
        array = flat.reshape(stored)
        return (array if place.columns is None else array[..., slice(*place.columns)]).reshape(place.shape)


def parse(header: bytes, size: int) -> dict[str, TensorPlace]:
    """The tensors that a header names, in the order of their bytes; `size`: bytes behind the header.

    Raises ValueError, which says what is wrong.
    """
    try:
        values = json.loads(header.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("the header's JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the header is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("the header is no JSON object")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("the header's __metadata__ does not map names to texts")
    found = sorted(((name, *_place(name, value)) for name, value in values.items()), key=lambda item: item[1:3])
    places, end_before = {}, 0
    for name, start, end, place in found:
        if start != end_before:
            what = "overlaps the tensor before it" if start < end_before else "leaves a gap before it"
            raise ValueError(
                f"tensor {shown(name)} {what}: it starts at byte {start:,}, and the one before ends at {end_before:,}"
            )
        places[name], end_before = place, end
    if end_before != size:
        raise ValueError(f"its tensors have {end_before:,} bytes, and the file has {size:,} for them")
    return places


def shown(name: str) -> str:
    """A name out of a file, for a sentence: short, and without signs that would move the cursor."""
    return name if name.isprintable() and len(name) <= 120 else f"{name!r:.120}"


def _place(name: str, value: Any) -> tuple[int, int, TensorPlace]:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {shown(name)} has not dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {shown(name)} has the unknown dtype {dtype!r:.40}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if (
            not isinstance(numbers, list)
            or len(numbers) > LARGEST_RANK
            or not all(type(number) is int and 0 <= number < 2**48 for number in numbers)
        ):
            raise ValueError(f"tensor {shown(name)} has the {what} {numbers!r:.40}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype][0]:
        raise ValueError(f"tensor {shown(name)} is {dtype} {shape}, which does not fill the bytes {offsets!r:.60}")
    return offsets[0], offsets[1], TensorPlace(dtype, tuple(shape), offsets[0])


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays of any dtype by their names, the widest numbers first, so that each is aligned. Raises OSError."""
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    kinds = {kind: name for name, (_, kind) in DTYPES.items() if kind is not None}
    write(
        path,
        {name: arrays[name].shape for name in names},
        (arrays[name] for name in names),
        dtypes={name: kinds[arrays[name].dtype] for name in names},
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("the header names something twice")
    return values


def write(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterable[np.ndarray],
    metadata: Mapping[str, str] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors, whose shapes are known before the first is made, and flushes them to the disk.

    dtypes: of each tensor, as safetensors names it; None: all are float32. Raises OSError as the system gave it.
    """
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    kinds, end = dtypes or dict.fromkeys(shapes, "F32"), 0
    for name, shape in shapes.items():
        start, end = end, end + DTYPES[kinds[name]][0] * math.prod(shape)
        header[name] = {"dtype": kinds[name], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (name, shape), array in zip(shapes.items(), arrays, strict=True):
            assert array.shape == shape, (name, array.shape, shape)
            ordered = np.ascontiguousarray(array, DTYPES[kinds[name]][1])
            file.write(ordered.reshape(-1).view(np.uint8).data)  # `tofile` does not say why it failed
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)
