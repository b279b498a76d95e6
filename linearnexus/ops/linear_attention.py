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

from linearnexus.core.tokens import Tokens
from linearnexus.ops.chunks import (
    Chunk,
    before,
    decay_before,
    decay_in,
    decay_out,
    fresh,
    grouped,
    later,
    only,
    over_time,
    pair_weights,
    scan_chunks,
)

CHUNK = 32


def step(
    q: Float[Array, "B G K"],
    k: Float[Array, "B G K"],
    v: Float[Array, "B H V"],
    log_decay: Float[Array, "B H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: Tokens,
    bonus: Float[Array, "H K"] | None = None,
) -> tuple[Float[Array, "B H V"], Float[Array, "B H K V"]]:
    """One token of the recurrence."""
    q, k = (jnp.repeat(a, v.shape[1] // a.shape[1], axis=1) for a in (q, k))
    k, log_decay = only(k, tokens), only(log_decay, tokens)
    state = fresh(state, tokens)
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
    tokens: Tokens,
    bonus: Float[Array, "H K"] | None = None,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """T tokens, one after another: the specification."""
    return over_time(partial(step, bonus=bonus), (q, k, v, log_decay), state, tokens)


def chunked(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: Tokens,
    bonus: Float[Array, "H K"] | None = None,
    size: int = CHUNK,
    rank: int = 1,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """The same by matrix products over chunks of `size` tokens. `rank`: so many neighbours are the rows of one token,
    which all read what all of them write; the first alone may decay or start, there is no bonus and no decay for each
    key (Mamba-3 with several inputs a head)."""

    def body(S: Array, chunk: Chunk, inputs: Any) -> tuple[Array, Array]:
        q, k, v, g = inputs
        visible = chunk.pairs(q.shape[2], rank)
        reads, writes = q[:, :, None], k[:, :, None]
        if bonus is None:
            weights = pair_weights(q, k, g, visible)
        else:
            order = jnp.tril(jnp.ones_like(visible))
            weights = before(pair_weights(later(q), k, g, order))
            weights = jnp.where(visible[:, None, None], weights, 0)
        if g is not None:
            reads = reads * (decay_in(g) if bonus is None else decay_before(g))
            writes = writes * decay_out(g)
        y = weights @ v + chunk.read(reads) @ S
        return chunk.carried(S, g) + chunk.write(writes).mT @ v, y

    k, log_decay = only(k, tokens), only(log_decay, tokens)
    groups = k.shape[2]
    inputs = (q, k, grouped(v, groups), grouped(log_decay, groups))
    y, S = scan_chunks(body, grouped(state, groups, 1), inputs, tokens, max(size // rank, 1) * rank)
    if bonus is not None:
        y = y + jnp.einsum("bthk,hk,bthk->bth", q, bonus, k)[..., None] * v
    return y, S.reshape(state.shape)


def stabilised(
    log_forget: Float[Array, "B T H"], log_input: Float[Array, "B T H"], m: Float[Array, "B H"], tokens: Tokens
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
    log_forget: Float[Array, "B H"], log_input: Float[Array, "B H"], m: Float[Array, "B H"], tokens: Tokens
) -> tuple[Float[Array, "B H"], Float[Array, "B H"], Float[Array, "B H"], Float[Array, "B H"]]:
    """The same for one token; m after it is given twice."""
    m = fresh(m, tokens)
    if tokens.valid is not None:
        valid = tokens.valid[:, None]
        log_forget, log_input = jnp.where(valid, log_forget, 0), jnp.where(valid, log_input, m)
    after = jnp.maximum(log_forget + m, log_input)
    return log_forget + m - after, jnp.exp(log_input - after), after, after


def _time_first(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)
