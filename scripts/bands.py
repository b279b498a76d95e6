"""Measures the bands of "is this normal?" (linearnexus/training/verdict.py): the loss of each recipe over five seeds.

    python -m scripts.bands FOLDER [PRESET ...]   # FOLDER keeps what each seed gave; half an hour on two cores

A seed is a run at the full learning rate, with branches in which the rate falls to zero within the last fifth. So each
step has two losses: of a run that goes on, and of one that ends there. Those of any schedule lie between.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from linearnexus.core.config import to_json
from linearnexus.core.machine import prepare
from linearnexus.core.paths import write_atomic
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import base_config
from linearnexus.training.schedules import learning_rate
from linearnexus.training.source import Ahead, Source
from linearnexus.training.step import TrainState, compiled_for, evaluate_batch, init_state, train_step
from linearnexus.training.verdict import BANDS, recipe

STEPS = {"gpt-nano": 1200, "mamba-nano": 600, "jamba-nano": 600}  # the longest run; others end at half of it, ...
SHORTEST = 150  # steps: the warm-up has 100
POINTS = 24  # evaluations of a run that goes on
SEEDS = 5


def measure(name: str, seed: int) -> dict[str, dict[str, float]]:
    """The validation losses by step of one seed: {"going_on": {step: loss}, "ending": {step: loss}}."""
    config = dataclasses.replace(base_config(name), seed=seed)
    source = config.open_source()
    model = dataclasses.replace(config.model, vocab_size=source.tokenizer.vocab_size)
    config = dataclasses.replace(config, model=model)
    steps = STEPS[name]
    ends = {steps >> half for half in range(8) if steps >> half >= SHORTEST}
    constant = dataclasses.replace(config, schedule="constant", max_steps=steps)
    ahead, program = Ahead(source.batches(config), config.accumulate), compiled_for(config)

    def on(state: TrainState, first: int, last: int, config: TrainConfig, total: int) -> TrainState:
        for step in range(first, last):
            batch, rate = ahead.get(step), jnp.float32(learning_rate(config, step, total))
            state, metrics = train_step(state, batch.inputs, batch.targets, rate, program)
            jax.block_until_ready(metrics)
        return state

    state, done = init_state(config), 0
    losses: dict[str, dict[str, float]] = {"going_on": {"0": validation(config, source, state)}, "ending": {}}
    stops = {steps * point // POINTS for point in range(1, POINTS + 1)}
    branches = {round(0.8 * end): end for end in ends}
    for step in sorted(stops | set(branches)):
        state, done = on(state, done, step, constant, steps), step
        if step in branches:
            end = branches[step]
            falling = dataclasses.replace(config, schedule="wsd", max_steps=end, decay_fraction=0.2)
            branch = on(jax.tree.map(jnp.copy, state), step, end, falling, end)
            losses["ending"][str(end)] = validation(config, source, branch)
        if step in stops:
            losses["going_on"][str(step)] = validation(config, source, state)
    ahead.close()
    return losses


def validation(config: TrainConfig, source: Source, state: TrainState) -> float:
    """The validation loss, as the training loop measures it."""
    (part,) = source.evaluation(config)
    total = np.zeros(2)
    for batch, weights in part.batches:
        sums = evaluate_batch(state.model, batch.inputs, batch.targets, weights, batch.starts)
        total += np.array(jax.device_get(sums), np.float64)
    return float(total[0] / total[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("presets", nargs="*", default=list(STEPS))
    arguments = parser.parse_args()
    prepare(lambda words: print(words, file=sys.stderr))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    bands = json.loads(BANDS.read_text())
    for name in arguments.presets:
        for seed in range(SEEDS):
            path = arguments.folder / f"{name}-{seed}.json"
            if not path.exists():
                write_atomic(path, json.dumps(measure(name, seed)))
            print(path, flush=True)
        seeds = [json.loads((arguments.folder / f"{name}-{seed}.json").read_text()) for seed in range(SEEDS)]
        bands[name] = {
            "recipe": recipe(to_json(base_config(name).resolved())),
            **{
                edge: {step: [round(seed[edge][step], 4) for seed in seeds] for step in seeds[0][edge]}
                for edge in ("going_on", "ending")
            },
        }
    write_atomic(BANDS, json.dumps(bands, indent=1) + "\n")


if __name__ == "__main__":
    main()
