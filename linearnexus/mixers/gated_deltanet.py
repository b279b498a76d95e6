"""Gated DeltaNet: DeltaNet's targeted correction and Mamba-2's forgetting in one rule.

    S_t = (I - b_t k_t k_t^T) a_t S_{t-1} + b_t k_t v_t^T    y_t = q_t S_t / sqrt(K)
    b_t = sigmoid(W_b x_t)    a_t = exp(-exp(A_log) softplus(W_a x_t + dt_bias))
    q, k, v = silu(conv(W x)), q and k of length 1        out = W_o (silu(W_g x) * norm(y))

Yang et al. 2024, "Gated Delta Networks", equation 10 and section 3.4; layers of Qwen3-Next and Qwen3.5. One convolution
over [q, k, v] (as Qwen3-Next) stands for the official three. `n_key_head` below `n_head` shares keys among value heads.

Look first at: `_run`, `_project`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import init_dt_bias, normal, uniform
from linearnexus.core.layers import RMSNorm, at_least_float32, l2_normalized, linear, row, wide_dtype
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.mixers.configs import GatedDeltaNetConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import delta_rule as op
from linearnexus.ops.short_conv import short_conv, short_conv_step


@module
class GatedDeltaNet:
    wq: Array = matrix()  # [D, G*K]
    wk: Array = matrix()  # [D, G*K]
    wv: Array = matrix()  # [D, H*V]
    wg: Array = matrix()  # [D, H*V], the output gate
    wa: Array = matrix()  # [D, H], the decay
    wb: Array = matrix()  # [D, H], how strongly a token writes
    conv: Array = vector()  # [W, 2*G*K+H*V] over q, k, v; conv[j] is the tap j tokens back
    A_log: Array = vector()  # [H]
    dt_bias: Array = vector()  # [H]
    norm: RMSNorm  # [V]
    wo: Array = matrix(residual=True)  # [H*V, D]
    config: GatedDeltaNetConfig = static()

    @classmethod
    def init(cls, config: GatedDeltaNetConfig, hidden_size: int, key: Array) -> "GatedDeltaNet":
        """Weights N(0, 0.02), A uniform up to 16, step sizes log-uniform in [0.001, 0.1] (the official code); taps
        uniform up to 1 / sqrt(W) (PyTorch's default: taps of 0.02 before a normalisation to length 1 make gradients
        explode)."""
        config.check(hidden_size)
        kq, kk, kv, kg, ka, kb, kc, kA, kdt, ko = jax.random.split(key, 10)
        key_size, value_size = config.sizes(hidden_size)
        keys, values = config.key_heads * key_size, config.n_head * value_size
        return cls(
            wq=normal(kq, hidden_size, keys),
            wk=normal(kk, hidden_size, keys),
            wv=normal(kv, hidden_size, values),
            wg=normal(kg, hidden_size, values),
            wa=normal(ka, hidden_size, config.n_head),
            wb=normal(kb, hidden_size, config.n_head),
            conv=uniform(kc, config.conv_size, 2 * keys + values, fan_in=config.conv_size),
            A_log=jnp.log(jax.random.uniform(kA, (config.n_head,), minval=1e-3, maxval=16)),
            dt_bias=init_dt_bias(kdt, config.n_head),
            norm=RMSNorm.init(value_size, config.norm_eps),
            wo=normal(ko, values, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        taps, mixed = self.conv.shape
        n_head = self.config.n_head
        sizes = (self.wk.shape[1] // self.config.key_heads, self.wv.shape[1] // n_head)
        S = jnp.zeros((batch, n_head, *sizes), wide_dtype(dtype))
        return MatrixState(S, jnp.zeros((batch, taps - 1, mixed), dtype))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,G,K], v [B,T,H,V]; beta [B,T,H]: the share of the old value that a token erases along its key;
        decay [B,T,H,1]: what a token leaves of the whole state; read [B,T,H,V]."""
        state = self.init_state(x.shape[0], 0, x.dtype)
        (q, k, v, beta, log_decay), _ = self._project(x, context, state, short_conv)
        read, _ = op.chunked(q, k, v, beta, log_decay, state.S, context.tokens)
        return {"q": q, "k": k, "v": v, "beta": beta, "decay": jnp.exp(log_decay), "read": read}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: MatrixState | None, conv: Callable, memory: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        inputs, conv_state = self._project(x, context, before, conv)
        y, S = memory(*inputs, before.S, context.tokens)
        y = self.norm(y).reshape(*x.shape[:-1], -1).astype(x.dtype)
        out = linear(jax.nn.silu(linear(x, self.wg)) * y, self.wo)
        return MixerOutput(out, None if state is None else MatrixState(S, conv_state))

    def _project(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, Array, Array, Array, Array], Array]:
        """q, k, v, beta and the log-decays [..., H, 1] in float32 or wider, and the convolution's state."""
        keys, groups = self.wk.shape[1], self.config.key_heads
        mixed = jnp.concatenate([linear(x, w) for w in (self.wq, self.wk, self.wv)], axis=-1)
        mixed, conv_state = conv(mixed, self.conv, before.conv_state, context.tokens)
        q, k, v = jnp.split(at_least_float32(jax.nn.silu(mixed)), [keys, 2 * keys], axis=-1)
        q, k, v = split_heads(q, groups), split_heads(k, groups), split_heads(v, self.config.n_head)
        beta = jax.nn.sigmoid(at_least_float32(linear(x, self.wb)))
        if self.config.negative_eigenvalues:
            beta = 2 * beta
        rate = at_least_float32(linear(x, self.wa))
        log_decay = jax.nn.softplus(rate + row(self.dt_bias, rate)) * row(-jnp.exp(self.A_log), rate)
        return (l2_normalized(q) / math.sqrt(q.shape[-1]), l2_normalized(k), v, beta, log_decay[..., None]), conv_state
