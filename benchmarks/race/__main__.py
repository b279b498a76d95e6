"""Races LinearNexus against its peers: all sides in turns on the same work, ratios of tokens a second.

    make bench                        all of it
    make bench ARGS="--only mamba"    works whose name has that text
    python -m benchmarks.race --results FILE --write benchmarks     README.md and race.svg there, results kept in FILE

A side is a process of its own that works only in its turns. A pair is two turns behind each other; the ratio is the
median of the pairs, with the lowest and the highest beside it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.race.report import OURS, pairs, write
from benchmarks.race.works import WORKS

PEERS = Path(".venv-peers/bin/python")
SECONDS, ROUNDS = 2.0, 7


class Side:
    """A worker process, with empty caches of compiled programs in `folder`."""

    def __init__(self, name: str, folder: str) -> None:
        module = "jax_side" if name == OURS else "torch_side"
        python = sys.executable if name == OURS else str(PEERS)
        self.name, self.log = name, Path(folder, f"{name}.log")
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, "-m", f"benchmarks.race.{module}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "LINEARNEXUS_CACHE": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"},
            )

    def ask(self, **command: Any) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            said = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with exit status {status} at {command}: {said}")
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def race(number: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Tokens a second of each side in each round, first and second unit, and memory."""
    work = WORKS[number]
    caches = tempfile.TemporaryDirectory()
    sides = [Side(name, caches.name) for name in (OURS, *work.peers)]
    try:
        found: dict[str, Any] = {side.name: side.ask(work=number, side=side.name) for side in sides}
        for side in sides:
            found[side.name]["speeds"] = []
        for _ in range(rounds):
            for side in sides:
                turn = side.ask(seconds=seconds)
                found[side.name]["speeds"].append(turn["tokens"] / turn["seconds"])
        for side in sides:
            found[side.name] |= side.ask()
        return found
    finally:
        for side in sides:
            side.close()
        caches.cleanup()


def limits() -> dict[str, float]:
    run = subprocess.run([sys.executable, "-m", "benchmarks.race.limits"], check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description="LinearNexus against its peers.")
    parser.add_argument("--only", default="", metavar="TEXT", help="works whose name has this text")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a turn")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the results there, go on from those in it")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="README.md and race.svg are written there")
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit(f"The peers are not installed in {PEERS.parent.parent}; run: make bench")
    results: dict[str, Any] = {}
    if options.results and options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    for number, work in enumerate(WORKS):
        if options.only not in work.name or work.name in results.get("works", {}):
            continue
        before, found, after = limits(), race(number, options.rounds, options.seconds), limits()
        found["limits"] = {key: max(before[key], after[key]) for key in before}
        results.setdefault("works", {})[work.name] = found
        for peer in work.peers:
            ratios = pairs(found, peer)
            print(
                f"{work.name}: {statistics.median(found[OURS]['speeds']):,.0f} tokens/s, "
                f"{statistics.median(ratios):.2f} times {peer} ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )
        if options.results:
            options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = subprocess.run(
        [PEERS, "-c", "import torch, transformers; print(torch.__version__, transformers.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    results["machine"] = (
        f"{date.today()}, {cores} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"JAX {version('jax')}, PyTorch {torch[0]}, transformers {torch[1]}"
    )
    if options.write:
        write(options.write, results)


if __name__ == "__main__":
    main()
