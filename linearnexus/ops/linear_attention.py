"""Linear attention: a matrix state that each token decays and adds an outer product to.

    S_t = a_t S_{t-1} + k_t v_t^T        y_t = q_t S_t

Katharopoulos et al. 2020, equations 18 to 20 (without the normaliser: give v a column of ones and read it); with a
decay a_t for each head RetNet (Sun et al. 2023, equation 6) and Mamba-2 (Dao and Gu 2024, equation 1 with scalar A),
with one for each key GLA (Yang et al. 2023, equation 3). The chunked form is theirs (section 3.1 of GLA, section 6 of
Mamba-2). With a bonus u [H,K] a token reads before it is written, and itself with the weight u (RWKV-6, Peng et al.
2024, section 4.2): y_t = q_t (S_{t-1} + diag(u) k_t v_t^T).

    q, k [B,T,G,K]    v [B,T,H,V]    state [B,H,K,V]
    log_decay [B,T,H,1], [B,T,H,K], or None: log a_t, finite, at most 0

H is a multiple of G: neighbouring heads share a query and key. A decay for each key, and a bonus, need G = H. An
invalid token neither decays nor adds; a start clears the state. All arrays are float32 or wider.

Input gates that are exponentials (xLSTM) would overflow: `stabilised` divides state and gates by exp(m_t), which makes
them a decay and a scale of k that are at most 1, and the rest is the recurrence above.

Look first at: `step`, `recurrent`, `chunked`, `stabilised`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from linearnexus.core.forms import op, xla_form
from linearnexus.core.tokens import TokenLayout
from linearnexus.core.tuning import CPU, LinearAttentionTuning
from linearnexus.ops.chunks import (
    Chunk,
    decay_before,
    decay_in,
    decay_out,
    grouped,
    mask_invalid,
    numbered,
    over_time,
    pair_decays,
    pair_weights,
    reset_at_starts,
    scan_chunks,
    shift_left,
    shift_right,
    split,
    summed,
)


@op("linear_attention.step")
def step(
    q: Float[Array, "B G K"],
    k: Float[Array, "B G K"],
    v: Float[Array, "B H V"],
    log_decay: Float[Array, "B H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
    bonus: Float[Array, "H K"] | None = None,
) -> tuple[Float[Array, "B H V"], Float[Array, "B H K V"]]:
    """One token of the recurrence."""
    q, k = (jnp.repeat(a, v.shape[1] // a.shape[1], axis=1) for a in (q, k))
    k, log_decay = mask_invalid(k, tokens), mask_invalid(log_decay, tokens)
    state = reset_at_starts(state, tokens)
    write = k[..., None] * v[..., None, :]
    if bonus is not None:
        y = jnp.einsum("bhk,bhkv->bhv", q, state + bonus[None, :, :, None] * write)
    if log_decay is not None:
        state = jnp.exp(log_decay)[..., None] * state
    state = state + write
    return jnp.einsum("bhk,bhkv->bhv", q, state) if bonus is None else y, state


def recurrent(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
    bonus: Float[Array, "H K"] | None = None,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """T tokens, one after another: the specification."""
    return over_time(partial(xla_form(step), bonus=bonus), (q, k, v, log_decay), state, tokens)


@op("linear_attention.chunked", tuned="linear_attention")
def chunked(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
    bonus: Float[Array, "H K"] | None = None,
    size: int | None = None,
    rank: int = 1,
    *,
    tuning: LinearAttentionTuning = CPU.linear_attention,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """The same by matrix products over chunks of `size` tokens (None: the measured one). `rank`: so many neighbours
    are the rows of one token, which all read what all of them write; the first alone may decay or start, there is no
    bonus and no decay for each key (Mamba-3 with several inputs a head)."""
    k, log_decay = mask_invalid(k, tokens), mask_invalid(log_decay, tokens)
    t, groups = q.shape[1:3]
    size = max(min(tuning.chunk if size is None else size, t) // rank, 1) * rank
    inputs = (q, k, grouped(v, groups), grouped(log_decay, groups))
    S = grouped(state, groups, 1)
    if bonus is None and (log_decay is None or log_decay.shape[-1] == 1):
        q, k, by_token, g = jax.tree.map(lambda a: split(a, size).swapaxes(2, 3), inputs)
        g = None if g is None else g.swapaxes(3, 4)
        y, S = _all_chunks(rank, q, k, by_token, g, S.swapaxes(2, 3), numbered(tokens, size))
        y = y.swapaxes(2, 3).reshape(y.shape[0], -1, *v.shape[2:])[:, :t]
        return y, S.swapaxes(2, 3).reshape(state.shape)

    def body(S: Array, chunk: Chunk, inputs: Any) -> tuple[Array, Array]:
        q, k, v, g = inputs
        visible = chunk.pairs(q)
        reads, writes = q[:, :, None], k[:, :, None] * decay_out(g)
        if bonus is None:
            weights, reads = pair_weights(q, k, g, visible, tuning.leaf), reads * decay_in(g)
        else:
            pairs = pair_weights(shift_left(q), k, g, jnp.tril(jnp.ones_like(visible)), tuning.leaf)
            weights = shift_right(pairs)
            weights, reads = jnp.where(visible, weights, 0), reads * decay_before(g)
        return chunk.carried(S, g) + chunk.write(writes).mT @ v, weights @ v + chunk.read(reads) @ S

    y, S = scan_chunks(body, S, inputs, tokens, size)
    if bonus is not None:
        y = y + jnp.einsum("bthk,hk,bthk->bth", q, bonus, k)[..., None] * v
    return y, S.reshape(state.shape)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _all_chunks(
    rank: int,
    q: Float[Array, "B n G C K"],
    k: Float[Array, "B n G C K"],
    v: Float[Array, "B n G C R V"],
    log_decay: Float[Array, "B n G R C 1"] | None,
    state: Float[Array, "B G K R V"],
    chunk: Chunk,
) -> tuple[Float[Array, "B n G C R V"], Float[Array, "B G K R V"]]:
    """All n chunks at once, for one decay a head or none: only the states, S = kept S + write, go from chunk to chunk.
    The heads of a group read and write in one product, for their decays are on the side of the values. Its backward
    pass takes the log-decays' gradient from the outputs, not from the pairs (1.2 to 2.4 times as fast as a scan over
    whole chunks; docs/log.md)."""
    return _all_chunks_forward(rank, q, k, v, log_decay, state, chunk)[0]


def _all_chunks_forward(
    rank: int, q: Array, k: Array, v: Array, log_decay: Array | None, state: Array, chunk: Chunk
) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    to_read, to_write, kept = _decays(v, log_decay, chunk)
    pairs = pair_decays(log_decay, chunk.pairs(q, rank), q.dtype)
    states, last = _states(kept, _across(k.mT, v * to_write), state)
    y = _across(q, states) * to_read + (_weights(q, k, pairs) @ v.swapaxes(3, 4)).swapaxes(3, 4)
    return (y, last), (q, k, v, log_decay, chunk, pairs, states, y)


def _all_chunks_backward(rank: int, saved: tuple[Any, ...], gradients: tuple[Array, Array]) -> tuple[Any, ...]:
    q, k, v, log_decay, chunk, pairs, states, y = saved
    g_y, g_last = gradients
    to_read, to_write, kept = _decays(v, log_decay, chunk)
    g_read, heads = g_y * to_read, g_y.swapaxes(3, 4)
    g_states, g_state = _states(kept, _across(q.mT, g_read), g_last, reverse=True)
    g_scores = jnp.sum(heads @ v.swapaxes(3, 4).mT * pairs, axis=3)
    g_q = _rows(g_read) @ _rows(states).mT + g_scores @ k
    g_k = _rows(v * to_write) @ _rows(g_states).mT + g_scores.mT @ q
    g_inside = (_weights(q, k, pairs).mT @ heads).swapaxes(3, 4)
    g_outside = _across(k, g_states) * to_write
    g_decay = None
    if log_decay is not None:
        # A log-decay takes part in all that its own and later tokens of the chunk read (y), but for what they wrote
        # themselves; in what earlier ones leave to the next chunk; and in what passes through the chunk.
        before = jnp.tril(jnp.ones((q.shape[3],) * 2, q.dtype), -1)
        g_decay = summed(jnp.sum(g_y * y - v * g_inside, axis=-1), 1 - before)
        g_decay = g_decay + summed(jnp.sum(v * g_outside, axis=-1), before)
        g_decay = g_decay.mT[..., None] + jnp.sum(g_states * states * kept, axis=(3, 5))[..., None, None]
    return g_q, g_k, g_inside + g_outside, g_decay, g_state, None


_all_chunks.defvjp(_all_chunks_forward, _all_chunks_backward)


def _rows(x: Float[Array, "B n G C R V"]) -> Float[Array, "B n G C RV"]:
    return x.reshape(*x.shape[:-2], -1)


def _across(q: Float[Array, "B n G C K"], S: Float[Array, "B n G K R V"]) -> Float[Array, "B n G C R V"]:
    """All heads of a group in one product."""
    return (q @ _rows(S)).reshape(*q.shape[:-1], *S.shape[-2:])


def _weights(
    q: Float[Array, "B n G C K"], k: Float[Array, "B n G C K"], pairs: Float[Array, "... C C"]
) -> Float[Array, "B n G #R C C"]:
    return (q @ k.mT)[:, :, :, None] * pairs


def _decays(
    v: Float[Array, "B n G C R V"], log_decay: Float[Array, "B n G R C 1"] | None, chunk: Chunk
) -> tuple[Float[Array, "B n G C R 1"], Float[Array, "B n G C R 1"], Float[Array, "B n G 1 R 1"]]:
    """What remains of the first state where a token reads it, of a token's write at the end of its chunk, and of the
    first state there; zero where documents part them."""
    ones = jnp.ones_like(v[..., :1].swapaxes(3, 4))
    to_read, to_write = (ones, ones) if log_decay is None else (decay_in(log_decay), decay_out(log_decay))
    parts = chunk.read(to_read), chunk.write(to_write), chunk.carried(ones[..., :1, :], log_decay)
    to_read, to_write, kept = (part.swapaxes(3, 4) for part in parts)
    return to_read, to_write, kept


def _states(
    kept: Float[Array, "B n G 1 R 1"],
    write: Float[Array, "B n G K R V"],
    state: Float[Array, "B G K R V"],
    reverse: bool = False,
) -> tuple[Float[Array, "B n G K R V"], Float[Array, "B G K R V"]]:
    """The state before each chunk, and after the last. The chunks stay the second axis: to scan over a first one costs
    copies of all states."""

    def one(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        state, states = carry
        here, new = (lax.dynamic_index_in_dim(a, i, axis=1, keepdims=False) for a in (kept, write))
        return (here * state + new, lax.dynamic_update_index_in_dim(states, state, i, axis=1)), None

    (last, states), _ = lax.scan(one, (state, jnp.zeros_like(write)), jnp.arange(write.shape[1]), reverse=reverse)
    return states, last


def stabilised(
    log_forget: Float[Array, "B T H"], log_input: Float[Array, "B T H"], m: Float[Array, "B H"], tokens: TokenLayout
) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B T H"], Float[Array, "B H"]]:
    """The log-decays and the scales of k for `S_t = exp(log_forget) S_{t-1} + exp(log_input) k_t v_t^T` divided by
    exp(m_t), m_t = max(log_forget + m_{t-1}, log_input); m at each token and after the last one (Beck et al. 2024,
    equations 15 to 17). A document begins with m = 0."""

    def one(m: Array, part: Any) -> tuple[Array, tuple[Array, ...]]:
        log_forget, log_input, tokens = part
        *parts, m = stabilised_step(log_forget, log_input, m, tokens)
        return m, tuple(parts)

    m, parts = lax.scan(one, m, _time_first((log_forget, log_input, tokens)))
    return *_time_first(parts), m


def stabilised_step(
    log_forget: Float[Array, "B H"], log_input: Float[Array, "B H"], m: Float[Array, "B H"], tokens: TokenLayout
) -> tuple[Float[Array, "B H"], Float[Array, "B H"], Float[Array, "B H"], Float[Array, "B H"]]:
    """The same for one token; m after it is given twice."""
    m = reset_at_starts(m, tokens)
    if tokens.valid is not None:
        valid = tokens.valid[:, None]
        log_forget, log_input = jnp.where(valid, log_forget, 0), jnp.where(valid, log_input, m)
    after = jnp.maximum(log_forget + m, log_input)
    return log_forget + m - after, jnp.exp(log_input - after), after, after


def _time_first(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)
