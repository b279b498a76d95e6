"""Softmax attention: each token asks (query), every earlier one offers (key), and what matches is read (value).

    y_t = Wo [ sum_s softmax_s(q_t . k_s / sqrt(K)) v_s ]     q = Wq x, k = Wk x, v = Wv x, over the visible s <= t

Vaswani et al. 2017 (section 3.2), with grouped heads (Ainslie et al. 2023), a sliding window (Beltagy et al. 2020),
rotary positions (Su et al. 2021) and normalised queries and keys (Henry et al. 2020) as options. The state is a cache
of keys and values.

Look first at: `_project`, `__call__`, `step`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initial import normal
from linearnexus.core.layers import RMSNorm, linear, rotary
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.core.tokens import Tokens
from linearnexus.mixers.base import Context, Out
from linearnexus.mixers.configs import AttentionConfig
from linearnexus.ops import softmax_attention as op


@module
class Attention:
    wq: Array = matrix()  # [D, H*K]
    wk: Array = matrix()  # [D, G*K]
    wv: Array = matrix()  # [D, G*K]
    wo: Array = matrix(residual=True)  # [H*K, D]
    bq: Array | None = vector()
    bk: Array | None = vector()
    bv: Array | None = vector()
    bo: Array | None = vector()
    q_norm: RMSNorm | None
    k_norm: RMSNorm | None
    config: AttentionConfig = static()

    @classmethod
    def init(cls, config: AttentionConfig, hidden_size: int, key: Array) -> "Attention":
        """Weights N(0, 0.02), biases zero (GPT-2)."""
        config.check(hidden_size)
        size = hidden_size // config.n_head
        kq, kk, kv, ko = jax.random.split(key, 4)
        inner = size * config.kv_heads

        def bias(n):
            return jnp.zeros(n) if config.bias else None

        return cls(
            wq=normal(kq, hidden_size, hidden_size),
            wk=normal(kk, hidden_size, inner),
            wv=normal(kv, hidden_size, inner),
            wo=normal(ko, hidden_size, hidden_size),
            bq=bias(hidden_size),
            bk=bias(inner),
            bv=bias(inner),
            bo=bias(hidden_size),
            q_norm=RMSNorm.init(size) if config.qk_norm else None,
            k_norm=RMSNorm.init(size) if config.qk_norm else None,
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> op.Cache:
        slots = max_len if self.config.window is None else min(max_len, self.config.window)
        size = self.wq.shape[1] // self.config.n_head
        return op.Cache.init(batch, self.config.kv_heads, slots, size, dtype)

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: op.Cache | None = None) -> Out:
        q, k, v = self._project(x, context.tokens)
        if state is None:
            y = op.causal_attention(q, k, v, context.tokens, self.config.window, context.dropout)
        else:
            y, state = op.extend_attention(q, k, v, state, context.tokens, self.config.window)
        return Out(linear(y.reshape(*x.shape[:2], -1), self.wo, self.bo), state)

    def step(self, x: Float[Array, "B D"], context: Context, state: op.Cache) -> Out:
        tokens = jax.tree.map(lambda field: field[:, None], context.tokens)
        q, k, v = (part[:, 0] for part in self._project(x[:, None], tokens))
        y, state = op.step_attention(q, k, v, state, context.tokens, self.config.window)
        return Out(linear(y.reshape(x.shape[0], -1), self.wo, self.bo), state)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """weights [B, H, T, T]: how much each token (row) reads from each other one (column)."""
        q, k, _ = self._project(x, context.tokens)
        weights = op.attention_weights(q, k.transpose(0, 2, 1, 3), op.visibility(context.tokens, self.config.window))
        return {"weights": weights.reshape(x.shape[0], self.config.n_head, *weights.shape[-2:])}

    def _project(self, x: Float[Array, "B T D"], tokens: Tokens) -> tuple[Array, Array, Array]:
        """q [B,T,H,K], k [B,T,G,K], v [B,T,G,K]: normalised and rotated."""
        size = self.wq.shape[1] // self.config.n_head
        q, k, v = (
            linear(x, weight, bias).reshape(*x.shape[:2], -1, size)
            for weight, bias in ((self.wq, self.bq), (self.wk, self.bk), (self.wv, self.bv))
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.config.rope_theta is not None:
            q, k = (
                rotary(q, tokens.position, self.config.rope_theta),
                rotary(k, tokens.position, self.config.rope_theta),
            )
        return q, k, v
