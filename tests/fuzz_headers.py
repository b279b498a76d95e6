"""Broken files by the thousand: whatever the bytes say, a parser accepts them or raises ValueError, and what it accepts
lies inside the file.

    python -m tests.fuzz_headers --cases 100000        prints what became of them; ends with 1 at the first other error

tests/test_interop.py runs a few hundred. Look first at: `broken`, `safetensors_case`, `gguf_case`.
"""

import argparse
import json
import random
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Callable

from linearnexus.core.tensor_file import DTYPES, parse
from linearnexus.interop import gguf

NUMBERS = (0, 1, 2, 3, 7, 8, 31, 32, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**48, 2**60, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = ("F32", "BF16", "U8", "dtype", "shape", "data_offsets", "__metadata__", "a", "", "\u0000", "\ud800", "[" * 3000)


def broken(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, removed, repeated or replaced by a number that may be a length."""
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 1:
            del out[at : at + rng.choice((1, 4, 8, 100))]
        elif kind == 2:
            out[at:at] = out[at : at + rng.choice((1, 8, 40))]
        elif kind == 3:
            out[at : at + 8] = struct.pack("<Q", rng.choice(NUMBERS))
        elif kind == 4:
            out[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) % 2**32)
        else:
            out = out[: max(at, 4)]
    return bytes(out)


def header(rng: random.Random) -> tuple[bytes, int]:
    """A header of a few tensors that fill their bytes, some of its values replaced; and the bytes that it speaks of."""
    values: dict[str, object] = {}
    end = 0
    for name in range(rng.randrange(4)):
        dtype = rng.choice(list(DTYPES))
        shape = [rng.randrange(4) for _ in range(rng.randrange(3))]
        size = DTYPES[dtype][0]
        for n in shape:
            size *= n
        values[f"t{name}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    if rng.random() < 0.3:
        values["__metadata__"] = rng.choice(({"format": "pt"}, {"a": 1}, [], "pt"))
    for _ in range(rng.choice((0, 1, 2))):
        tensors = [value for value in values.values() if isinstance(value, dict) and value]
        if tensors:
            tensor = rng.choice(tensors)
            tensor[rng.choice(list(tensor))] = rng.choice(  # type: ignore[index]
                (rng.choice(NUMBERS), -1, 1.5, None, True, [], [rng.choice(NUMBERS)] * 2, [[]], {}, rng.choice(TEXTS))
            )
    return json.dumps(values).encode(), end + rng.choice((0, 0, 0, 1, -1))


def safetensors_case(rng: random.Random) -> bool:
    """Accepted? Raises AssertionError where a tensor that was accepted lies outside."""
    text, size = header(rng)
    if rng.random() < 0.5:
        text = broken(rng, text)
    try:
        places = parse(text, size)
    except ValueError:
        return False
    end = 0
    for place in places.values():
        assert place.start == end
        count = DTYPES[place.dtype][0]
        for n in place.shape:
            count *= n
        end += count
    assert end == size
    return True


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf_bytes(settings: dict[str, object], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]) -> bytes:
    """A whole file. `tensors`: sizes as GGUF has them (the fastest first), type, bytes."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    for key, value in settings.items():
        out += text(key) + typed(value)
    data = b""
    for name, (sizes, kind, content) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
        data += content + b"\0" * (-len(content) % 32)
    return out + b"\0" * (-len(out) % 32) + data


def typed(value: object) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    assert isinstance(value, list)
    inner = [typed(item) for item in value]
    return struct.pack("<I", 9) + inner[0][:4] + struct.pack("<Q", len(value)) + b"".join(item[4:] for item in inner)


SOUND = gguf_bytes(
    {"general.architecture": "llama", "llama.block_count": 1, "a": [1, 2, 3], "b": ["x", "yz"], "c": 0.5, "d": True},
    {"x": ((32, 2), 8, b"\1" * 68), "y": ((3,), 0, b"\2" * 12), "z": ((256,), 14, b"\3" * 210)},
)


def gguf_case(rng: random.Random) -> bool:
    """As `safetensors_case`, for a GGUF file."""
    data = broken(rng, SOUND)
    try:
        _, places = gguf.parse(data)
    except ValueError:
        return False
    for place in places.values():
        known = gguf.KINDS.get(place.kind)
        assert place.start >= 0 and place.start + place.blocks * (known.block.itemsize if known else 0) <= len(data)
    return True


CASES: dict[str, Callable[[random.Random], bool]] = {"safetensors": safetensors_case, "gguf": gguf_case}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    for name, case in CASES.items():
        found: Counter[bool] = Counter()
        for seed in range(options.first, options.first + options.cases):
            try:
                found[case(random.Random(seed))] += 1
            except Exception:
                traceback.print_exc()
                print(f"{name}: seed {seed} ended in another error")
                return 1
        print(f"{name}: {found[True]:,} accepted, {found[False]:,} refused, no other error in {options.cases:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
