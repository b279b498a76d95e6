"""`explain cache`: the time of the next token with and without what was kept of the earlier ones, and its bytes.

Without a cache the model reads the whole text again for each token. Weights are random: they do not change the time.

Look first at: `measured`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel, ModelState
from linearnexus.models.presets import preset
from linearnexus.teaching.explanation import Explanation, bytes_text, table
from linearnexus.teaching.measure import least_seconds, nbytes
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import curves

LENGTHS = (128, 512, 2048)
STEPS = 16  # tokens of a measured call with a cache
ROUNDS = 4
RECURRENT = "mamba-nano"


@dataclass(frozen=True)
class CacheMeasurement:
    without: dict[int, float]  # seconds of one more token, by the tokens before it
    cached: dict[int, float]
    bytes: dict[int, int]  # of the arrays that are kept


@jax.jit
def again(model: LanguageModel, ids: Array) -> Array:
    """The scores of the next token from the whole text."""
    return model(ids).logits[:, -1]


@jax.jit
def more(model: LanguageModel, state: ModelState) -> Any:
    """STEPS tokens from a state, each the best after the one before."""

    def one(_: Any, carry: Any) -> Any:
        token, state = carry
        logits, state = model.step(token, state)
        return jnp.argmax(logits, -1).astype(jnp.int32), state

    return lax.fori_loop(0, STEPS, one, (jnp.zeros(1, jnp.int32), state))


def after(model: LanguageModel, length: int) -> ModelState:
    """A state as after so many tokens, with room for STEPS more. What is in it does not change the time either."""
    state = model.init_state(1, length + STEPS)
    count = jnp.full(1, length, jnp.int32)
    return ModelState(state.layers, position=count, index=count)


def measured(config: ModelConfig, lengths: Sequence[int], rounds: int) -> CacheMeasurement:
    model = jax.jit(LanguageModel.init, static_argnums=0)(config, jax.random.key(0))
    texts = {length: jnp.zeros((1, length), jnp.int32) for length in lengths}
    states = {length: after(model, length) for length in lengths}
    cached = least_seconds({length: partial(more, model, state) for length, state in states.items()}, rounds)
    without = least_seconds({length: partial(again, model, ids) for length, ids in texts.items()}, rounds)
    kept = {length: nbytes(model.init_state(1, length).layers) for length in lengths}
    return CacheMeasurement(without, {length: seconds / STEPS for length, seconds in cached.items()}, kept)


def explain(name: str, config: ModelConfig) -> Explanation:
    models = {name: config, RECURRENT: preset(RECURRENT)}
    found = {model: measured(its, LENGTHS, ROUNDS) for model, its in models.items()}
    parts: list[Any] = []
    for model, its in found.items():
        lines = [
            (
                f"{length}",
                f"{1e3 * its.without[length]:.2f} ms",
                f"{1e3 * its.cached[length]:.2f} ms",
                f"{its.without[length] / its.cached[length]:.1f}",
                bytes_text(its.bytes[length]),
            )
            for length in LENGTHS
        ]
        columns = ("tokens before", "one more without", "one more with", "times faster", "bytes kept")
        parts.append(table(f"{model}: the next token without and with a cache", columns, lines, left=0))
    return Explanation(tuple(parts), _picture(found))


def _picture(found: dict[str, CacheMeasurement]) -> Picture:
    def curve(by_length: Mapping[int, float], unit: float) -> list[tuple[float, float]]:
        return [(length, by_length[length] / unit) for length in LENGTHS]

    times = {f"{model}, from what it kept": curve(its.cached, 1e-3) for model, its in found.items()}
    times |= {f"{model}, reading all again": curve(its.without, 1e-3) for model, its in found.items()}
    memory = {model: curve(its.bytes, 1024) for model, its in found.items()}
    panels = {"time of one more token, ms": times, "memory kept of the text, KiB": memory}
    return curves(
        "With and without a cache",
        "Measured on this machine, one text; both axes are logarithmic.",
        panels,
        "tokens before it",
    )
