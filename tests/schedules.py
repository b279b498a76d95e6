"""A crowd of texts in one slot table, at random, against each text alone through the same table.

    python -m tests.schedules --schedules 500            every preset, some minutes
    python -m tests.schedules gpt-nano --schedules 20    one of them

A schedule admits texts at random moments to random free slots, with random lengths, seeds, settings and budgets, lets
decode calls have random lengths, and cancels some texts in the middle. Before a slot is used again it is filled with
NaN, random numbers and stale indices. Every token and both log-probabilities must have the same bits as alone.

Look first at: `crowd`, `spoil`.
"""

import argparse
import dataclasses
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
from jax import Array

from linearnexus.generation import slots
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import tokens
from linearnexus.generation.slots import SlotState
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.presets import preset

PRESETS = ("gpt", "mamba", "mamba2", "gated-deltanet", "jamba", "rwkv7", "mlstm", "sliding-window")
WIDTH, LENGTH, VOCAB = 8, 512, 65
POOL = 48  # texts a preset


@dataclasses.dataclass(frozen=True)
class Text:
    """A text to be written."""

    prompt: tuple[int, ...]
    sampling: SamplingConfig
    max_tokens: int
    ends: tuple[int, ...]
    number: int
    best: bool
    bias: tuple[tuple[int, float], ...]
    forbidden: tuple[int, ...]


def random_text(draw: random.Random) -> Text:
    def sometimes(value: float, neutral: float) -> float:
        return value if draw.random() < 0.25 else neutral

    sampling = SamplingConfig(
        temperature=draw.choice((0, 0.7, 1, 1.6)),
        top_k=int(sometimes(draw.randint(1, 70), 0)),
        top_p=sometimes(draw.uniform(0.1, 1), 1),
        min_p=sometimes(draw.uniform(0, 0.5), 0),
        repetition_penalty=sometimes(draw.uniform(0.8, 1.6), 1),
        presence_penalty=sometimes(draw.uniform(-1, 1), 0),
        frequency_penalty=sometimes(draw.uniform(-1, 1), 0),
        seed=draw.choice((0, draw.getrandbits(32), draw.getrandbits(64))),
    )
    length = draw.choice((1, 2, 15, 17, 40, 64, 65, 66, draw.randint(1, 180), draw.randint(200, 400)))
    return Text(
        prompt=tuple(draw.choices(range(VOCAB), k=length)),
        sampling=sampling,
        max_tokens=draw.randint(1, 48),
        ends=tuple(draw.sample(range(VOCAB), draw.choice((0, 0, 1, 3)))),
        number=draw.choice((0, 0, 1, 7)),
        best=draw.random() < 0.2,
        bias=tuple((token, draw.uniform(-4, 4)) for token in draw.sample(range(VOCAB), draw.choice((0, 0, 0, 3)))),
        forbidden=tuple(draw.sample(range(VOCAB), draw.choice((0, 0, 0, 20)))),
    )


def admitted(model: LanguageModel, table: SlotState, slot: int, text: Text) -> SlotState:
    allowed = None
    if text.forbidden:
        allowed = np.ones(VOCAB, bool)
        allowed[list(text.forbidden)] = False
    state = slots.read(model, text.prompt[:-1], slots.fresh(model, 1, LENGTH))
    row = slots.new_row(
        state,
        text.prompt,
        text.sampling,
        VOCAB,
        text.max_tokens,
        text.ends,
        text.number,
        text.best,
        dict(text.bias),
        allowed,
    )
    return slots.admit(table, np.int32(slot), row)


Line = tuple  # a token, both log-probabilities, and the most probable tokens where they were asked for


def lines(written: slots.Written, slot: int, text: Text) -> list[Line]:
    found = tokens(written, slot, slots.BEST if text.best else 0)
    return list(zip(*found[:3], found.best or [()] * len(found.ids), strict=True))


def alone(model: LanguageModel, text: Text, slot: int = 0) -> list[Line]:
    """The text with nobody else in the table."""
    table, found = admitted(model, slots.empty(model, WIDTH, LENGTH, VOCAB), slot, text), []
    while int(table.left[slot]):
        table, out = slots.decode(model, table, np.int32(slots.DECODE))
        found += lines(slots.unpack(out, slots.DECODE), slot, text)
    return found


@jax.jit
def spoil(table: SlotState, slot: Array, seed: Array) -> SlotState:
    """The table with NaN and random numbers in all that a slot holds but its death."""

    def spoiled(number: int, array: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(seed), number)
        if array.dtype == jnp.bool:
            new = jax.random.bernoulli(key, 0.5, array.shape[1:])
        elif jnp.issubdtype(array.dtype, jnp.floating):
            new = jnp.full(array.shape[1:], jnp.nan, array.dtype)
        else:
            new = jax.random.bits(key, array.shape[1:], jnp.uint32).astype(array.dtype)
        return array.at[slot].set(new)

    leaves, structure = jax.tree.flatten(table)
    after = jax.tree.unflatten(structure, [spoiled(number, leaf) for number, leaf in enumerate(leaves)])
    return dataclasses.replace(after, left=table.left.at[slot].set(0))


def crowd(model: LanguageModel, pool: list[tuple[Text, list[Line]]], draw: random.Random) -> int:
    """One schedule. Returns how many tokens were compared; raises AssertionError where one differs."""
    table, compared = slots.empty(model, WIDTH, LENGTH, VOCAB), 0
    waiting = draw.choices(pool, k=draw.randint(1, 20))
    at: dict[int, tuple[Text, list[Line], list[Line]]] = {}
    for slot in range(WIDTH):
        table = spoil(table, np.int32(slot), np.uint32(draw.getrandbits(32)))
    while waiting or at:
        for slot in draw.sample(range(WIDTH), WIDTH):
            if slot not in at and waiting and draw.random() < 0.5:
                text, expected = waiting.pop()
                table, at[slot] = admitted(model, table, slot, text), (text, expected, [])
        steps = draw.choice((1, 2, 5, 16, slots.DECODE))
        table, out = slots.decode(model, table, np.int32(steps))
        written = slots.unpack(out, steps)
        for slot, (text, expected, found) in list(at.items()):
            found += lines(written, slot, text)
            assert found == expected[: len(found)], (text, slot)
            over = len(found) == len(expected)
            assert (int(table.left[slot]) == 0) == over, (text, slot, len(found), len(expected), int(table.left[slot]))
            if over or draw.random() < 0.05:
                compared += len(found)
                table = spoil(slots.release(table, np.int32(slot)), np.int32(slot), np.uint32(draw.getrandbits(32)))
                del at[slot]
    return compared


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The programs that are compiled inside, as JAX tells them."""
    heard: list[str] = []

    def listener(event: str, seconds: float, **_: object) -> None:
        if event.endswith("backend_compile_duration"):
            heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield heard
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


def check(name: str, schedules: int, pool_size: int = POOL, seed: int = 0) -> tuple[int, int]:
    """Compares schedules of a preset; returns the tokens that were compared and the programs compiled after the first
    schedule, which must be none."""
    config = dataclasses.replace(preset(name), vocab_size=VOCAB)
    model = jax.jit(lambda: LanguageModel.init(config, jax.random.key(seed)))()
    draw = random.Random(seed)
    texts = [random_text(draw) for _ in range(pool_size)]
    pool = [(text, alone(model, text, draw.randrange(WIDTH))) for text in texts]
    crowd(model, pool, draw)
    with compilations() as compiled:
        compared = sum(crowd(model, pool, draw) for _ in range(schedules))
    return compared, len(compiled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", default=[f"{name}-nano" for name in PRESETS])
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.presets:
        began = time.perf_counter()
        compared, compiled = check(name, options.schedules, seed=options.seed)
        seconds = time.perf_counter() - began
        print(
            f"{name}: {options.schedules} schedules, {compared:,} tokens with the bits of a solo run, "
            f"{compiled} compilations after the warm-up, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
