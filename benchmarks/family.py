"""The family beside GPT: training speed at three lengths, generation early and late in a text, and time to compile.

    make family
    python -m benchmarks.family --results FILE --write benchmarks/family.md

Every small preset trains with AdamW on 8,192 tokens a step. Speeds are the best of the steps that fit the time, all
presets in turns; compilation is measured in a process of its own, with an empty cache and again with a filled one.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linearnexus.core.machine import prepare

prepare()  # as the command line does, before JAX is imported

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from linearnexus.data.batches import Batch  # noqa: E402
from linearnexus.generation.config import SamplingConfig  # noqa: E402
from linearnexus.generation.slots import decode, fresh, new_row  # noqa: E402
from linearnexus.models.language_model import LanguageModel  # noqa: E402
from linearnexus.models.presets import override, preset, presets  # noqa: E402
from linearnexus.teaching.measure import least_seconds  # noqa: E402
from linearnexus.training.config import TrainConfig  # noqa: E402
from linearnexus.training.objective import CrossEntropy  # noqa: E402
from linearnexus.training.optimizers import AdamWConfig  # noqa: E402
from linearnexus.training.step import Update, random_state  # noqa: E402

NANO = tuple(name for name in presets() if name.endswith("-nano"))
TOKENS, LENGTHS = 8192, (512, 2048, 8192)
POSITIONS, STEPS = (100, 16_000), 64
SECONDS, ROUNDS = 6.0, 3  # of a preset at a length in all, and turns
DEPTHS = (4, 12, 48)


def training_config(name: str, batch: int, length: int, **changes: Any) -> TrainConfig:
    model = override(dataclasses.replace(preset(name), vocab_size=65 if name.endswith("nano") else 50_257), **changes)
    return TrainConfig(model=model, batch_size=batch, sequence_length=length, optimizer=AdamWConfig())


def stepper(config: TrainConfig) -> Callable[[], None]:
    """A training step after another, waiting for each."""
    shape = (1, config.batch_size, config.sequence_length + 1)
    ids = np.random.default_rng(0).integers(0, config.model.vocab_size, shape).astype(np.int32)
    state, update = random_state(config), Update(config, CrossEntropy())
    batch = Batch(ids[:, :, :-1], ids[:, :, 1:])

    def step() -> None:
        nonlocal state
        state, metrics = update.at_rate(state, batch, 1e-3)
        jax.block_until_ready(metrics)

    return step


def training(length: int) -> dict[str, float]:
    """Tokens a second of every small preset."""
    steps = {name: stepper(training_config(name, TOKENS // length, length)) for name in NANO}
    return {name: TOKENS / seconds for name, seconds in least_seconds(steps, ROUNDS, SECONDS / ROUNDS).items()}


def generation(position: int) -> dict[str, float]:
    """Tokens a second of one text, `position` tokens in, every token in view. The state before is all zeros: what it
    holds makes no difference to the time."""

    def writer(name: str) -> Callable[[], None]:
        config = dataclasses.replace(preset(name), vocab_size=65)
        model = jax.jit(lambda: LanguageModel.init(config, jax.random.key(0)))()
        state = fresh(model, 1, 2 * POSITIONS[-1] if position == POSITIONS[-1] else 2 * STEPS + POSITIONS[0])
        here = np.full(1, position, np.int32)  # on the host: decoding gives its buffers up
        state = dataclasses.replace(state, position=jnp.asarray(here), index=jnp.asarray(here))
        table = new_row(state, [0], SamplingConfig(temperature=0.8, top_k=50, top_p=0.95), 65, 2**30)

        def write() -> None:
            nonlocal table
            table, written = decode(model, table, np.int32(STEPS))
            jax.block_until_ready(written)
            again = dataclasses.replace(table.state, position=jnp.asarray(here), index=jnp.asarray(here))
            table = dataclasses.replace(table, state=again)

        return write

    writers = {name: writer(name) for name in NANO}
    return {name: STEPS / seconds for name, seconds in least_seconds(writers, ROUNDS, SECONDS / ROUNDS).items()}


def first_step(name: str, n_layer: int | None) -> float:
    """Seconds of the first step, from configuration to a loss, in this process."""
    length = 64 if name.endswith("nano") else 128
    began = time.perf_counter()
    stepper(training_config(name, 4, length, n_layer=n_layer))()
    return time.perf_counter() - began


def compilation(name: str, n_layer: int | None = None) -> list[float]:
    """The same in two new processes, one after another, with a cache that is empty for the first."""
    command = [sys.executable, "-m", "benchmarks.family", "--first-step", name, str(n_layer or 0)]
    with tempfile.TemporaryDirectory() as cache:
        runs = (
            subprocess.run(
                command, check=True, capture_output=True, text=True, env={**os.environ, "LINEARNEXUS_CACHE": cache}
            )
            for _ in range(2)
        )
        return [float(run.stdout.splitlines()[-1]) for run in runs]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family", description="The family beside GPT.")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the results there, go on from those in it")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--first-step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_step:
        name, n_layer = options.first_step
        print(first_step(name, int(n_layer) or None))
        return
    known: dict[str, Any] = {}
    if options.results and options.results.exists():
        known = json.loads(options.results.read_text(encoding="utf-8"))
    jobs: dict[str, Callable[[], Any]] = {
        **{f"training {length}": partial(training, length) for length in LENGTHS},
        **{f"generation {position}": partial(generation, position) for position in POSITIONS},
        **{f"first {name}": partial(compilation, name) for name in (*NANO, "gpt2-small")},
        **{f"first gpt-nano {n} layers": partial(compilation, "gpt-nano", n) for n in DEPTHS},
    }
    for job, function in jobs.items():
        if job not in known:
            known[job] = function()
            jax.clear_caches()  # all the programs of all the jobs are more mappings than Linux gives a process
            print(job, known[job], flush=True)
            if options.results:
                options.results.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    text = page(known)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


def page(known: dict[str, Any]) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = [
        "# The family beside GPT",
        "",
        f"`make family`, {date.today()}, {cores} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"JAX {version('jax')}, float32.",
        "",
        f"Training with AdamW, {TOKENS:,} tokens a step in texts of that length: tokens a second, and times GPT of the "
        "same size. Generation of one text with temperature 0.8, top-k 50 and top-p 0.95, at that position, attention "
        "looking back over all of it. The first step from configuration to a loss, 4 texts of 64 tokens, with an empty "
        "cache of compiled programs, and in a second process with what the first left there.",
        "",
    ]
    columns = [
        *(f"training, {length:,}" for length in LENGTHS),
        *(f"generation at {position:,}" for position in POSITIONS),
        "first step, s",
        "second start, s",
    ]
    lines += [f"| preset | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name in NANO:
        cells = [name]
        for length in LENGTHS:
            speeds = known[f"training {length}"]
            cells.append(f"{speeds[name]:,.0f} ({speeds[name] / speeds['gpt-nano']:.2f})")
        cells += [f"{known[f'generation {position}'][name]:,.0f}" for position in POSITIONS]
        cells += [f"{seconds:.1f}" for seconds in known[f"first {name}"]]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| first step | empty cache, s | second start, s |", "|---|---|---|"]
    for job in ("gpt2-small", *(f"gpt-nano {n} layers" for n in DEPTHS)):
        first, second = known[f"first {job}"]
        lines.append(f"| {job} | {first:.1f} | {second:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
