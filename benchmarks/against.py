"""Races this checkout against another one, such as an earlier commit: the same work in turns, ratios of speeds.

    git worktree add ../before COMMIT
    python -m benchmarks.against ../before --only training --rounds 15

Each side is a process of its own that works only in its turns (benchmarks/race/worker.py), with its own tree first on
the path and an empty cache of compiled programs. A pair is two turns one after the other; which side begins alternates.
Above 1, this checkout is faster.

Look first at: `pairs`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.race.works import WORKS

HERE = Path(__file__).resolve().parents[1]


class Checkout:
    """A worker process of one tree."""

    def __init__(self, tree: Path, cache: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.race.jax_side"],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "LINEARNEXUS_CACHE": cache},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def pairs(number: int, other: Path, rounds: int, seconds: float) -> tuple[list[float], list[dict[str, float]]]:
    """The ratio of each pair, and what both sides say of their first unit and their memory."""
    with tempfile.TemporaryDirectory() as mine, tempfile.TemporaryDirectory() as theirs:
        sides = [Checkout(HERE, mine), Checkout(other, theirs)]
        try:
            facts = [side.ask(work=number, side="LinearNexus") for side in sides]
            ratios = []
            for turn in range(rounds):
                order = sides if turn % 2 == 0 else sides[::-1]
                answers = {side: side.ask(seconds=seconds) for side in order}
                now, before = (answers[side]["tokens"] / answers[side]["seconds"] for side in sides)
                ratios.append(now / before)
            return ratios, [fact | side.ask() for fact, side in zip(facts, sides, strict=True)]
        finally:
            for side in sides:
                side.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--only", default="", help="works whose name has this text")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    options = parser.parse_args()
    print("| work | ratio, median | range | first unit, s | peak memory, MiB |\n| --- | --- | --- | --- | --- |")
    for number, work in enumerate(WORKS):
        if options.only in work.name:
            ratios, (ours, theirs) = pairs(number, options.other.resolve(), options.rounds, options.seconds)
            print(
                f"| {work.name} | {statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f} | "
                f"{ours['first']:.1f} for {theirs['first']:.1f} | {ours['peak']:,.0f} for {theirs['peak']:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
