"""Gated DeltaNet: DeltaNet's targeted correction and Mamba-2's forgetting in one rule.

    S_t = (I - b_t k_t k_t^T) a_t S_{t-1} + b_t k_t v_t^T    y_t = q_t S_t / sqrt(K)
    b_t = sigmoid(W_b x_t)    a_t = exp(-exp(A_log) softplus(W_a x_t + dt_bias))
    q, k, v = silu(conv(W x)), q and k of length 1        out = W_o (silu(W_g x) * norm(y))

Yang et al. 2024, "Gated Delta Networks", equation 10 and section 3.4; layers of Qwen3-Next and Qwen3.5. `n_key_head`
below `n_head` shares keys among value heads.

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
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.mixers.configs import GatedDeltaNetConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import delta_rule as op
from linearnexus.ops.short_conv import short_conv, short_conv_step, short_convs


@module
class GatedDeltaNet:
    wq: Array = matrix("embed", "key_heads")  # [D, G*K]
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wg: Array = matrix("embed", "heads")  # the output gate
    wa: Array = matrix("embed", "head")  # the decay
    wb: Array = matrix("embed", "head")  # how strongly a token writes
    conv_q: Array = vector(None, "key_heads")  # [W, G*K], conv_q[j] is the tap j tokens back
    conv_k: Array = vector(None, "key_heads")
    conv_v: Array = vector(None, "heads")
    A_log: Array = vector("head")
    dt_bias: Array = vector("head")
    norm: RMSNorm = part(embed="value")
    wo: Array = matrix("heads", "embed", residual=True)
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
        taps = uniform(kc, config.conv_size, 2 * keys + values, fan_in=config.conv_size)
        conv_q, conv_k, conv_v = jnp.split(taps, [keys, 2 * keys], axis=1)
        return cls(
            wq=normal(kq, hidden_size, keys),
            wk=normal(kk, hidden_size, keys),
            wv=normal(kv, hidden_size, values),
            wg=normal(kg, hidden_size, values),
            wa=normal(ka, hidden_size, config.n_head),
            wb=normal(kb, hidden_size, config.n_head),
            conv_q=conv_q,
            conv_k=conv_k,
            conv_v=conv_v,
            A_log=jnp.log(jax.random.uniform(kA, (config.n_head,), minval=1e-3, maxval=16)),
            dt_bias=init_dt_bias(kdt, config.n_head),
            norm=RMSNorm.init(value_size, config.norm_eps),
            wo=normal(ko, values, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head = self.config.n_head
        sizes = (self.wk.shape[1] // self.config.key_heads, self.wv.shape[1] // n_head)
        S = jnp.zeros((batch, n_head, *sizes), wide_dtype(dtype))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        return MatrixState(S, tuple(jnp.zeros((batch, len(w) - 1, w.shape[1]), dtype) for w in taps))

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
    ) -> tuple[tuple[Array, Array, Array, Array, Array], tuple[Array, ...]]:
        """q, k, v, beta and the log-decays [..., H, 1] in float32 or wider, and the convolutions' states."""
        parts = (linear(x, w) for w in (self.wq, self.wk, self.wv))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        mixed, conv_state = short_convs(parts, taps, before.conv_state, context.tokens, conv)
        q, k, v = (at_least_float32(jax.nn.silu(part)) for part in mixed)
        q, k = split_heads(q, self.config.key_heads), split_heads(k, self.config.key_heads)
        v = split_heads(v, self.config.n_head)
        beta = jax.nn.sigmoid(at_least_float32(linear(x, self.wb)))
        if self.config.negative_eigenvalues:
            beta = 2 * beta
        rate = at_least_float32(linear(x, self.wa))
        log_decay = jax.nn.softplus(rate + row(self.dt_bias, rate)) * row(-jnp.exp(self.A_log), rate)
        return (l2_normalized(q) / math.sqrt(q.shape[-1]), l2_normalized(k), v, beta, log_decay[..., None]), conv_state
