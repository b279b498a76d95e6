"""Measures the bands of "is this normal?" (linearnexus/training/verdict.py): the loss of each recipe over five seeds.

    python -m scripts.bands FOLDER [PRESET ...]   # FOLDER keeps what each seed gave; an hour and a half on one core

Each step has two losses: of runs that end there, as `linearnexus train` ends them (the rate falls along a cosine to
zero), and of runs that go on at the full rate. Those of a longer run lie between.
"""

import argparse
import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp

from linearnexus.core.config import to_json
from linearnexus.core.machine import prepare
from linearnexus.core.paths import write_atomic
from linearnexus.data.prefetch import Prefetcher
from linearnexus.training.recipes import base_config
from linearnexus.training.schedules import learning_rate
from linearnexus.training.step import compiled_for, init_state, train_step
from linearnexus.training.validation import validate
from linearnexus.training.verdict import BANDS, recipe

ENDS = {"gpt-nano": (300, 600, 1200), "mamba-nano": (150, 300, 600), "jamba-nano": (150, 300, 600)}  # steps
POINTS = 24  # evaluations of a run that goes on, as long as the longest that ends
SEEDS = 5


def going_on(name: str, seed: int) -> dict[str, float]:
    """The validation losses by step of a run at the full rate."""
    steps = ENDS[name][-1]
    return losses(name, seed, "constant", steps, [steps * point // POINTS for point in range(POINTS + 1)])


def losses(
    name: str, seed: int, schedule: Literal["constant", "cosine"], steps: int, stops: list[int]
) -> dict[str, float]:
    """The validation losses of one run at those steps."""
    config = dataclasses.replace(base_config(name), seed=seed, schedule=schedule, max_steps=steps)
    source = config.open_source()
    model = dataclasses.replace(config.model, vocab_size=source.tokenizer.vocab_size)
    config = dataclasses.replace(config, model=model)
    ahead, program, state = (
        Prefetcher(source.batches(config), config.accumulate),
        compiled_for(config),
        init_state(config),
    )
    found = {"0": validate(state.model, source, config)[0]} if 0 in stops else {}
    for step in range(steps):
        rate = jnp.float32(learning_rate(config, step, steps))
        state, metrics = train_step(state, *ahead.get(step)[:2], rate, program)
        jax.block_until_ready(metrics)
        if step + 1 in stops:
            found[str(step + 1)] = validate(state.model, source, config)[0]
    ahead.close()
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
        measured: dict[str, dict[str, list[float]]] = {"going_on": {}, "ending": {}}
        for seed in range(SEEDS):
            runs = [("going_on", f"{name}-{seed}-going_on", partial(going_on, name, seed))]
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
