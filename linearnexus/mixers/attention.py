"""Softmax attention: each token asks (query), every earlier one offers (key), and what matches is read (value).

    y_t = Wo [ sum_s softmax_s(q_t . k_s / sqrt(K)) v_s ]     q = Wq x, k = Wk x, v = Wv x, over the visible s <= t

Vaswani et al. 2017 (section 3.2), with grouped heads (Ainslie et al. 2023), a sliding window (Beltagy et al. 2020),
rotary positions (Su et al. 2021), normalised queries and keys (Henry et al. 2020) and an output gate (Qiu et al. 2025)
as options. The state is a cache of keys and values.

Look first at: `_project`, `__call__`, `step`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal
from linearnexus.core.layers import RMSNorm, linear, rotary
from linearnexus.core.module import matrix, module, part, static, vector
from linearnexus.core.tokens import TokenLayout
from linearnexus.mixers.configs import AttentionConfig
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.ops import softmax_attention as op
from linearnexus.ops.kv_cache import Cache


@module
class Attention:
    wq: Array = matrix("embed", "heads")
    wk: Array = matrix("embed", "kv_heads")
    wv: Array = matrix("embed", "kv_heads")
    wg: Array | None = matrix("embed", "heads")  # the output gate
    wo: Array = matrix("heads", "embed", residual=True)
    bq: Array | None = vector("heads")
    bk: Array | None = vector("kv_heads")
    bv: Array | None = vector("kv_heads")
    bo: Array | None = vector("embed")
    q_norm: RMSNorm | None = part(embed="key")
    k_norm: RMSNorm | None = part(embed="key")
    config: AttentionConfig = static()

    @classmethod
    def init(cls, config: AttentionConfig, hidden_size: int, key: Array) -> "Attention":
        """Weights N(0, 0.02), biases zero (GPT-2)."""
        config.check(hidden_size)
        size = config.size(hidden_size)
        kq, kk, kv, ko = jax.random.split(key, 4)
        queries, keys = size * config.n_head, size * config.kv_heads
        biases = config.bias or config.qkv_bias

        def norm() -> RMSNorm | None:
            return RMSNorm.init(size, config.norm_eps, offset=config.norm_offset) if config.qk_norm else None

        return cls(
            wq=normal(kq, hidden_size, queries),
            wk=normal(kk, hidden_size, keys),
            wv=normal(kv, hidden_size, keys),
            wg=normal(jax.random.fold_in(key, 4), hidden_size, queries) if config.gate else None,
            wo=normal(ko, queries, hidden_size),
            bq=jnp.zeros(queries) if biases else None,
            bk=jnp.zeros(keys) if biases else None,
            bv=jnp.zeros(keys) if biases else None,
            bo=jnp.zeros(hidden_size) if config.bias else None,
            q_norm=norm(),
            k_norm=norm(),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> Cache:
        slots = max_len if self.config.window is None else min(max_len, self.config.window)
        size = self.wq.shape[1] // self.config.n_head
        return Cache.init(batch, self.config.kv_heads, slots, size, dtype)

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: Cache | None = None) -> MixerOutput:
        q, k, v = self._project(x, context.tokens)
        if state is None:
            y = op.causal_attention(q, k, v, context.tokens, self.config.window, context.dropout)
        else:
            y, state = op.extend_attention(q, k, v, state, context.tokens, self.config.window)
        return MixerOutput(self._read(y, x), state)

    def step(self, x: Float[Array, "B D"], context: Context, state: Cache) -> MixerOutput:
        tokens = jax.tree.map(lambda field: field[:, None], context.tokens)
        q, k, v = (part[:, 0] for part in self._project(x[:, None], tokens))
        y, state = op.step_attention(q, k, v, state, context.tokens, self.config.window)
        return MixerOutput(self._read(y, x), state)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """weights [B, H, T, T]: how much each token (row) reads from each other one (column)."""
        q, k, _ = self._project(x, context.tokens)
        weights = op.attention_weights(q, k.transpose(0, 2, 1, 3), op.visibility(context.tokens, self.config.window))
        return {"weights": weights.reshape(x.shape[0], self.config.n_head, *weights.shape[-2:])}

    def _project(self, x: Float[Array, "B T D"], tokens: TokenLayout) -> tuple[Array, Array, Array]:
        """q [B,T,H,K], k [B,T,G,K], v [B,T,G,K]: normalised and rotated."""
        size = self.wq.shape[1] // self.config.n_head
        q, k, v = (
            linear(x, weight, bias).reshape(*x.shape[:2], -1, size)
            for weight, bias in ((self.wq, self.bq), (self.wk, self.bk), (self.wv, self.bv))
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.config.rope_theta is not None:
            q, k = (self._rotated(part, tokens, self.config.rope_theta) for part in (q, k))
        return q, k, v

    def _rotated(self, x: Float[Array, "B T H K"], tokens: TokenLayout, theta: float) -> Float[Array, "B T H K"]:
        size, scaling = self.config.rope_size, self.config.rope_scaling
        turned = rotary(x[..., :size], tokens.position, theta, *([] if scaling is None else [scaling]))
        return turned if size is None else jnp.concatenate([turned, x[..., size:]], axis=-1)

    def _read(self, y: Float[Array, "... H K"], x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The heads' outputs, gated and projected."""
        y = y.reshape(*x.shape[:-1], -1)
        if self.wg is not None:
            y = y * jax.nn.sigmoid(linear(x, self.wg))
        return linear(y, self.wo, self.bo)
