"""Kills training runs at random moments, goes on with them, and compares what they end with, bit for bit.

    python -m tests.torture                                  three models, 20 kills each: about ten minutes
    python -m tests.torture --models gpt-nano --kills 5      one model, in about a minute
    python -m tests.torture --write docs/resume.md

For each model one run is left alone. Another with the same options is killed (SIGKILL, which no program can catch) and
resumed until it has had its kills, then resumed to its end. Both start with an empty compilation cache. The moments are
uniform from the start of the process to a time that leaves each kill its share of the run: they fall into imports,
compilation, steps, and the writing of checkpoints, of which there is one every five steps.

Look first at: `torment`, `differences`.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from linearnexus.training import checkpoint, run_folder
from linearnexus.training.report import read_metrics

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("gpt-nano", "mamba-nano", "jamba-nano")
OPTIONS = (
    *("--data", "stories", "--sequence-length", "64", "--batch-size", "8", "--dropout", "0.1", "--max-steps", "300"),
    *("--warmup-steps", "20", "--eval-interval", "5", "--eval-batches", "2", "--sample-tokens", "20"),
    *("--log-interval", "1"),
)
TIMES = {"seconds", "tokens_per_second"}  # of a row or a state: what no two runs have in common
PATIENCE = 900.0  # seconds that a run may take


def start(arguments: Sequence[str], folder: Path, cache: Path | None = None) -> subprocess.Popen[str]:
    """`linearnexus *arguments` in its own process; its output goes to `output.txt` in the folder."""
    command = [sys.executable, "-m", "linearnexus.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    if cache is not None:
        environment["LINEARNEXUS_CACHE"] = str(cache)
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, text=True)


def last_step(run: Path) -> int:
    """The last step in metrics.jsonl; -1 if there is none."""
    return max((row["step"] for row in read_metrics(run / "metrics.jsonl")), default=-1)


def begin(preset: str, run: Path, options: Sequence[str]) -> list[str]:
    """The command that begins the run, or goes on with it once its folder is complete."""
    if (run / "config.json").is_file():
        return ["train", "--resume", str(run)]
    shutil.rmtree(run, ignore_errors=True)  # killed in the moment between the folder and its config.json
    return ["train", preset, "--name", str(run), *options]


@dataclass
class Torment:
    """What happened to a run."""

    start_up: list[int] = field(default_factory=list)  # kills before the first step; the step it would go on from
    steps: list[int] = field(default_factory=list)  # kills after this step
    checkpoints: list[int] = field(default_factory=list)  # kills while this step's checkpoint was written
    seconds: float = 0.0
    failure: str = ""

    @property
    def kills(self) -> int:
        return len(self.start_up) + len(self.steps) + len(self.checkpoints)


def torment(
    preset: str,
    run: Path,
    options: Sequence[str],
    kills: int,
    total: int,
    pace: float,
    ready: float,
    draw: random.Random,
) -> Torment:
    """Runs, kills and resumes `run` until it is done. `pace`: seconds a step; `ready`: seconds before the first one."""
    happened, began = Torment(), time.monotonic()
    for _ in range(kills):
        before = last_step(run)
        fair = (total - max(before, 0)) / (kills + 1 - happened.kills)  # steps
        # uniform in [0, window] is a moment that leaves time for `fair` steps on average
        window = ready + fair * pace + ((ready + fair * pace) ** 2 - ready**2) ** 0.5
        launched = time.monotonic()
        moment = launched + draw.uniform(0, window)
        process, first = start(begin(preset, run, options), run.parent, run.parent / f"cache-{run.name}"), None
        saved = max(checkpoint.steps(run / "checkpoints"), default=0)
        while process.poll() is None and (wait := moment - time.monotonic()) > 0:
            time.sleep(min(0.05, wait))
            step = last_step(run)
            if first is None and step not in (before, saved):
                first, ready = step, time.monotonic() - launched  # what a start takes now
            # faster than foreseen: the other kills want their share of the run
            if first is not None and step > min(max(before, first) + 2 * fair, total - 10):
                moment = min(moment, time.monotonic() + draw.uniform(0, 0.1))
        if process.poll() is not None:
            if process.returncode:
                happened.failure = f"exit code {process.returncode}"
            break
        process.kill()
        process.wait()
        note(run, before, process.pid, happened)
    if not happened.failure and last_step(run) < total:
        process = start(begin(preset, run, options), run.parent, run.parent / f"cache-{run.name}")
        code = process.wait(PATIENCE)
        happened.failure = f"exit code {code}" if code else ""
    happened.seconds = time.monotonic() - began
    return happened


def note(run: Path, before: int, pid: int, happened: Torment) -> None:
    """Where a kill fell. The log has a row for every step, and is cut back to a checkpoint when a run goes on."""
    saved = max(checkpoint.steps(run / "checkpoints"), default=0)
    if writing := list(run.glob(f"checkpoints/.step_*.{pid}.tmp")):
        happened.checkpoints.append(int(writing[0].name.split(".")[1].removeprefix("step_")))
    elif last_step(run) in (before, saved):
        happened.start_up.append(saved)
    else:
        happened.steps.append(last_step(run))


def differences(one: Path, other: Path) -> list[str]:
    """What two finished runs do not have in common, beside times: weights and what else the checkpoints hold, metrics,
    samples, config."""
    found = [
        f"{name} differs"
        for name in ("config.json", "tokenizer.json", "samples.txt")
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    rows, others = ([without_times(row) for row in read_metrics(run / "metrics.jsonl")] for run in (one, other))
    if rows != others:
        first = next((n for n, pair in enumerate(zip(rows, others, strict=False)) if pair[0] != pair[1]), "the end")
        found.append(f"metrics.jsonl differs from row {first} on ({len(rows)} and {len(others)} rows)")
    last, others_last = (checkpoint.steps(run / "checkpoints")[-1] for run in (one, other))
    if last != others_last:
        return [*found, f"the last checkpoints are those of steps {last} and {others_last}"]
    best = checkpoint.load_state(folder(one, last))["best"][1]
    for step in {best, last}:
        if wrong := checkpoint.problem(folder(one, step)) or checkpoint.problem(folder(other, step)):
            found.append(wrong)
            continue
        states = [without_times(checkpoint.load_state(folder(run, step))) for run in (one, other)]
        if states[0] != states[1]:
            found.append(f"state.json of step {step} differs")
        files, others_files = ({path.name for path in folder(run, step).iterdir()} for run in (one, other))
        if files != others_files:
            found.append(f"the checkpoints of step {step} have other files: {', '.join(sorted(files ^ others_files))}")
        found += [
            f"{name} of step {step} differs: {tensors(folder(one, step), folder(other, step), name)}"
            for name in sorted(files & others_files)
            if name.endswith(".safetensors")
            and (folder(one, step) / name).read_bytes() != (folder(other, step) / name).read_bytes()
        ]
    return found


def folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    """A row or a state without its times, and without the length of the log, whose times have more or fewer digits."""
    kept = {name: value for name, value in values.items() if name not in TIMES}
    if "log_lengths" in kept:
        kept["log_lengths"] = kept["log_lengths"][1]
    return kept


def tensors(one: Path, other: Path, name: str) -> str:
    """How many tensors of a file differ, and the largest difference."""
    first, second = load_file(one / name), load_file(other / name)
    if first.keys() != second.keys():
        return "other tensors"
    apart = [key for key in first if first[key].tobytes() != second[key].tobytes()]
    most = max((np.abs(first[key].astype(float) - second[key].astype(float)).max() for key in apart), default=0.0)
    return f"{len(apart)} of {len(first)} tensors, by up to {most:.2g} ({', '.join(apart[:3])})"


def test(preset: str, options: Sequence[str], kills: int, scratch: Path, draw: random.Random) -> tuple[str, bool]:
    """A row of the table, and whether the runs are the same."""
    alone, tormented = scratch / f"{preset}-alone", scratch / f"{preset}-killed"
    launched = time.monotonic()
    process = start(begin(preset, alone, options), scratch, scratch / f"cache-{alone.name}")
    ready = launched
    while process.poll() is None and time.monotonic() - launched < PATIENCE:
        if last_step(alone) < 1:
            ready = time.monotonic()
        time.sleep(0.05)
    if process.poll() != 0:
        process.kill()
        return f"| {preset} | - | - | - | - | **the run left alone failed, see {scratch / 'output.txt'}** |", False
    seconds, total = time.monotonic() - launched, last_step(alone)
    pace = (time.monotonic() - ready) / total
    print(f"{preset}: alone {seconds:.0f} s, first step after {ready - launched:.1f} s", file=sys.stderr, flush=True)
    happened = torment(preset, tormented, options, kills, total, pace, ready - launched, draw)
    apart = [happened.failure] if happened.failure else differences(alone, tormented)
    print(f"{preset}: killed and resumed {happened.seconds:.0f} s", file=sys.stderr, flush=True)
    cells = (
        f"{preset}, {total} steps",
        f"{happened.kills}",
        numbers(happened.start_up),
        numbers(happened.steps),
        numbers(happened.checkpoints),
        "identical" if not apart else f"**{'; '.join(apart)}**",
    )
    return f"| {' | '.join(cells)} |", not apart and happened.kills == kills


def numbers(steps: list[int]) -> str:
    return f"{len(steps)}: {', '.join(map(str, steps))}" if steps else "0"


HEAD = """\
# Killed runs that go on

A run of LinearNexus can be killed at any moment, even while it writes a checkpoint. `linearnexus train --resume`
goes on with it, and it ends with the same bits as a run that was left alone: weights, optimizer state, every row of
metrics.jsonl but its times, and every sample. That holds on the same machine with the same versions, devices and
number of threads; a resumed run says so when one of these is another than before.

This is measured, not promised. Below, one run of each model was left alone; another with the same options was killed
with SIGKILL at random moments, from the start of the process on, and resumed each time. The last column says whether
the files of the two are the same, byte for byte (in JSON: number for number).

    {command}

{environment}. {date}.

| Model | Kills | in start-up or compilation, on the way to go on from step | after step | \
while the checkpoint of this step was written | The two runs |
|---|---|---|---|---|---|
{rows}

Options: `{options}`.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=OPTIONS, help="of the runs; the last argument")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which are deleted otherwise")
    parser.add_argument("--write", type=Path, help="the file for the table, which is printed otherwise")
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (chosen.keep or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        results = [test(preset, chosen.options, chosen.kills, scratch, draw) for preset in chosen.models]
    now = run_folder.environment()
    shown = ("linearnexus", "python", "jax", "jaxlib", "numpy", "optax")
    page = HEAD.format(
        command=" ".join(["python -m tests.torture", *sys.argv[1:]]),
        environment=f"{now['machine']}, {', '.join(now['devices'])}, {now['cores']} cores; "
        + ", ".join(f"{name} {now[name]}" for name in shown),
        date=datetime.now(UTC).date(),
        rows="\n".join(row for row, _ in results),
        options=" ".join(chosen.options),
    )
    if chosen.write:
        chosen.write.write_text(page)
    print(page)
    return 0 if all(same for _, same in results) else 1


if __name__ == "__main__":
    sys.exit(main())
