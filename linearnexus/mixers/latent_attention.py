"""Multi-head latent attention: keys and values of all heads are made from one short vector a token, and the cache holds
nothing but that vector and one small rotary key.

    c_t = norm(W_c x_t)    k_t^R = rotary(W_r x_t)    k_t^h = [W_k^h c_t, k_t^R]    v_t^h = W_v^h c_t
    q_t^h = [W_q^h x_t, rotary(W_p^h x_t)]            y_t^h = sum_s softmax_s(q_t^h . k_s^h / sqrt(K + R)) v_s^h

DeepSeek-AI 2024, "DeepSeek-V2", section 2.1 (equations 9 to 19); its official code has the norm, and a norm between the
two products of compressed queries (`q_rank`). Rotary pairs are halves, not neighbours: another order of columns. With
`rope_theta` None nothing is turned, and k^R is a key like others that all heads share (Kimi Team 2025, "Kimi Linear",
section 4: positions are left to the other mixers).

From a state, W_k and W_v are absorbed (section 2.1.2): q . W_k c = (W_k^T q) . c and sum w (W_v c) = W_v (sum w c), so
all heads attend to the same "key" [c, k^R], which is the value too: attention with one key head, and no key or value of
a head is ever made again.

Look first at: `_absorbed`, `__call__`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal
from linearnexus.core.layers import RMSNorm, linear, rotary
from linearnexus.core.module import matrix, module, part, static
from linearnexus.core.tokens import TokenLayout
from linearnexus.mixers.configs import LatentAttentionConfig
from linearnexus.mixers.contract import Context, MixerOutput, split_heads
from linearnexus.ops import softmax_attention as op
from linearnexus.ops.kv_cache import Cache

EPS = 1e-6  # of both norms, as in the official code


@module
class LatentAttention:
    wq_down: Array | None = matrix("embed", "rank")  # [D, Q], of compressed queries
    q_norm: RMSNorm | None = part(embed="rank")  # [Q]
    wq: Array = matrix(lambda mixer: ("embed" if mixer.wq_down is None else "rank", "query_heads"))  # W_q and W_p
    w_down: Array = matrix("embed", None)  # [D, C+R]: W_c and W_r
    norm: RMSNorm = part(embed="rank")  # [C]
    wk: Array = matrix("rank", "key_heads")  # [C, H*K]
    wv: Array = matrix("rank", "heads")  # [C, H*V]
    wo: Array = matrix("heads", "embed", residual=True)
    config: LatentAttentionConfig = static()

    @classmethod
    def init(cls, config: LatentAttentionConfig, hidden_size: int, key: Array) -> "LatentAttention":
        """Weights N(0, 0.02) (GPT-2; the paper has 0.006 for 236B parameters)."""
        config.check(hidden_size)
        k_down, kq, kc, kk, kv, ko = jax.random.split(key, 6)
        size, rope, value, rank = config.sizes(hidden_size)
        n_head, q_rank = config.n_head, config.q_rank
        return cls(
            wq_down=None if q_rank is None else normal(k_down, hidden_size, q_rank),
            q_norm=None if q_rank is None else RMSNorm.init(q_rank, EPS),
            wq=normal(kq, hidden_size if q_rank is None else q_rank, n_head * (size + rope)),
            w_down=normal(kc, hidden_size, rank + rope),
            norm=RMSNorm.init(rank, EPS),
            wk=normal(kk, rank, n_head * size),
            wv=normal(kv, rank, n_head * value),
            wo=normal(ko, n_head * value, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> Cache:
        return Cache.init(batch, 1, max_len, self.w_down.shape[1], dtype, value_size=0)

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: Cache | None = None) -> MixerOutput:
        q, kv = self._queries(x, context.tokens), self._compress(x, context.tokens)
        if state is None:
            y = op.causal_attention(q, self._keys(kv), self._values(kv), context.tokens, dropout=context.dropout)
            return MixerOutput(linear(y.reshape(*x.shape[:2], -1), self.wo))
        read, state = op.extend_attention(self._absorbed(q), kv, kv, state, context.tokens, None)
        return MixerOutput(self._out(read), state)

    def step(self, x: Float[Array, "B D"], context: Context, state: Cache) -> MixerOutput:
        q, kv = self._queries(x, context.tokens), self._compress(x, context.tokens)
        read, state = op.step_attention(self._absorbed(q), kv, kv, state, context.tokens, None)
        return MixerOutput(self._out(read), state)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """weights [B,H,T,T]: how much each token (row) reads from each other one (column); latent [B,T,C]: what is kept
        of a token beside its rotary key."""
        kv = self._compress(x, context.tokens)
        k = self._keys(kv).transpose(0, 2, 1, 3)
        weights = op.attention_weights(self._queries(x, context.tokens), k, op.visibility(context.tokens, None))
        return {"weights": weights[:, :, 0], "latent": kv[:, :, 0, : self.wk.shape[0]]}

    def _queries(self, x: Float[Array, "... D"], tokens: TokenLayout) -> Float[Array, "... H KR"]:
        if self.wq_down is not None and self.q_norm is not None:
            x = self.q_norm(linear(x, self.wq_down))
        size = self.wk.shape[1] // self.config.n_head
        content, turned = jnp.split(split_heads(linear(x, self.wq), self.config.n_head), [size], axis=-1)
        return jnp.concatenate([content, self._turned(turned, tokens)], axis=-1)

    def _turned(self, x: Float[Array, "... H R"], tokens: TokenLayout) -> Float[Array, "... H R"]:
        theta = self.config.rope_theta
        return x if theta is None else rotary(x, tokens.position, theta)

    def _compress(self, x: Float[Array, "... D"], tokens: TokenLayout) -> Float[Array, "... 1 CR"]:
        """The latent vector and the rotary key: what the cache holds."""
        latent, turned = jnp.split(linear(x, self.w_down)[..., None, :], [self.wk.shape[0]], axis=-1)
        return jnp.concatenate([self.norm(latent), self._turned(turned, tokens)], axis=-1)

    def _keys(self, kv: Float[Array, "B T 1 CR"]) -> Float[Array, "B T H KR"]:
        latent, turned = jnp.split(kv, [self.wk.shape[0]], axis=-1)
        k = split_heads(linear(latent[:, :, 0], self.wk), self.config.n_head)
        return jnp.concatenate([k, jnp.broadcast_to(turned, (*k.shape[:-1], turned.shape[-1]))], axis=-1)

    def _values(self, kv: Float[Array, "B T 1 CR"]) -> Float[Array, "B T H V"]:
        return split_heads(linear(kv[:, :, 0, : self.wk.shape[0]], self.wv), self.config.n_head)

    def _absorbed(self, q: Float[Array, "... H KR"]) -> Float[Array, "... H CR"]:
        """Queries for [c, k^R] in place of keys; attention divides by the root of their length, which is not K + R."""
        wk = split_heads(self.wk.astype(q.dtype), self.config.n_head)  # [C, H, K]
        content, turned = jnp.split(q, [wk.shape[-1]], axis=-1)
        absorbed = jnp.concatenate([jnp.einsum("...hk,chk->...hc", content, wk), turned], axis=-1)
        return absorbed * math.sqrt(absorbed.shape[-1] / q.shape[-1])

    def _out(self, read: Float[Array, "... H CR"]) -> Float[Array, "... D"]:
        """Each head's values of what was read; the rotary key that was read along means nothing."""
        wv = split_heads(self.wv.astype(read.dtype), self.config.n_head)
        y = jnp.einsum("...hc,chv->...hv", read[..., : wv.shape[0]], wv)
        return linear(y.reshape(*y.shape[:-2], -1), self.wo)
