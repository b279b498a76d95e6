"""Softmax attention: full, sliding window, grouped heads, with padding, packed documents and a ring cache.

    y_t = sum_s softmax_s(q_t . k_s / sqrt(K)) v_s     over the visible s        (Vaswani et al. 2017, equation 1)

Visibility needs one number a key and two a query: key s is visible to query t when `low_t <= index_s <= high_t`, where
an index counts valid tokens along the row. That one rule is causality, the window, padding and document borders at
once.

Look first at: `attend`, `causal_attention`, `Cache`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from linearnexus.core.layers import Dropout, at_least_float32, drop
from linearnexus.core.module import module
from linearnexus.core.tokens import Tokens

NEVER = jnp.iinfo(jnp.int32).max  # the index of a key that no query sees
BLOCKS = 8  # query blocks of a call: work above the diagonal is at most 1/16 of the square
MIN_BLOCK = 64


@module
class Cache:
    """Keys and values of the last S valid tokens of each row: a ring, the token of index i lies in slot i % S.

    k [B, G, S, K] and v [B, G, S, V]: heads before slots, so that a step reads each head's keys in one piece.
    """

    k: Array
    v: Array

    @classmethod
    def init(cls, batch: int, heads: int, slots: int, size: int, dtype: Any) -> "Cache":
        return cls(jnp.zeros((batch, heads, slots, size), dtype), jnp.zeros((batch, heads, slots, size), dtype))

    @property
    def slots(self) -> int:
        return self.k.shape[2]

    def write(self, k: Float[Array, "B T G K"], v: Float[Array, "B T G V"], tokens: Tokens) -> "Cache":
        """Stores the valid tokens; of more than S, the last S."""
        b = jnp.arange(k.shape[0])[:, None]
        newest = tokens.index[:, -1:]
        if tokens.valid is not None:
            newest = newest - (~tokens.valid[:, -1:]).astype(jnp.int32)  # an invalid last token counts one too far
        keep = tokens.index > newest - self.slots
        if tokens.valid is not None:
            keep = keep & tokens.valid
        slot = jnp.where(keep, tokens.index % self.slots, self.slots)  # out of range: dropped
        return Cache(
            self.k.at[b, :, slot].set(k.astype(self.k.dtype), mode="drop"),
            self.v.at[b, :, slot].set(v.astype(self.v.dtype), mode="drop"),
        )

    def index(self, length: Int[Array, "B"]) -> Int[Array, "B S"]:
        """The token index in each slot when `length` tokens have been written; NEVER for an empty slot."""
        slot = jnp.arange(self.slots, dtype=jnp.int32)[None, :]
        newest = length[:, None] - 1
        index = newest - (newest - slot) % self.slots
        return jnp.where(index >= 0, index, NEVER)


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B G S K"],
    v: Float[Array, "B G S V"],
    visible: Bool[Array, "#B T S"],
    dropout: Dropout | None = None,
) -> Float[Array, "B T H V"]:
    """Attention with the mask given. H query heads share G key heads, H / G neighbours each. A query that sees nothing
    (an invalid token) gets a finite value without meaning."""
    weights = attention_weights(q, k, visible)
    y = jnp.einsum("bgrts,bgsv->bgrtv", drop(weights, dropout, 0).astype(v.dtype), v)
    return y.transpose(0, 3, 1, 2, 4).reshape(*q.shape[:-1], v.shape[-1]).astype(q.dtype)


def attention_weights(
    q: Float[Array, "B T H K"], k: Float[Array, "B G S K"], visible: Bool[Array, "#B T S"]
) -> Float[Array, "B G R T S"]:
    """The softmax over visible keys, in float32 or wider; R = H / G query heads a key head."""
    grouped = q.reshape(*q.shape[:2], k.shape[1], -1, q.shape[-1])
    scores = at_least_float32(jnp.einsum("btgrk,bgsk->bgrts", grouped, k.astype(q.dtype))) / math.sqrt(q.shape[-1])
    return jax.nn.softmax(jnp.where(visible[:, None, None], scores, -1e30), axis=-1)


def causal_attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T G V"],
    tokens: Tokens,
    window: int | None = None,
    dropout: Dropout | None = None,
) -> Float[Array, "B T H V"]:
    """Attention inside one call, nothing before it. Queries go in blocks, each against the keys up to its own end (and
    from the window's first), so there is no work above the diagonal."""
    t = q.shape[1]
    keys, values = _heads_first(k), _heads_first(v)
    block = max(MIN_BLOCK, -(-t // BLOCKS))
    outputs = []
    for number, start in enumerate(range(0, t, block)):
        end = min(start + block, t)
        # index and array position differ by padding only: a key in the window is never further back in the array than
        # the padding allows, so the window cuts keys only where every token is valid
        first = max(0, start + 1 - window) if window is not None and tokens.valid is None else 0
        low, high = _range(tokens, window, slice(start, end))
        visible = _visible(low, high, _key_index(tokens, slice(first, end)))
        drop_block = None if dropout is None else dropout.fold(number)
        outputs.append(attend(q[:, start:end], keys[:, :, first:end], values[:, :, first:end], visible, drop_block))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=1)


def extend_attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T G K"],
    v: Float[Array, "B T G V"],
    cache: Cache,
    tokens: Tokens,
    window: int | None,
) -> tuple[Float[Array, "B T H V"], Cache]:
    """Attention of T new tokens over the cache and themselves. The ring holds S tokens, so no query sees further
    back."""
    window = cache.slots if window is None else min(window, cache.slots)
    low, high = _range(tokens, window, slice(None))
    before = _visible(low, high, cache.index(tokens.index[:, 0]))
    visible = jnp.concatenate([before, visibility(tokens, window)], axis=2)
    keys = jnp.concatenate([cache.k, _heads_first(k).astype(cache.k.dtype)], axis=2)
    values = jnp.concatenate([cache.v, _heads_first(v).astype(cache.v.dtype)], axis=2)
    return attend(q, keys, values, visible), cache.write(k, v, tokens)


def step_attention(
    q: Float[Array, "B H K"],
    k: Float[Array, "B G K"],
    v: Float[Array, "B G V"],
    cache: Cache,
    tokens: Tokens,
    window: int | None,
) -> tuple[Float[Array, "B H V"], Cache]:
    """One token: written first (it replaces the one that leaves the window), then attending to the cache. No copy of
    the cache."""
    window = cache.slots if window is None else min(window, cache.slots)
    tokens = jax.tree.map(lambda field: field[:, None], tokens)
    # the barrier: XLA's CPU backend would fuse the write into both reads, and copy the keys for each, every token
    cache = jax.lax.optimization_barrier(cache.write(k[:, None], v[:, None], tokens))
    low, high = _range(tokens, window, slice(None))
    length = tokens.index[:, 0] + (1 if tokens.valid is None else tokens.valid[:, 0].astype(jnp.int32))
    y = attend(q[:, None], cache.k, cache.v, _visible(low, high, cache.index(length)))
    return y[:, 0], cache


def visibility(tokens: Tokens, window: int | None) -> Bool[Array, "B T T"]:
    """Which token (row) of one call sees which (column)."""
    low, high = _range(tokens, window, slice(None))
    return _visible(low, high, _key_index(tokens, slice(None)))


def _heads_first(x: Float[Array, "B T G K"]) -> Float[Array, "B G T K"]:
    return x.transpose(0, 2, 1, 3)


def _range(tokens: Tokens, window: int | None, part: slice) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """The lowest and highest key index that each query sees: from its document's (or its window's) first token to
    itself."""
    index = tokens.index[:, part]
    low = index - tokens.position[:, part]
    return (low if window is None else jnp.maximum(low, index - window + 1)), index


def _key_index(tokens: Tokens, part: slice) -> Int[Array, "B T"]:
    index = tokens.index[:, part]
    return index if tokens.valid is None else jnp.where(tokens.valid[:, part], index, NEVER)


def _visible(low: Int[Array, "B T"], high: Int[Array, "B T"], key: Int[Array, "B S"]) -> Bool[Array, "B T S"]:
    return (key[:, None, :] >= low[:, :, None]) & (key[:, None, :] <= high[:, :, None])
