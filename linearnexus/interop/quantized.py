"""Numbers that GGUF files store in fewer bits: blocks of 32 or 256 of them, with a scale (and a minimum) a block.

    Q8_0, Q5_0, Q4_0    x = d q               32 numbers, q of 8, 5 or 4 bits around zero
    Q5_1, Q4_1          x = d q + m           32 numbers
    Q4_K, Q5_K          x = d s q - m r       256 numbers, s and r of 6 bits for each 32
    Q6_K                x = d s q             256 numbers, s of 8 bits for each 16

The layouts are those of ggml (ggml-common.h, ggml-quants.c).

Look first at: `KINDS`, `numbers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from linearnexus.core.tensor_file import BFLOAT16

SLAB = 2**16  # blocks at a time: bounds the memory between bytes and numbers


@dataclass(frozen=True)
class Kind:
    name: str
    size: int  # numbers a block
    block: np.dtype[Any]
    read: Callable[[Any], np.ndarray]  # blocks [n] -> numbers [n, size]


def _nibbles(q: np.ndarray) -> np.ndarray:
    """[n, k] bytes -> [n, 2k]: the lower halves, then the upper ones."""
    return np.concatenate([q & 15, q >> 4], axis=1)


def _fifth(bits: np.ndarray) -> np.ndarray:
    """The fifth bit of 32 numbers, from 4 bytes."""
    return np.unpackbits(bits, axis=1, bitorder="little") << 4


def _scaled(q: np.ndarray, d: np.ndarray) -> np.ndarray:
    return q.astype(np.float32) * d.astype(np.float32)[:, None]


def _six_bits(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 8 scales and 8 minima [n, 8] in 12 bytes: the first four of each lie in the lower six bits of bytes 0 to 3
    and 4 to 7, the other four have their lower four bits in bytes 8 to 11 and the upper two above the first ones."""
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, rest & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    return scales, minima


def _k_blocks(blocks: Any, q: np.ndarray) -> np.ndarray:
    """`q` [n, 8, 32] with the scales and minima of its eighths."""
    scales, minima = (
        _scaled(six, d) for six, d in zip(_six_bits(blocks["s"]), (blocks["d"], blocks["m"]), strict=True)
    )
    return (q.astype(np.float32) * scales[..., None] - minima[..., None]).reshape(len(q), -1)


def _pairs_of_32(q: np.ndarray) -> np.ndarray:
    """[n, 128] bytes -> [n, 8, 32]: of each 32 bytes the lower halves, then the upper ones."""
    four = q.reshape(len(q), 4, 1, 32)
    return np.concatenate([four & 15, four >> 4], axis=2).reshape(len(q), 8, 32)


def _q5_k(blocks: Any) -> np.ndarray:
    fifth = blocks["h"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1  # [n, 8, 32]
    return _k_blocks(blocks, _pairs_of_32(blocks["q"]) | fifth << 4)


def _q6_k(blocks: Any) -> np.ndarray:
    """Of each half of the block, 64 bytes hold lower four bits, as in `_pairs_of_32` but with the lower halves of all
    64 bytes first, and 32 bytes the upper two bits."""
    low = blocks["q"].reshape(-1, 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = blocks["h"].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    q = (low | high << 4).reshape(-1, 16, 16).astype(np.float32) - 32
    return (q * _scaled(blocks["s"], blocks["d"])[..., None]).reshape(len(blocks), -1)


def _block(*fields: tuple[str, str, int]) -> np.dtype[Any]:
    return np.dtype([(name, kind, (count,)) if count > 1 else (name, kind) for name, kind, count in fields])


_D, _M = ("d", "<f2", 1), ("m", "<f2", 1)
_S12 = ("s", "u1", 12)


def _with_minimum(q: np.ndarray, blocks: Any) -> np.ndarray:
    return _scaled(q, blocks["d"]) + blocks["m"].astype(np.float32)[:, None]


KINDS: dict[int, Kind] = {
    0: Kind("F32", 1, _block(("x", "<f4", 1)), lambda b: b["x"][:, None]),
    1: Kind("F16", 1, _block(("x", "<f2", 1)), lambda b: b["x"][:, None].astype(np.float32)),
    30: Kind("BF16", 1, np.dtype([("x", BFLOAT16)]), lambda b: b["x"][:, None].astype(np.float32)),
    8: Kind("Q8_0", 32, _block(_D, ("q", "i1", 32)), lambda b: _scaled(b["q"], b["d"])),
    2: Kind("Q4_0", 32, _block(_D, ("q", "u1", 16)), lambda b: _scaled(_nibbles(b["q"]).astype("i1") - 8, b["d"])),
    3: Kind("Q4_1", 32, _block(_D, _M, ("q", "u1", 16)), lambda b: _with_minimum(_nibbles(b["q"]), b)),
    6: Kind(
        "Q5_0",
        32,
        _block(_D, ("h", "u1", 4), ("q", "u1", 16)),
        lambda b: _scaled((_nibbles(b["q"]) | _fifth(b["h"])).astype("i1") - 16, b["d"]),
    ),
    7: Kind(
        "Q5_1",
        32,
        _block(_D, _M, ("h", "u1", 4), ("q", "u1", 16)),
        lambda b: _with_minimum(_nibbles(b["q"]) | _fifth(b["h"]), b),
    ),
    12: Kind("Q4_K", 256, _block(_D, _M, _S12, ("q", "u1", 128)), lambda b: _k_blocks(b, _pairs_of_32(b["q"]))),
    13: Kind("Q5_K", 256, _block(_D, _M, _S12, ("h", "u1", 32), ("q", "u1", 128)), _q5_k),
    14: Kind("Q6_K", 256, _block(("q", "u1", 128), ("h", "u1", 64), ("s", "i1", 16), _D), _q6_k),
}


def numbers(kind: Kind, blocks: np.ndarray) -> np.ndarray:
    """The float32 numbers of blocks [n], flat."""
    found = np.empty((len(blocks), kind.size), np.float32)
    for start in range(0, len(blocks), SLAB):
        found[start : start + SLAB] = kind.read(blocks[start : start + SLAB])
    return found.reshape(-1)
