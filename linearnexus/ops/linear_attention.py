"""Linear attention: a matrix state that each token decays and adds an outer product to.

    S_t = a_t S_{t-1} + k_t v_t^T        y_t = q_t S_t

Katharopoulos et al. 2020, equations 18 to 20 (without the normaliser: give v a column of ones and read it); with a
decay a_t for each head RetNet (Sun et al. 2023, equation 6) and Mamba-2 (Dao and Gu 2024, equation 1 with scalar A),
with one for each key GLA (Yang et al. 2023, equation 3). The chunked form is theirs (section 3.1 of GLA, section 6 of
Mamba-2).

    q, k [B,T,G,K]    v [B,T,H,V]    state [B,H,K,V]
    log_decay [B,T,H,1], [B,T,H,K], or None: log a_t, finite, at most 0

H is a multiple of G: neighbouring heads share a query and key. A decay for each key needs G = H. An invalid token
neither decays nor adds; a start clears the state. All arrays are float32 or wider.

Look first at: `step`, `recurrent`, `chunked`.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.tokens import Tokens
from linearnexus.ops.chunks import (
    Chunk,
    decay_in,
    decay_out,
    fresh,
    grouped,
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
) -> tuple[Float[Array, "B H V"], Float[Array, "B H K V"]]:
    """One token of the recurrence."""
    q, k = (jnp.repeat(a, v.shape[1] // a.shape[1], axis=1) for a in (q, k))
    k, log_decay = only(k, tokens), only(log_decay, tokens)
    state = fresh(state, tokens)
    if log_decay is not None:
        state = jnp.exp(log_decay)[..., None] * state
    state = state + k[..., None] * v[..., None, :]
    return jnp.einsum("bhk,bhkv->bhv", q, state), state


def recurrent(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: Tokens,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """T tokens, one after another: the specification."""
    return over_time(step, (q, k, v, log_decay), state, tokens)


def chunked(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: Tokens,
    size: int = CHUNK,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """The same by matrix products over chunks of `size` tokens."""

    def body(S: Array, chunk: Chunk, inputs: Any) -> tuple[Array, Array]:
        q, k, v, g = inputs
        weights = pair_weights(q, k, g, chunk.pairs(q.shape[2]))
        reads, writes = q[:, :, None], k[:, :, None]
        if g is not None:
            reads, writes = reads * decay_in(g), writes * decay_out(g)
        y = weights @ v + chunk.read(reads) @ S
        return chunk.carried(S, g) + chunk.write(writes).mT @ v, y

    k, log_decay = only(k, tokens), only(log_decay, tokens)
    groups = k.shape[2]
    v, log_decay = grouped(v, groups), grouped(log_decay, groups)
    y, S = scan_chunks(body, grouped(state, groups, 1), (q, k, v, log_decay), tokens, size)
    return y, S.reshape(state.shape)
