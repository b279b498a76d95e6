"""Tokens per second of training and generation, and the time to the first step, for the small presets.

    make bench
    make bench ARGS="gpt-nano mamba-nano"

Each number is the best of several runs in this process: other programs can only make a machine slower.
"""

import dataclasses
import os
import platform
import sys
import time
from datetime import date
from importlib.metadata import version

from linearnexus.core.machine import prepare

prepare()  # as the command line does, before JAX is imported

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from linearnexus.generation.config import SamplingConfig  # noqa: E402
from linearnexus.generation.engine import Generator  # noqa: E402
from linearnexus.models.presets import preset  # noqa: E402
from linearnexus.tokenizers.char import CharTokenizer  # noqa: E402
from linearnexus.training.config import TrainConfig  # noqa: E402
from linearnexus.training.step import init_state, train_step  # noqa: E402

PRESETS = ("gpt-nano", "mamba-nano", "jamba-nano", "gpt-micro")
SHAPES = ((12, 64), (4, 512))  # batch, sequence length
SECONDS = 8.0  # of measuring, for each shape
TOKENS = 1000  # generated, with sampling on
ALPHABET = "".join(map(chr, range(32, 97)))


def main() -> None:
    names = sys.argv[1:] or PRESETS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"`make bench`, {date.today()}, Python {platform.python_version()}, JAX {version('jax')}, "
        f"{cores} cores, {jax.devices()[0].device_kind}\n"
    )
    shapes = [f"training, {batch} x {length}" for batch, length in SHAPES]
    columns = ["preset", "parameters", *shapes, "generation, one text", "generation, 16 texts", "first step"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in names:
        model = dataclasses.replace(preset(name), vocab_size=len(ALPHABET))
        measured = [training(TrainConfig(model=model, batch_size=b, sequence_length=t)) for b, t in SHAPES]
        weights = init_state(TrainConfig(model=model)).model
        count = sum(leaf.size for leaf in jax.tree.leaves(weights))
        texts = [f"{generation(weights, n):,.0f}" for n in (1, 16)]
        speeds = [f"{speed:,.0f}" for speed, _ in measured]
        print(f"| {' | '.join([name, f'{count:,}', *speeds, *texts, f'{measured[0][1]:.1f} s'])} |", flush=True)


def training(config: TrainConfig) -> tuple[float, float]:
    """Tokens per second of the training step, and the seconds that the first one took, compilation included."""
    ids = np.random.default_rng(0).integers(0, len(ALPHABET), (1, config.batch_size, config.sequence_length + 1))
    ids = ids.astype(np.int32)
    state, rate = init_state(config), jnp.float32(1e-3)
    began, best, first = time.perf_counter(), float("inf"), 0.0
    while time.perf_counter() - began < SECONDS or not first:
        start = time.perf_counter()
        state, metrics = train_step(state, ids[:, :, :-1], ids[:, :, 1:], rate, config)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - start
        first, best = first or seconds, min(best, seconds)
    return config.tokens_per_step / best, first


def generation(weights: object, texts: int) -> float:
    """Tokens per second of `texts` texts in one batch: temperature 0.8, top-k 50, top-p 0.95."""
    generator = Generator(weights, CharTokenizer(ALPHABET), context_length=TOKENS + 16)
    sampling = SamplingConfig(top_k=50, top_p=0.95)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        generator.generate(["A"] * texts, TOKENS, sampling)
        best = min(best, time.perf_counter() - start)
    return texts * TOKENS / best


if __name__ == "__main__":
    main()
