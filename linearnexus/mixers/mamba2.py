"""Mamba-2: Mamba's summary as a matrix a head, with one decay a head, so that a chunk is a few matrix products.

    [z, x, B, C, dt] = W_in u    [x, B, C] = silu(conv([x, B, C]))    dt = softplus(dt + dt_bias)    A = -exp(A_log)
    S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T    y_t = C_t S_t + D x_t    out = W_out norm(y * silu(z))

Dao and Gu 2024, "Transformers are SSMs", section 7 and the official code (modules/mamba2.py): `linear_attention` with
keys B, queries C and values dt x. The same function; convolution taps are stored newest first. The
norm looks at each group of heads by itself.

Look first at: `_run`, `_select`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import init_dt_bias, uniform
from linearnexus.core.layers import RMSNorm, at_least_float32, linear, rms_normalized, row, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import Mamba2Config
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import linear_attention as op
from linearnexus.ops.short_conv import short_conv, short_conv_step


@module
class Mamba2:
    # Parts of different widths in one matrix: cut apart, Muon would orthogonalise each by itself, which is another
    # update. So its columns have no name, nor have the taps behind them.
    w_in: Array = matrix("embed", None)  # [D, 2E+2GN+H]: the gate z, the signal x, B, C and dt
    conv: Array = vector(None, None)  # [W, E+2GN] over x, B, C; conv[j] is the tap j tokens back
    conv_bias: Array = vector(None)  # [E+2GN]
    dt_bias: Array = vector("head")
    A_log: Array = vector("head")  # A = -exp(A_log)
    D: Array = vector("head")  # what passes by the state
    norm: RMSNorm = part(embed="inner")
    w_out: Array = matrix("inner", "embed", residual=True)
    config: Mamba2Config = static()

    @classmethod
    def init(cls, config: Mamba2Config, hidden_size: int, key: Array) -> "Mamba2":
        """Step sizes log-uniform in [0.001, 0.1], A uniform in [-16, -1], matrices and taps uniform as in the official
        code."""
        config.check(hidden_size)
        k_in, k_conv, k_bias, k_dt, k_A, k_out = jax.random.split(key, 6)
        inner, n_head, taps = config.expand * hidden_size, config.n_head(hidden_size), config.conv_size
        mixed = inner + 2 * config.n_group * config.state_size
        return cls(
            w_in=uniform(k_in, hidden_size, inner + mixed + n_head, fan_in=hidden_size),
            conv=uniform(k_conv, taps, mixed, fan_in=taps),
            conv_bias=uniform(k_bias, mixed, fan_in=taps),
            dt_bias=init_dt_bias(k_dt, n_head),
            A_log=jnp.log(jax.random.uniform(k_A, (n_head,), minval=1, maxval=16)),
            D=jnp.ones(n_head),
            norm=RMSNorm.init(inner, config.norm_eps),
            w_out=uniform(k_out, inner, hidden_size, fan_in=inner),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        taps, mixed = self.conv.shape
        sizes = (self.A_log.shape[0], self.config.state_size, self.config.head_size)
        return MatrixState(jnp.zeros((batch, *sizes), wide_dtype(dtype)), jnp.zeros((batch, taps - 1, mixed), dtype))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,G,N]: the slots read and written (C and B); v [B,T,H,P]: what is written (dt x); decay [B,T,H,1]:
        what a token leaves of the old state; dt [B,T,H]; read [B,T,H,P]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        (q, k, v, log_decay), _, dt, _, _ = self._select(x, context, state, short_conv)
        read, _ = op.chunked(q, k, v, log_decay, state.S, context.tokens)
        return {"q": q, "k": k, "v": v, "decay": jnp.exp(log_decay), "dt": dt, "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, conv: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        inputs, signal, _, gate, conv_state = self._select(x, context, before, conv)
        y, S = memory(*inputs, before.S, context.tokens)
        y = y + self.D.astype(y.dtype).reshape((1,) * (y.ndim - 2) + (-1, 1)) * signal
        y = y.reshape(gate.shape) * jax.nn.silu(at_least_float32(gate))
        y = rms_normalized(split_heads(y, self.config.n_group), self.norm.eps).reshape(gate.shape)
        assert self.norm.scale is not None
        out = linear((y * row(self.norm.scale, y)).astype(x.dtype), self.w_out)
        return MixerOutput(out, None if state is None else MatrixState(S, conv_state))

    def _select(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, ...], Array, Array, Array, Array]:
        """The memory's inputs (C, B, dt x, dt A), the signal x [...,H,P], dt [...,H], the gate z [...,E] and the
        convolution's state."""
        config, n_head = self.config, self.A_log.shape[0]
        inner, keys = n_head * config.head_size, config.n_group * config.state_size
        gate, mixed, dt = jnp.split(linear(x, self.w_in), [inner, 2 * inner + 2 * keys], axis=-1)
        mixed, conv_state = conv(mixed, self.conv, before.conv_state, context.tokens)
        mixed = at_least_float32(jax.nn.silu(mixed + row(self.conv_bias, mixed)))
        signal, B, C = jnp.split(mixed, [inner, inner + keys], axis=-1)
        signal, B, C = split_heads(signal, n_head), split_heads(B, config.n_group), split_heads(C, config.n_group)
        dt = at_least_float32(dt)
        dt = jax.nn.softplus(dt + row(self.dt_bias, dt))
        log_decay = dt * row(-jnp.exp(self.A_log), dt)
        return (C, B, dt[..., None] * signal, log_decay[..., None]), signal, dt, gate, conv_state
