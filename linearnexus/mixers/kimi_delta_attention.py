"""Kimi Delta Attention: Gated DeltaNet's correction with GLA's forgetting, where each key has a decay of its own.

    S_t = (I - b_t k_t k_t^T) Diag(a_t) S_{t-1} + b_t k_t v_t^T    y_t = q_t S_t / sqrt(K)
    b_t = sigmoid(W_b x_t)    a_t = exp(-exp(A_log) softplus(W_a2 W_a1 x_t + dt_bias))
    q, k, v = silu(conv(W x)), q and k of length 1            out = W_o (sigmoid(W_g2 W_g1 x_t) * norm(y))

Kimi Team 2025, "Kimi Linear", equation 1 and section 4; official code: flash-linear-attention, layers/kda.py. A_log is
one number a head, dt_bias one a key; both low-rank products have the width of a head. As in the paper and the released
model's code, and unlike that one, the output gate has no bias.

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
from linearnexus.mixers.configs import KimiDeltaAttentionConfig
from linearnexus.mixers.contract import Context, MatrixState, MixerOutput, split_heads
from linearnexus.ops import delta_rule as op
from linearnexus.ops.short_conv import short_conv, short_conv_step, short_convs


@module
class KimiDeltaAttention:
    wq: Array = matrix("embed", "key_heads")
    wk: Array = matrix("embed", "key_heads")
    wv: Array = matrix("embed", "heads")
    wb: Array = matrix("embed", "head")  # how strongly a token writes
    wa_down: Array = matrix("embed", "rank")  # W_a1 of the decay
    wa_up: Array = matrix("rank", "key_heads")
    wg_down: Array = matrix("embed", "rank")  # W_g1 of the output gate
    wg_up: Array = matrix("rank", "heads")
    conv_q: Array = vector(None, "key_heads")  # [W, H*K], conv_q[j] is the tap j tokens back
    conv_k: Array = vector(None, "key_heads")
    conv_v: Array = vector(None, "heads")
    A_log: Array = vector("head")
    dt_bias: Array = vector("key_heads")
    norm: RMSNorm = part(embed="value")
    wo: Array = matrix("heads", "embed", residual=True)
    config: KimiDeltaAttentionConfig = static()

    @classmethod
    def init(cls, config: KimiDeltaAttentionConfig, hidden_size: int, key: Array) -> "KimiDeltaAttention":
        """Weights N(0, 0.02), A uniform in [1, 16], step sizes log-uniform in [0.001, 0.1] (the official code); taps
        uniform up to 1 / sqrt(W) (PyTorch's default, which the released model's code keeps; the official code has N(0,
        0.02))."""
        config.check(hidden_size)
        keys = iter(jax.random.split(key, 12))
        key_size, value_size, rank = config.sizes(hidden_size)
        all_keys, all_values = config.n_head * key_size, config.n_head * value_size

        def weight(rows: int, columns: int) -> Array:
            return normal(next(keys), rows, columns)

        wq, wk = weight(hidden_size, all_keys), weight(hidden_size, all_keys)
        wv, wb = weight(hidden_size, all_values), weight(hidden_size, config.n_head)
        wa_down, wa_up = weight(hidden_size, rank), weight(rank, all_keys)
        wg_down, wg_up = weight(hidden_size, rank), weight(rank, all_values)
        taps = uniform(next(keys), config.conv_size, 2 * all_keys + all_values, fan_in=config.conv_size)
        conv_q, conv_k, conv_v = jnp.split(taps, [all_keys, 2 * all_keys], axis=1)
        return cls(
            wq=wq,
            wk=wk,
            wv=wv,
            wb=wb,
            wa_down=wa_down,
            wa_up=wa_up,
            wg_down=wg_down,
            wg_up=wg_up,
            conv_q=conv_q,
            conv_k=conv_k,
            conv_v=conv_v,
            A_log=jnp.log(jax.random.uniform(next(keys), (config.n_head,), minval=1, maxval=16)),
            dt_bias=init_dt_bias(next(keys), all_keys),
            norm=RMSNorm.init(value_size),
            wo=weight(all_values, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> MatrixState:
        n_head = self.config.n_head
        sizes = (self.wk.shape[1] // n_head, self.wv.shape[1] // n_head)
        S = jnp.zeros((batch, n_head, *sizes), wide_dtype(dtype))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        return MatrixState(S, tuple(jnp.zeros((batch, len(w) - 1, w.shape[1]), dtype) for w in taps))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: MatrixState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv, op.chunked)

    def step(self, x: Float[Array, "B D"], context: Context, state: MatrixState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step, op.step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """q, k [B,T,H,K], v [B,T,H,V]; beta [B,T,H]: the share of the old value that a token erases along its key;
        decay [B,T,H,K]: what a token leaves of each key's memory; read [B,T,H,V]."""
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
        gate = jax.nn.sigmoid(linear(linear(x, self.wg_down), self.wg_up))
        return MixerOutput(linear(gate * y, self.wo), None if state is None else MatrixState(S, conv_state))

    def _project(
        self, x: Float[Array, "... D"], context: Context, before: MatrixState, conv: Callable
    ) -> tuple[tuple[Array, Array, Array, Array, Array], tuple[Array, ...]]:
        """q, k, v, beta and the log-decays [..., H, K] in float32 or wider, and the convolutions' states."""
        n_head = self.config.n_head
        parts = (linear(x, w) for w in (self.wq, self.wk, self.wv))
        taps = (self.conv_q, self.conv_k, self.conv_v)
        mixed, conv_state = short_convs(parts, taps, before.conv_state, context.tokens, conv)
        q, k, v = (split_heads(at_least_float32(jax.nn.silu(part)), n_head) for part in mixed)
        beta = jax.nn.sigmoid(at_least_float32(linear(x, self.wb)))
        if self.config.negative_eigenvalues:
            beta = 2 * beta
        rate = at_least_float32(linear(linear(x, self.wa_down), self.wa_up))
        rate = split_heads(jax.nn.softplus(rate + row(self.dt_bias, rate)), n_head)
        log_decay = rate * row(-jnp.exp(self.A_log), rate[..., 0])[..., None]
        return (l2_normalized(q) / math.sqrt(q.shape[-1]), l2_normalized(k), v, beta, log_decay), conv_state
