"""The blocks of a deep model while it trains: one array for the same weight of all its layers, [n, ...].

    tuple of blocks                   blocks[7].mixer.wq [D, E]                  on disk, and wherever a model is read
    Stack                             blocks.periods[0].mixer.wq [n, D, E]       in training, for a scan over periods

A scan reads a layer's weights out of the stack, and its backward pass writes their gradients into one: nothing is
copied together in a step. `models.stacked` turns whole models, and the states of their optimizers, into either form.

Look first at: `Stack`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from linearnexus.core.module import module, stack_of, static
from linearnexus.models.block import Block
from linearnexus.models.config import BlockConfig


def _layer(array: Any, number: int) -> Any:
    """One layer of a stacked array."""
    return array[number]


@module
class Stack:
    """The layers in the order first, periods, rest. Where layers share values, the first period stands by itself: only
    after it is there something shared, and a scan wants all its turns to be alike."""

    first: tuple[Block, ...]
    # one for each place of the pattern; each array holds `count` layers, [count, ...]
    periods: tuple[Block, ...] = stack_of("layer")
    rest: tuple[Block, ...]  # after the last whole period
    count: int = static()  # whole periods that are stacked

    @classmethod
    def of(
        cls, blocks: tuple[Block, ...], pattern: tuple[BlockConfig, ...], join: Callable[..., Any] | None = None
    ) -> "Stack":
        """The stack of the blocks of a model with this pattern. `join`: makes one array of those of several layers
        (`jnp.stack`, unless given)."""
        period = len(pattern)
        whole = len(blocks) // period * period
        begin = min(period, whole) if any(block.mixer.shares_values for block in pattern) else 0
        places = [blocks[begin + place : whole : period] for place in range(period if whole > begin else 0)]
        together = join or (lambda *layers: jnp.stack(layers))
        periods = tuple(jax.tree.map(together, *place) for place in places)
        return cls(blocks[:begin], periods, blocks[whole:], len(places[0]) if places else 0)

    def layers(self, take: Callable[[Any, int], Any] = _layer) -> tuple[Block, ...]:
        """The blocks, each with arrays of its own. `take`: what stands for layer `number` of a stacked leaf."""

        def layer(block: Block, number: int) -> Block:
            return jax.tree.map(lambda leaf: take(leaf, number), block)

        middle = (layer(block, number) for number in range(self.count) for block in self.periods)
        return (*self.first, *middle, *self.rest)

    def __getitem__(self, layer: int) -> Block:
        return self.layers()[layer]

    def __iter__(self) -> Iterator[Block]:
        return iter(self.layers())

    def __len__(self) -> int:
        return len(self.first) + self.count * len(self.periods) + len(self.rest)
