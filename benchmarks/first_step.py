"""How long until training has taken its first step: with an empty compilation cache, and again with the one it left.

    python -m benchmarks.first_step [PRESET ...] [--layers gpt-nano mamba-nano]      # about ten minutes

The real command line, from the start of the process to the line of step 1: import, data, initial weights, one
evaluation batch, and the training step, each compiled. Then models of 4, 12 and 48 layers.

Look first at: `seconds`.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version

from linearnexus.models.presets import PRESETS

QUICK = ("--max-steps", "2", "--log-interval", "1", "--eval-batches", "1", "--sample-tokens", "0")
LAYERS = (4, 12, 48)


def seconds(cache: str, *words: str) -> float:
    """From the start of `linearnexus train ...` to its first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-u", "-m", "linearnexus.cli.main", "train", *words, "--data", "stories", *QUICK]
        environment = {**os.environ, "LINEARNEXUS_CACHE": cache, "PYTHONPATH": os.getcwd()}
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("step 1/"):
                    found = time.perf_counter() - began
        if process.returncode:
            sys.exit(f"linearnexus train {' '.join(words)} ended with {process.returncode}")
        return found


def twice(*words: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as cache:
        return seconds(cache, *words), seconds(cache, *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    nano = [name for name in PRESETS if name.endswith("-nano")]
    parser.add_argument("presets", nargs="*", default=[*nano, "gpt2-small", "mamba-130m"])
    parser.add_argument("--layers", nargs="*", default=["gpt-nano", "mamba-nano"], metavar="PRESET")
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{date.today()}, {cores} cores ({platform.machine()}), JAX {version('jax')}")
    print("| preset | first start, s | second, s |\n|---|---:|---:|")
    for name in chosen.presets:
        small = () if name.endswith("-nano") else ("--batch-size", "1", "--sequence-length", "256")
        first, second = twice(name, *small)
        print(f"| {name} | {first:.1f} | {second:.1f} |", flush=True)
    for name in chosen.layers:
        for layers in LAYERS:
            first, second = twice(name, "--n-layer", str(layers))
            print(f"| {name}, {layers} layers | {first:.1f} | {second:.1f} |", flush=True)


if __name__ == "__main__":
    main()
