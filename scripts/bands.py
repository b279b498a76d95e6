"""Measures the bands of "is this normal?" (linearnexus/training/verdict.py): the loss of each recipe over five seeds.

    python -m scripts.bands FOLDER [PRESET ...]   # FOLDER keeps what each seed gave; an hour and a half on one core

Each step has two losses: of runs that end there, as `linearnexus train` ends them (the rate falls along a cosine to
zero), and of runs that continue at the full rate. Those of a longer run lie between.
"""

import argparse
import dataclasses
import json
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

from linearnexus.core.config import to_json
from linearnexus.core.machine import prepare
from linearnexus.core.paths import write_atomic
from linearnexus.training import launch
from linearnexus.training.fit import Hook, Loop, fit
from linearnexus.training.job import first_state, open_job
from linearnexus.training.objective import validate
from linearnexus.training.recipes import base_config
from linearnexus.training.step import Update
from linearnexus.training.verdict import BANDS, recipe

ENDS = {"gpt-nano": (300, 600, 1200), "mamba-nano": (150, 300, 600), "jamba-nano": (150, 300, 600)}  # steps
POINTS = 24  # evaluations of a run at the full rate, as long as the longest that ends
SEEDS = 5


def full_rate(name: str, seed: int) -> dict[str, float]:
    """The validation losses by step of a run at the full rate."""
    steps = ENDS[name][-1]
    return losses(name, seed, "constant", steps, [steps * point // POINTS for point in range(POINTS + 1)])


def losses(
    name: str, seed: int, schedule: Literal["constant", "cosine"], steps: int, stops: list[int]
) -> dict[str, float]:
    """The validation losses of one run at those steps."""
    config = dataclasses.replace(base_config(name), seed=seed, schedule=schedule, max_steps=steps)
    job = launch.completed(open_job(config), None)
    loop = Loop(first_state(job.config), total=steps)
    update, found = Update(job.config, job.objective()), {}

    class Record(Hook):
        def start(self, loop: Loop) -> None:
            self.after_step(loop)

        def after_step(self, loop: Loop) -> None:
            loop.metrics.clear()
            if loop.done in stops:
                parts = ((part.share, part.batches) for part in job.evaluation())
                found[str(loop.done)] = validate(update.objective, loop.state.model, None, parts)["loss"]

    with closing(job.stream()) as stream:
        fit(loop, update, stream, [Record()])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("presets", nargs="*", default=list(ENDS))
    arguments = parser.parse_args()
    prepare(lambda words: print(words, file=sys.stderr))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    bands = json.loads(BANDS.read_text())
    for name in arguments.presets:
        measured: dict[str, dict[str, list[float]]] = {"full_rate": {}, "ending": {}}
        for seed in range(SEEDS):
            runs = [("full_rate", f"{name}-{seed}-full_rate", partial(full_rate, name, seed))]
            for end in ENDS[name]:
                run = partial(losses, name, seed, "cosine", end, [end])
                runs.append(("ending", f"{name}-{seed}-ending-{end}", run))
            for edge, file, run in runs:
                path = arguments.folder / f"{file}.json"
                if not path.exists():
                    write_atomic(path, json.dumps(run()))
                    print(path, flush=True)
                for step, loss in json.loads(path.read_text()).items():
                    measured[edge].setdefault(step, []).append(round(loss, 4))
        bands[name] = {"recipe": recipe(to_json(base_config(name).resolved())), **measured}
    write_atomic(BANDS, json.dumps(bands, indent=1) + "\n")


if __name__ == "__main__":
    main()
