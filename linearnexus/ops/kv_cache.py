"""What attention keeps of the tokens so far: their keys and values, in a ring that is stored in blocks.

The blocks have 256, 256, 512, 1,024, ... slots, the last as many as are left. A step reads a block only where one
of its rows sees something in it, so a short text does not pay for a long cache. A slot's block depends on the slot
alone, so a longer cache is the same blocks and more.

Look first at: `Cache`, `block_sizes`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from linearnexus.core.module import module
from linearnexus.core.tokens import TokenLayout

NEVER = jnp.iinfo(jnp.int32).max  # the index of a key that no query sees
BLOCK = 256  # slots of the first two blocks (docs/log.md)


def block_sizes(slots: int) -> list[int]:
    """The slots of each block: 256, 256, 512, ..., cut off at `slots`. No slot at all is one empty block."""
    sizes, held = [min(BLOCK, slots)], min(BLOCK, slots)
    while held < slots:
        sizes.append(min(held, slots - held))
        held += sizes[-1]
    return sizes


@module
class Cache:
    """Keys and values of the last S valid tokens of each row: a ring, the token of index i lies in slot i % S.

    keys and values: a tuple of blocks [B, G, size, K] and [B, G, size, V], of `block_sizes(S)` slots. Heads come before
    slots, so that a step reads each head's keys in one piece. Without own values (latent attention) the keys are the
    values.
    """

    keys: tuple[Array, ...]
    own_values: tuple[Array, ...] | None

    @classmethod
    def init(
        cls, batch: int, heads: int, slots: int, key_size: int, dtype: Any, value_size: int | None = None
    ) -> "Cache":
        """An empty cache. value_size 0: the keys are the values; None: values have the size of keys."""

        def blocks(size: int) -> tuple[Array, ...]:
            return tuple(jnp.zeros((batch, heads, part, size), dtype) for part in block_sizes(slots))

        value_size = key_size if value_size is None else value_size
        return cls(blocks(key_size), blocks(value_size) if value_size else None)

    @property
    def slots(self) -> int:
        return sum(block.shape[2] for block in self.keys)

    @property
    def values(self) -> tuple[Array, ...]:
        return self.keys if self.own_values is None else self.own_values

    def cut(self, x: Array, axis: int = -1) -> tuple[Array, ...]:
        """An array with an axis of S slots, in the cache's blocks."""
        return tuple(jnp.split(x, [sum(sizes) for sizes in self._before()], axis=axis))

    def write(self, k: Float[Array, "B T G K"], v: Float[Array, "B T G V"], tokens: TokenLayout) -> "Cache":
        """Stores the valid tokens; of more than S, the last S."""
        b = jnp.arange(k.shape[0])[:, None]
        newest = tokens.index[:, -1:]
        if tokens.valid is not None:
            newest = newest - (~tokens.valid[:, -1:]).astype(jnp.int32)  # an invalid last token counts one too far
        keep = tokens.index > newest - self.slots
        if tokens.valid is not None:
            keep = keep & tokens.valid
        slot = tokens.index % max(self.slots, 1)

        def written(blocks: tuple[Array, ...], new: Array) -> tuple[Array, ...]:
            first, after = 0, []
            for block in blocks:
                inside = keep & (slot >= first) & (slot < first + block.shape[2])
                place = jnp.where(inside, slot - first, block.shape[2])  # out of range: dropped
                after.append(block.at[b, :, place].set(new.astype(block.dtype), mode="drop"))
                first += block.shape[2]
            return tuple(after)

        return Cache(written(self.keys, k), None if self.own_values is None else written(self.own_values, v))

    def index(self, length: Int[Array, "B"]) -> Int[Array, "B S"]:
        """The token index in each slot when `length` tokens have been written; NEVER for an empty slot."""
        slot = jnp.arange(self.slots, dtype=jnp.int32)[None, :]
        newest = length[:, None] - 1
        index = newest - (newest - slot) % self.slots
        return jnp.where(index >= 0, index, NEVER)

    def whole(self) -> dict[str, jax.ShapeDtypeStruct]:
        """What it is without blocks: the shapes of k [B, G, S, K] and, where they are stored, of v [B, G, S, V]."""
        first = {"k": self.keys[0]} | ({} if self.own_values is None else {"v": self.own_values[0]})
        return {
            name: jax.ShapeDtypeStruct((*block.shape[:2], self.slots, block.shape[3]), block.dtype)
            for name, block in first.items()
        }

    def joined(self) -> tuple[Float[Array, "B G S K"], Float[Array, "B G S V"]]:
        """Keys and values in one array each: a copy where there is more than one block."""
        keys, values = (jnp.concatenate(blocks, axis=2) for blocks in (self.keys, self.values))
        return keys, values

    def _before(self) -> list[list[int]]:
        sizes = [block.shape[2] for block in self.keys]
        return [sizes[:number] for number in range(1, len(sizes))]
