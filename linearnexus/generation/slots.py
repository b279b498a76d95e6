"""The slot table: a fixed number of rows that texts are admitted to, decoded in together, and released from.

    row <- read(model, prompt without its last token)         one text, in chunks at absolute positions
    table <- admit(table, slot, row)                          overwrites all that the slot held
    table, written <- decode(model, table, steps)             up to `steps` tokens for every row that lives
    table <- release(table, slot)                             the row lives no more

A row lives while `left` is above 0: its budget, which an end token takes away. A call ends when no row lives, and a row
that does not live keeps its state. Settings are arrays with neutral values, so a table of one width and cache length
compiles these functions once, whatever is asked for.

A text has the same bits alone or in a crowd: rows never mix, the random key of a token comes from the seed, the sample
number and the token's index alone, and a prompt is always read in the same chunks.

Look first at: `SlotState`, `decode`, `read`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from linearnexus.core.module import module
from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.sampling import Sampling, first, row, sample
from linearnexus.models.language_model import LanguageModel, ModelState

CHUNK = 64  # tokens of a prompt that are read at once, from multiples of it on
TAILS = (16, 32, CHUNK)  # what the last chunk is filled up to
DECODE = 128  # tokens of a decode call at most
ENDS = 8  # end tokens that a row may have
BEST = 20  # most probable tokens that a row may ask for


@module
class SlotState:
    """What decoding resumes from. The last token of a row is not in its state yet.

    state     the model's
    token     [B]: the last one
    sampling  how the next one is drawn
    counts    [B, W]: how often each token was generated
    index     [B]: tokens generated so far
    left      [B]: tokens that may still be generated; 0: the row does not live
    ends      [B, ENDS]: the tokens that end the text; -1 fills up
    best      [B]: does the row ask for the most probable tokens?
    """

    state: ModelState
    token: Array
    sampling: Sampling
    counts: Array
    index: Array
    left: Array
    ends: Array
    best: Array


class Written(NamedTuple):
    """What a decode call wrote, as NumPy arrays. Log-probabilities are natural logarithms."""

    tokens: np.ndarray  # [steps, B]; -1: the row did not live
    logprobs: np.ndarray  # [steps, B]: the model's, before penalties, temperature and filters
    drawn_logprobs: np.ndarray  # [steps, B]: of the distribution that was drawn from
    best: np.ndarray  # [steps, B, BEST]: the most probable tokens, the best first; zeros for rows that do not ask
    best_logprobs: np.ndarray  # [steps, B, BEST]: the model's


@partial(jax.jit, static_argnames=("batch", "slots"))
def fresh(model: LanguageModel, batch: int, slots: int) -> ModelState:
    """An empty state, each array in a buffer of its own, as donation wants."""
    return model.init_state(batch, slots)


@partial(jax.jit, donate_argnames="state")
def prefill(model: LanguageModel, ids: Int[Array, "B T"], valid: Bool[Array, "B T"], state: ModelState) -> ModelState:
    """The state after the valid tokens. The logits are not asked for, so XLA leaves them out."""
    after = model(ids, valid, state=state).state
    assert after is not None
    return after


def chunks(ids: Sequence[int], first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """ids [1, T] and which of these are real, in calls: whole chunks from multiples of CHUNK on, and a shorter last one
    that is filled up. first: the position of the first id, a multiple of CHUNK."""
    assert first % CHUNK == 0
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        width = next(width for width in TAILS if width >= len(part))
        padded, valid = np.zeros((1, width), np.int32), np.zeros((1, width), bool)
        padded[0, : len(part)], valid[0, : len(part)] = part, True
        yield padded, valid


def read(model: LanguageModel, ids: Sequence[int], state: ModelState, first: int = 0) -> ModelState:
    """The state after the ids, the first of which stands at position `first`, a multiple of CHUNK. The state that goes
    in is used up where there are ids."""
    for tokens, valid in chunks(ids, first):
        state = prefill(model, tokens, valid, state)
    return state


def new_row(
    state: Any,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    vocab_size: int,
    max_tokens: int,
    ends: Sequence[int] = (),
    number: int = 0,
    best: bool = False,
    bias: dict[int, float] | None = None,
    allowed: np.ndarray | None = None,
) -> SlotState:
    """A row [B = 1] to admit: a text of which all tokens but the last are in the state."""
    values: dict[str, Any] = {
        "token": np.array(prompt[-1:], np.int32),
        "counts": np.zeros((1, vocab_size), np.int32),
        "index": np.zeros(1, np.int32),
        "left": np.array([max_tokens], np.int32),
        "ends": np.array([[*ends, *[-1] * (ENDS - len(ends))]], np.int32),
        "best": np.array([best]),
    }
    return SlotState(state, sampling=row(sampling, vocab_size, number, prompt, bias, allowed), **values)


def empty(model: LanguageModel, width: int, slots: int, vocab_size: int) -> SlotState:
    """A table in which no row lives."""
    state = fresh(model, width, slots)
    one = new_row(None, [0], SamplingConfig(), vocab_size, 0)
    settings = jax.tree.map(lambda a: np.zeros((width, *a.shape[1:]), a.dtype), one)
    return dataclasses.replace(settings, state=state)


def table_of(rows: Sequence[SlotState]) -> SlotState:
    """A table that begins with these rows [B = 1], one a slot: what `admit` would make of them, in one call. Several
    rows may have the same state."""
    settings = [dataclasses.replace(row, state=None) for row in rows]  # type: ignore[arg-type]
    table = jax.tree.map(lambda *values: np.concatenate(values), *settings)
    return dataclasses.replace(table, state=_joined(*(row.state for row in rows)))


@jax.jit
def _joined(*states: ModelState) -> ModelState:
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *states)


@partial(jax.jit, donate_argnames="table")
def admit(table: SlotState, slot: Int[Array, ""], row: SlotState) -> SlotState:
    """The table with all that the slot held overwritten by the row [B = 1]."""
    return jax.tree.map(
        lambda all_, one: lax.dynamic_update_slice_in_dim(all_, one.astype(all_.dtype), slot, axis=0), table, row
    )


@partial(jax.jit, donate_argnames="table")
def release(table: SlotState, slot: Int[Array, ""]) -> SlotState:
    """The table in which the slot's row lives no more."""
    return dataclasses.replace(table, left=table.left.at[slot].set(0))


@partial(jax.jit, donate_argnames="table")
def decode(
    model: LanguageModel, table: SlotState, steps: Int[Array, ""]
) -> tuple[SlotState, Int[Array, "steps B fields"]]:
    """Up to `steps` more tokens for each row that lives, at most DECODE. `unpack` reads what was written."""
    width, vocab_size = table.counts.shape
    asked = jnp.any(table.best & (table.left > 0))
    counted = jnp.any(table.sampling.adjusted)

    def going(carry: tuple) -> Bool[Array, ""]:
        step, before, _ = carry
        return (step < steps) & jnp.any(before.left > 0)

    def count(counts: Array, token: Array, live: Array) -> Array:
        return counts.at[jnp.arange(width), token].add(live.astype(jnp.int32))

    def one(carry: tuple) -> tuple:
        step, before, out = carry
        live = before.left > 0
        # a table of one row ends with it, so its row always lives here
        logits, state = model.step(before.token, before.state, None if width == 1 else live)
        logits = logits[:, :vocab_size].astype(jnp.float32)
        drawn = sample(logits, before.sampling, before.index, before.counts)
        token = jnp.where(live, drawn.token, before.token)
        total = jax.nn.logsumexp(logits, axis=-1)
        logprob = jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0] - total
        best = lax.cond(asked, lambda: _best(logits, total), lambda: jnp.zeros((width, 2 * BEST), jnp.int32))
        shown = jnp.where(live, token, -1)[:, None]
        line = jnp.concatenate([shown, _bits(logprob)[:, None], _bits(drawn.logprob)[:, None], best], axis=1)
        ended = jnp.any(token[:, None] == before.ends, axis=1)
        after = dataclasses.replace(
            before,
            state=state,
            token=token,
            counts=lax.cond(counted, count, lambda counts, *_: counts, before.counts, token, live),
            index=before.index + live.astype(jnp.int32),
            left=jnp.where(live & ~ended, before.left - 1, 0),
        )
        return step + 1, after, out.at[step].set(line)

    out = jnp.full((DECODE, width, 3 + 2 * BEST), -1, jnp.int32)
    _, table, out = lax.while_loop(going, one, (jnp.int32(0), table, out))
    return table, out


def unpack(out: Array, steps: int) -> Written:
    """What `decode` wrote in its first `steps` steps."""
    lines = np.asarray(out)[:steps]
    numbers = lines.view(np.float32)
    return Written(
        lines[:, :, 0], numbers[:, :, 1], numbers[:, :, 2], lines[:, :, 3 : 3 + BEST], numbers[:, :, 3 + BEST :]
    )


def _best(logits: Float[Array, "B W"], total: Float[Array, "B"]) -> Int[Array, "B best"]:
    """The most probable tokens and the bits of their log-probabilities; a smaller vocabulary is filled up with -1.

    One after another: `lax.top_k` would be a call out of the loop, and with one in it XLA's CPU backend runs the loop
    of a small model operation by operation, at half the speed (docs/log.md).
    """

    def one(place: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        left, ids, logprobs = carry
        top = jnp.max(left, axis=-1, keepdims=True)
        token = first(left == top)
        known = top[:, 0] > -jnp.inf
        ids = ids.at[:, place].set(jnp.where(known, token, -1))
        logprobs = logprobs.at[:, place].set(top[:, 0] - total)
        return jnp.where(jnp.arange(left.shape[1])[None, :] == token[:, None], -jnp.inf, left), ids, logprobs

    none = jnp.full((len(logits), BEST), -1, jnp.int32)
    _, ids, logprobs = lax.fori_loop(0, BEST, one, (logits, none, none.astype(logits.dtype)))
    return jnp.concatenate([ids, _bits(logprobs)], axis=1)


def _bits(x: Float[Array, "..."]) -> Int[Array, "..."]:
    """The bits of float32 numbers: integers pass through any copy unchanged."""
    return lax.bitcast_convert_type(x, jnp.int32)
