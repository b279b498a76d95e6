"""Every small preset trained on stories for the same minutes, on one core each: loss, speed and a sample.

    make minutes
    python -m benchmarks.same_minutes --write docs/same_minutes.md

Two optimizers at their default settings, Muon and AdamW, for `--minutes` each. With `--results FILE` each training is
kept there, and those that it has are not run again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Any

from linearnexus.models.presets import presets

PROMPT = "Once upon a time"


def one(name: str, optimizer: str, minutes: float) -> dict[str, Any]:
    """Trains in this process, in a folder of its own."""
    from linearnexus.core.machine import prepare

    prepare()
    import linearnexus as ln

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run = ln.train(name, data="stories", optimizer=optimizer, max_minutes=minutes, sample_tokens=0)
        rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        losses = [row["validation_loss"] for row in rows if "validation_loss" in row]
        speeds = sorted(row["tokens_per_second"] for row in rows if row.get("tokens_per_second"))
        return {
            "first": losses[0],
            "last": losses[-1],
            "steps": rows[-1]["step"],
            "speed": speeds[len(speeds) // 2],
            "largest": max(row["grad_norm"] for row in rows if "grad_norm" in row),
            "sample": PROMPT + run.generate(PROMPT, temperature=0.5, max_tokens=240, seed=0),
        }


def child(name: str, optimizer: str, minutes: float, cores: "Queue[int]") -> dict[str, Any]:
    """The same in a process of its own, on one core."""
    core = cores.get()
    try:
        command = [sys.executable, "-m", "benchmarks.same_minutes", "--one", name, optimizer, str(minutes)]
        pin = ["taskset", "-c", str(core)] if sys.platform == "linux" else []
        done = subprocess.run(
            [*pin, *command],
            capture_output=True,
            text=True,
            env={**os.environ, "NPROC": "1"},
        )
        if done.returncode:
            raise RuntimeError(f"{name} with {optimizer}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        print(name, optimizer, found, file=sys.stderr, flush=True)
        return found
    finally:
        cores.put(core)


class Results:
    """What was measured, in a JSON file (None: nowhere)."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.lock = path, Lock()
        self.known = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}

    def get(self, name: str, optimizer: str, minutes: float, cores: "Queue[int]") -> dict[str, Any]:
        key = f"{name} {optimizer} {minutes:g}"
        if key not in self.known:
            found = child(name, optimizer, minutes, cores)
            with self.lock:
                self.known[key] = found
                if self.path:
                    self.path.write_text(json.dumps(self.known, indent=1), encoding="utf-8")
        return self.known[key]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_minutes", description="The same minutes for all.")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each training")
    parser.add_argument("--only", nargs="*", metavar="PRESET")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep trainings there; go on from it")
    parser.add_argument("--one", nargs=3, metavar=("PRESET", "OPTIMIZER", "MINUTES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], options.one[1], float(options.one[2]))))
        return
    names = options.only or [name for name in presets() if name.endswith("-nano")]
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
    cores: Queue[int] = Queue()
    for core in available:
        cores.put(core)
    results = Results(options.results)
    with ThreadPoolExecutor(len(available)) as pool:
        muon = [pool.submit(results.get, name, "muon", options.minutes, cores) for name in names]
        adamw = [pool.submit(results.get, name, "adamw", options.minutes, cores) for name in names]
        rows = [(name, a.result(), b.result()) for name, a, b in zip(names, muon, adamw, strict=True)]
    lines = [
        "# Every small preset, the same minutes",
        "",
        f"`python -m benchmarks.same_minutes`, {date.today()}, Python {platform.python_version()}, JAX "
        f"{version('jax')},",
        f"one core of {len(available)} each (CPU, {platform.machine()}).",
        "",
        "`stories`, one token a character, 16 x 128 characters a step, all settings at their defaults: "
        f"{options.minutes:g} minutes of Muon,",
        "and as many of AdamW. Losses are of the validation split; the speed is the median of Muon's run.",
        "A loss tells what a minute buys, not what a token does: a faster model sees more text.",
        "",
        "| preset | tokens/s | steps | loss at step 0 | loss | largest gradient | AdamW: steps | loss | gradient |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {m['speed']:,.0f} | {m['steps']:,} | {m['first']:.3f} | {m['last']:.3f} | {m['largest']:.2f} "
        f"| {a['steps']:,} | {a['last']:.3f} | {a['largest']:.2f} |"
        for name, m, a in rows
    ]
    lines += ["", "## What each writes after Muon's minutes, at temperature 0.5", ""]
    for name, m, _ in rows:
        lines += [f"**{name}**: {' '.join(m['sample'].split())}", ""]
    text = "\n".join(lines)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
