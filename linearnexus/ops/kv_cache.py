"""What attention keeps of the tokens so far: their keys and values, in a ring.

Look first at: `Cache`.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from linearnexus.core.module import module
from linearnexus.core.tokens import TokenLayout

NEVER = jnp.iinfo(jnp.int32).max  # the index of a key that no query sees


@module
class Cache:
    """Keys and values of the last S valid tokens of each row: a ring, the token of index i lies in slot i % S.

    k [B, G, S, K] and v [B, G, S, V]: heads before slots, so that a step reads each head's keys in one piece. Without
    v (latent attention) the keys are the values.
    """

    k: Array
    v: Array | None

    @classmethod
    def init(cls, batch: int, heads: int, slots: int, size: int, dtype: Any) -> "Cache":
        return cls(jnp.zeros((batch, heads, slots, size), dtype), jnp.zeros((batch, heads, slots, size), dtype))

    @property
    def slots(self) -> int:
        return self.k.shape[2]

    @property
    def values(self) -> Array:
        return self.k if self.v is None else self.v

    def write(self, k: Float[Array, "B T G K"], v: Float[Array, "B T G V"], tokens: TokenLayout) -> "Cache":
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
            None if self.v is None else self.v.at[b, :, slot].set(v.astype(self.v.dtype), mode="drop"),
        )

    def index(self, length: Int[Array, "B"]) -> Int[Array, "B S"]:
        """The token index in each slot when `length` tokens have been written; NEVER for an empty slot."""
        slot = jnp.arange(self.slots, dtype=jnp.int32)[None, :]
        newest = length[:, None] - 1
        index = newest - (newest - slot) % self.slots
        return jnp.where(index >= 0, index, NEVER)
