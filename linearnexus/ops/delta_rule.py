"""The delta rule: a matrix state that corrects what it answers to a key, instead of adding to it.

    S_t = (I - b_t k_t k_t^T) a_t S_{t-1} + b_t k_t v_t^T        y_t = q_t S_t
        = a_t S_{t-1} + b_t k_t (v_t - a_t S_{t-1}^T k_t)^T

Schlag et al. 2021, equation 24, and Yang et al. 2024a (DeltaNet: no decay); with a decay a_t for each head, Yang et al.
2024b, equation 10 (Gated DeltaNet); with one for each key Kimi Team 2025, equation 1 (Kimi Delta Attention: Diag(a_t)
for a_t). A chunk's corrections depend on one another: they solve a lower triangular system (the UT transform, Yang et
al. 2024a, section 3.2), here by substitution, since the inverse's power series loses every digit when keys repeat.

    q, k [B,T,G,K]    v [B,T,H,V]    beta [B,T,H]: b_t    state [B,H,K,V]    log_decay as in `linear_attention`

For unit keys the old value is erased along k_t by the share b_t; b_t in (1, 2) turns its sign (Grazzi et al. 2024).

RWKV-7 (Peng et al. 2025, section 4) erases along one vector what it looks up along another, before the decay:
a diagonal matrix plus one of rank 1.

    S_t = (Diag(w_t) + b_t a_t^T) S_{t-1} + k_t v_t^T        y_t = q_t S_t        a, b [B,T,H,K], log_decay [B,T,H,K]

Look first at: `step`, `recurrent`, `chunked`; `dplr_step`, `dplr_chunked`.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.forms import op, xla_form
from linearnexus.core.renames import forward
from linearnexus.core.tokens import TokenLayout
from linearnexus.core.tuning import CPU, DeltaRuleTuning
from linearnexus.ops.chunks import (
    Chunk,
    decay_before,
    decay_in,
    decay_out,
    each_pair_weights,
    grouped,
    mask_invalid,
    over_time,
    pair_weights,
    reset_at_starts,
    scan_chunks,
    shift_left,
    shift_right,
)


@op("delta_rule.step")
def step(
    q: Float[Array, "B G K"],
    k: Float[Array, "B G K"],
    v: Float[Array, "B H V"],
    beta: Float[Array, "B H"],
    log_decay: Float[Array, "B H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B H V"], Float[Array, "B H K V"]]:
    """One token of the recurrence."""
    q, k = (jnp.repeat(a, v.shape[1] // a.shape[1], axis=1) for a in (q, k))
    beta, log_decay = mask_invalid(beta[..., None], tokens), mask_invalid(log_decay, tokens)
    state = reset_at_starts(state, tokens)
    if log_decay is not None:
        state = jnp.exp(log_decay)[..., None] * state
    correction = beta * (v - jnp.einsum("bhk,bhkv->bhv", k, state))
    state = state + k[..., None] * correction[..., None, :]
    return jnp.einsum("bhk,bhkv->bhv", q, state), state


def recurrent(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    beta: Float[Array, "B T H"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """T tokens, one after another: the specification."""
    return over_time(xla_form(step), (q, k, v, beta, log_decay), state, tokens)


@op("delta_rule.chunked", tuned="delta_rule")
def chunked(
    q: Float[Array, "B T G K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T H V"],
    beta: Float[Array, "B T H"],
    log_decay: Float[Array, "B T H X"] | None,
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
    size: int | None = None,
    *,
    tuning: DeltaRuleTuning = CPU.delta_rule,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """The same by matrix products and one triangular system a chunk of `size` tokens (None: the measured
    one)."""

    def body(S: Array, chunk: Chunk, inputs: Any) -> tuple[Array, Array]:
        q, k, v, beta, g = inputs
        reads, keys, writes = q[:, :, None], k[:, :, None], k[:, :, None]
        if g is not None:
            kept = decay_in(g)
            reads, keys, writes = reads * kept, keys * kept, writes * decay_out(g)
        visible = chunk.pairs(q)
        # each_pair_weights ends JAX 0.10 here
        among, weights = (pair_weights(x, k, g, visible, tuning.leaf) for x in (k, q))
        wanted = beta * (v - chunk.read(keys) @ S)
        corrections = solve(jnp.tril(beta * among, -1), wanted, tuning.rows)
        y = weights @ corrections + chunk.read(reads) @ S
        return chunk.carried(S, g) + chunk.write(writes).mT @ corrections, y

    beta, log_decay = mask_invalid(beta[..., None], tokens), mask_invalid(log_decay, tokens)
    groups = k.shape[2]
    v, beta, log_decay = grouped(v, groups), grouped(beta, groups), grouped(log_decay, groups)
    y, S = scan_chunks(body, grouped(state, groups, 1), (q, k, v, beta, log_decay), tokens, size or tuning.chunk)
    return y, S.reshape(state.shape)


@op("delta_rule.dplr_step")
def dplr_step(
    q: Float[Array, "B H K"],
    k: Float[Array, "B H K"],
    v: Float[Array, "B H V"],
    a: Float[Array, "B H K"],
    b: Float[Array, "B H K"],
    log_decay: Float[Array, "B H K"],
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B H V"], Float[Array, "B H K V"]]:
    """One token of the diagonal-plus-low-rank recurrence."""
    k, b, log_decay = mask_invalid(k, tokens), mask_invalid(b, tokens), mask_invalid(log_decay, tokens)
    state = reset_at_starts(state, tokens)
    found = jnp.einsum("bhk,bhkv->bhv", a, state)
    state = jnp.exp(log_decay)[..., None] * state + b[..., None] * found[..., None, :] + k[..., None] * v[..., None, :]
    return jnp.einsum("bhk,bhkv->bhv", q, state), state


def dplr_recurrent(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T H K"],
    v: Float[Array, "B T H V"],
    a: Float[Array, "B T H K"],
    b: Float[Array, "B T H K"],
    log_decay: Float[Array, "B T H K"],
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """T tokens of it, one after another: the specification."""
    return over_time(xla_form(dplr_step), (q, k, v, a, b, log_decay), state, tokens)


@op("delta_rule.dplr_chunked", tuned="delta_rule")
def dplr_chunked(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T H K"],
    v: Float[Array, "B T H V"],
    a: Float[Array, "B T H K"],
    b: Float[Array, "B T H K"],
    log_decay: Float[Array, "B T H K"],
    state: Float[Array, "B H K V"],
    tokens: TokenLayout,
    size: int | None = None,
    *,
    tuning: DeltaRuleTuning = CPU.delta_rule,
) -> tuple[Float[Array, "B T H V"], Float[Array, "B H K V"]]:
    """The same by matrix products: what the tokens of a chunk find along a, each in the state before it, solves one
    triangular system."""

    def body(S: Array, chunk: Chunk, inputs: Any) -> tuple[Array, Array]:
        q, k, v, a, b, g = inputs
        visible, g, v = chunk.pairs(q), g[:, :, None], v[:, :, None]
        order = jnp.tril(jnp.ones_like(visible))
        early, late = each_pair_weights([shift_left(a), q], [b, k], g, order, tuning.leaf)
        early, late = ([jnp.where(visible, x, 0) for x in pair] for pair in (map(shift_right, early), late))
        found = chunk.read(a[:, :, None] * decay_before(g)) @ S + early[1] @ v
        found = solve(-early[0], found, tuning.rows)
        y = late[0] @ found + late[1] @ v + chunk.read(q[:, :, None] * decay_in(g)) @ S
        left = decay_out(g)
        writes = [chunk.write(x[:, :, None] * left).mT for x in (b, k)]
        return chunk.carried(S, g) + writes[0] @ found + writes[1] @ v, y

    k, b, log_decay = mask_invalid(k, tokens), mask_invalid(b, tokens), mask_invalid(log_decay, tokens)
    size = size or tuning.chunk
    y, S = scan_chunks(body, grouped(state, state.shape[1], 1), (q, k, v, a, b, log_decay), tokens, size)
    return y, S.reshape(state.shape)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def solve(below: Float[Array, "... C C"], b: Float[Array, "... C V"], size: int) -> Float[Array, "... C V"]:
    """x with (I + below) x = b, for `below` zero on and above the diagonal: all diagonal blocks of `size` rows are
    inverted at once, row by row, then block follows block.

    Not LAPACK's: JAX 0.10.2 stands still for good when it is called in a scan on a CPU (docs/log.md).
    """
    c, more = below.shape[-1], -below.shape[-1] % size
    batch, n = ((0, 0),) * (below.ndim - 2), (c + more) // size
    below = jnp.pad(below, (*batch, (0, more), (0, more)))
    b = jnp.pad(b, (*batch, (0, more), (0, 0)))
    rows = [slice(i * size, (i + 1) * size) for i in range(n)]
    diagonal = jnp.stack([below[..., part, part] for part in rows])
    inverse = jnp.broadcast_to(jnp.eye(size, dtype=below.dtype), diagonal.shape)
    for i in range(1, size):
        inverse = inverse.at[..., i, :].add(-jnp.sum(diagonal[..., i, :i, None] * inverse[..., :i, :], axis=-2))
    x = inverse[0] @ b[..., rows[0], :]
    for i, part in enumerate(rows[1:], start=1):
        rest = b[..., part, :] - below[..., part, : i * size] @ x
        x = jnp.concatenate([x, inverse[i] @ rest], axis=-2)
    return x[..., :c, :]


def _solve_forward(below: Array, b: Array, size: int) -> tuple[Array, tuple[Array, Array]]:
    x = solve(below, b, size)
    return x, (below, x)


def _solve_backward(size: int, saved: tuple[Array, Array], g_x: Array) -> tuple[Array, Array]:
    """The transposed system is upper triangular: the same one with rows and columns in reverse."""
    below, x = saved
    g_b = jnp.flip(solve(jnp.flip(below.mT, (-2, -1)), jnp.flip(g_x, -2), size), -2)
    return -jnp.tril(g_b @ x.mT, -1), g_b


solve.defvjp(_solve_forward, _solve_backward)


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
