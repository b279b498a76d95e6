"""Mamba: each token updates a running summary of what came before, and decides itself how much to write and to forget.

    [x, z] = W_in u      x = silu(conv(x))      [dt, B, C] = W_select x      dt = softplus(W_dt dt + dt_bias)
    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        y_t = C_t . h_t + D x_t        out = W_out (y * silu(z))

Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", sections 3.2 to 3.6; initial values
as in the official code (mamba_simple.py). With `select_norm` the RMSNorms of Jamba (Lieber et al. 2024, section 6.4).
The same function; A_log is stored [N, E] and convolution taps newest first.
The state is the convolution's and h: constant in size, however long the text.

Look first at: `_select`, `__call__`, `step`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import init_dt_bias, uniform
from linearnexus.core.layers import RMSNorm, at_least_float32, linear, linear_parts, row, wide_dtype
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import MambaConfig
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.ops import selective_scan
from linearnexus.ops.short_conv import short_conv, short_conv_step


@module
class MambaState:
    """conv_state [B, W-1, E]: the last inputs of the convolution; h [B, N, E]: the summary, in float32 or wider."""

    conv_state: Array
    h: Array


@module
class Mamba:
    w_in: Array = matrix("embed", (None, "inner"))  # [D, 2, E]: the signal x and the gate z
    conv: Array = vector(None, "inner")  # [W, E], conv[j] is the tap j tokens back
    conv_bias: Array = vector("inner")
    x_proj: Array = matrix("inner", None)  # [E, R+2N]: dt (low rank), B and C from the token
    w_dt: Array = matrix("rank", "inner")
    dt_bias: Array = vector("inner")
    A_log: Array = vector("state", "inner")  # A = -exp(A_log)
    D: Array = vector("inner")  # what passes by the state
    w_out: Array = matrix("inner", "embed", residual=True)
    dt_norm: RMSNorm | None = part(embed="rank")
    B_norm: RMSNorm | None = part(embed="state")
    C_norm: RMSNorm | None = part(embed="state")
    config: MambaConfig = static()

    @classmethod
    def init(cls, config: MambaConfig, hidden_size: int, key: Array) -> "Mamba":
        """Step sizes log-uniform in [0.001, 0.1], A = -(1 ... N) in every channel, matrices uniform as in the official
        code."""
        inner, rank, n = config.expand * hidden_size, config.rank(hidden_size), config.state_size
        k_dt, k_in, k_conv, k_bias, k_x_proj, k_w_dt, k_out = jax.random.split(key, 7)

        def norm(size: int) -> RMSNorm | None:
            return RMSNorm.init(size, config.norm_eps, config.select_scale) if config.select_norm else None

        return cls(
            w_in=uniform(k_in, hidden_size, 2, inner, fan_in=hidden_size),
            conv=uniform(k_conv, config.conv_size, inner, fan_in=config.conv_size),
            conv_bias=uniform(k_bias, inner, fan_in=config.conv_size),
            x_proj=uniform(k_x_proj, inner, rank + 2 * n, fan_in=inner),
            w_dt=uniform(k_w_dt, rank, inner, fan_in=rank),
            dt_bias=init_dt_bias(k_dt, inner),
            A_log=jnp.broadcast_to(jnp.log(jnp.arange(1, n + 1, dtype=jnp.float32))[:, None], (n, inner)),
            D=jnp.ones(inner),
            w_out=uniform(k_out, inner, hidden_size, fan_in=inner),
            dt_norm=norm(rank),
            B_norm=norm(n),
            C_norm=norm(n),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MambaState:
        taps, inner = self.conv.shape
        return MambaState(
            jnp.zeros((batch, taps - 1, inner), dtype), jnp.zeros((batch, *self.A_log.shape), wide_dtype(dtype))
        )

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MambaState | None = None) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        signal, gate = linear_parts(x, self.w_in)
        signal, conv_state = short_conv(signal, self.conv, before.conv_state, context.tokens)
        inputs = self._select(signal)
        y, h = selective_scan.chunked(*inputs, before.h, context.tokens)
        return MixerOutput(self._read(y, inputs[0], gate), None if state is None else MambaState(conv_state, h))

    def step(self, x: Float[Array, "B D"], context: Context, state: MambaState) -> MixerOutput:
        signal, gate = linear_parts(x, self.w_in)
        signal, conv_state = short_conv_step(signal, self.conv, state.conv_state, context.tokens)
        inputs = self._select(signal)
        y, h = selective_scan.step(*inputs, state.h, context.tokens)
        return MixerOutput(self._read(y, inputs[0], gate), MambaState(conv_state, h))

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """dt [B,T,E]: how strongly each token writes (and forgets); decay [B,T,N,E]: what remains of the old state;
        B, C [B,T,N]: the slots written and read; signal [B,T,E]: what is written."""
        signal, _ = linear_parts(x, self.w_in)
        signal, _ = short_conv(signal, self.conv, self.init_state(x.shape[0], 0, x.dtype).conv_state, context.tokens)
        signal, dt, A, B, C = self._select(signal)
        dt, reset = selective_scan.mask(dt, context.tokens)
        decay = jnp.exp(dt[:, :, None, :] * A[None, None])
        if reset is not None:
            decay = decay * (1 - reset)[:, :, None, None]
        return {"signal": signal, "dt": dt, "decay": decay, "B": B, "C": C}

    def _select(self, signal: Float[Array, "... E"]) -> tuple[Array, Array, Array, Array, Array]:
        """x [...,E], dt [...,E], A [N,E], B [...,N], C [...,N] of the scan, in float32 or wider."""
        x = jax.nn.silu(signal + row(self.conv_bias, signal))
        n = self.config.state_size
        low, B, C = jnp.split(linear(x, self.x_proj), [self.w_dt.shape[0], self.w_dt.shape[0] + n], axis=-1)
        if self.dt_norm is not None and self.B_norm is not None and self.C_norm is not None:
            low, B, C = self.dt_norm(low), self.B_norm(B), self.C_norm(C)
        dt = at_least_float32(linear(low, self.w_dt))
        # the bias is added in float32, as in the official code: bfloat16 would move small step sizes by a percent
        dt = jax.nn.softplus(dt + row(self.dt_bias, dt))
        A = -jnp.exp(self.A_log.astype(dt.dtype))
        return at_least_float32(x), dt, A, at_least_float32(B), at_least_float32(C)

    def _read(
        self, y: Float[Array, "... E"], x: Float[Array, "... E"], gate: Float[Array, "... E"]
    ) -> Float[Array, "... D"]:
        return linear((y + row(self.D, x) * x).astype(gate.dtype) * jax.nn.silu(gate), self.w_out)
