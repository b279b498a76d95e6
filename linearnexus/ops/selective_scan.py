"""The selective scan of Mamba-1: a diagonal state-space model whose step size, input and output vary with the token.

    h_t = exp(dt_t A) * h_{t-1} + dt_t x_t B_t        y_t = sum_n C_t[n] h_t[n]

Gu and Dao 2023, equations 2a and 2b, with the zero-order hold on A and the Euler step on B (section 3.6 and the
official code). The state is [B, N, E]: channels last, so that every operation runs along contiguous channels. An
invalid token has dt = 0 (the state stands still); a start multiplies the old state by zero.

Look first at: `step`, `recurrent`, `chunked`.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from linearnexus.core.forms import op
from linearnexus.core.tokens import TokenLayout
from linearnexus.core.tuning import CPU, ScanTuning


@op("selective_scan.step")
def step(
    x: Float[Array, "B E"],
    dt: Float[Array, "B E"],
    A: Float[Array, "N E"],
    B: Float[Array, "B N"],
    C: Float[Array, "B N"],
    state: Float[Array, "B N E"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B E"], Float[Array, "B N E"]]:
    """One token of the recurrence."""
    dt, reset = mask(dt, tokens)
    state, y = _update(A, state, (dt, dt * x, B, C, reset))
    return y, state


def recurrent(
    x: Float[Array, "B T E"],
    dt: Float[Array, "B T E"],
    A: Float[Array, "N E"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    state: Float[Array, "B N E"],
    tokens: TokenLayout,
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """T tokens, one after another: the specification."""
    dt, reset = mask(dt, tokens)
    state, y = lax.scan(lambda h, token: _update(A, h, token), state, _time_major(x, dt, B, C, reset))
    return jnp.swapaxes(y, 0, 1), state


@op("selective_scan.chunked", tuned="selective_scan")
def chunked(
    x: Float[Array, "B T E"],
    dt: Float[Array, "B T E"],
    A: Float[Array, "N E"],
    B: Float[Array, "B T N"],
    C: Float[Array, "B T N"],
    state: Float[Array, "B N E"],
    tokens: TokenLayout,
    *,
    tuning: ScanTuning = CPU.selective_scan,
) -> tuple[Float[Array, "B T E"], Float[Array, "B N E"]]:
    """The same result with a backward pass of its own: it keeps the states at chunk borders only, computes the others
    of a chunk again, and forms the parameters' gradients from whole chunks (half the time of differentiating the
    scan)."""
    t = x.shape[1]
    dt, reset = mask(dt, tokens)
    inputs = jax.tree.map(lambda a: _split(a, tuning.chunk), _time_major(x, dt, B, C, reset))
    y, state = _scan_chunks(A, state, inputs)
    return jnp.swapaxes(y.reshape(-1, *y.shape[2:])[:t], 0, 1), state


@jax.custom_vjp
def _scan_chunks(A, state, inputs):
    """inputs [chunks, chunk, B, ...] -> y [chunks, chunk, B, E], the last state."""
    return _scan_chunks_forward(A, state, inputs)[0]


def _scan_chunks_forward(A, state, inputs):
    def chunk(h, part):
        after, y = lax.scan(lambda h, token: _update(A, h, token), h, part)
        return after, (y, h)

    after, (y, borders) = lax.scan(chunk, state, inputs)
    return (y, after), (A, borders, inputs)


def _scan_chunks_backward(saved, gradients):
    """With G_t the gradient of h_t, taken backwards: G_t = C_t (x) gy_t + decay_{t+1} G_{t+1}. All else follows from
    G."""
    A, borders, inputs = saved
    gy, g_after = gradients

    def again(h, token):
        dt, dtx, B, _, reset = token
        decay = _decay(A, dt, reset)
        after = decay * h + dtx[:, None, :] * B[:, :, None]
        return after, (h, after, decay)

    def back(g, token):
        decay, C, gy = token
        G = g + C[:, :, None] * gy[:, None, :]
        return G * decay, G

    def chunk(carry, saved):
        g, gA = carry
        border, part, gy = saved
        dt, dtx, B, C, reset = part
        _, (before, after, decay) = lax.scan(again, border, part)
        g, G = lax.scan(back, g, (decay, C, gy), reverse=True)
        g_log_decay = G * before * decay  # [chunk, B, N, E]
        gA = gA + jnp.sum(g_log_decay * dt[:, :, None, :], axis=(0, 1))
        g_dt = jnp.sum(g_log_decay * A[None, None], axis=2)
        g_dtx = jnp.sum(G * B[..., None], axis=2)
        g_B = jnp.sum(G * dtx[:, :, None, :], axis=3)
        g_C = jnp.sum(after * gy[:, :, None, :], axis=3)
        return (g, gA), (g_dt, g_dtx, g_B, g_C, None if reset is None else jnp.zeros_like(reset))

    (g, gA), g_inputs = lax.scan(chunk, (g_after, jnp.zeros_like(A)), (borders, inputs, gy), reverse=True)
    return gA, g, g_inputs


_scan_chunks.defvjp(_scan_chunks_forward, _scan_chunks_backward)


def _decay(A, dt, reset):
    decay = jnp.exp(dt[:, None, :] * A[None])  # [B, N, E]
    return decay if reset is None else decay * (1 - reset)[:, None, None]


def _split(a, size):
    """[T, ...] -> [chunks, size, ...]. The filling tokens have dt = 0 and reset nothing: they pass the state on."""
    filled = jnp.pad(a, ((0, -a.shape[0] % size), *((0, 0),) * (a.ndim - 1)))
    return filled.reshape(-1, size, *a.shape[1:])


def _update(A, state, token):
    """h, (dt, dt x, B, C, reset) -> h, y."""
    dt, dtx, B, C, reset = token
    state = _decay(A, dt, reset) * state + dtx[:, None, :] * B[:, :, None]
    return state, jnp.sum(state * C[:, :, None], axis=1)


def mask(dt, tokens: TokenLayout):
    """dt, zero at invalid tokens, and 1 where a start takes away the old state (None: nothing starts)."""
    if tokens.valid is not None:
        dt = jnp.where(tokens.valid[..., None], dt, jnp.zeros_like(dt))
    if tokens.starts is None:
        return dt, None
    starts = tokens.starts if tokens.valid is None else tokens.starts & tokens.valid
    return dt, starts.astype(dt.dtype)


def _time_major(x, dt, B, C, reset):
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (dt, dt * x, B, C, reset))
