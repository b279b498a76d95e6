"""How fast batches of prepared data are made, and that 10,000 random steps are what they are in order.

    python -m benchmarks.loader FOLDER          a folder that `linearnexus data prepare` made

Look first at: `main`.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from linearnexus.data.batches import Batches, MixedBatches, WindowBatches
from linearnexus.data.packing import PackedBatches
from linearnexus.data.shards import open_prepared

ROOT = Path(__file__).resolve().parents[1]
STEPS = 10_000


def kinds(folder: str, T: int, B: int) -> dict[str, Batches]:
    tokens = open_prepared(folder).tokens("train")
    windows, packed = WindowBatches(tokens, T, B, 0), PackedBatches(tokens, T, B, 0)
    other = WindowBatches(tokens, T, B, 1)
    return {"windows": windows, "best-fit": packed, "mixture": MixedBatches([windows, other], [0.7, 0.3], B, 0)}


def checksum(batches: Batches, steps: np.ndarray, hosts: int = 1) -> str:
    """Of the batches of these steps, whatever order they are asked for in; hosts' parts joined."""
    found = {}
    for step in steps.tolist():
        parts = [batches.batch(step, host, hosts) for host in range(hosts)]
        digest = hashlib.blake2b()
        for field in zip(*parts, strict=True):
            if field[0] is not None:
                digest.update(np.ascontiguousarray(np.concatenate(field)).tobytes())
        found[step] = digest.hexdigest()
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--only", help="print the checksum of one kind and end")
    options = parser.parse_args()
    T, B = options.sequence_length, options.batch_size
    steps = np.random.default_rng(0).permutation(STEPS)
    if options.only:
        print(checksum(kinds(options.folder, T, B)[options.only], np.arange(STEPS)))
        return
    for name in kinds(options.folder, T, B):
        began = time.perf_counter()
        batches = kinds(options.folder, T, B)[name]
        batches.batch(0)
        first = time.perf_counter() - began
        began = time.perf_counter()
        for step in range(2000):
            batches.batch(step)
        speed = 2000 * B * T / (time.perf_counter() - began)
        expected = checksum(batches, np.arange(STEPS))
        again = kinds(options.folder, T, B)[name]
        command = [sys.executable, "-m", "benchmarks.loader", options.folder, "--only", name]
        command += ["--sequence-length", str(T), "--batch-size", str(B)]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        same = {
            "in random order": checksum(again, steps) == expected,
            "as 4 hosts": checksum(again, np.arange(STEPS), hosts=4) == expected,
            "in a new process": other == expected,
        }
        found = "; ".join(f"{what}: {'the same' if ok else 'OTHER'}" for what, ok in same.items())
        print(
            f"{name}: {speed:,.0f} tokens/s in batches of {B} x {T}, the first after {first:.2f} s; {STEPS:,} steps "
            f"{found}"
        )


if __name__ == "__main__":
    main()
