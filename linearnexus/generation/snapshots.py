"""What a model remembers of a text that grows: immutable snapshots, from which reading resumes to the bit.

A snapshot is taken at a multiple of CHUNK tokens, before decoding: decoding writes past a stop, which a recurrent state
cannot take back, and a text is then read in the same chunks as if nothing were remembered. Its caches have no more
slots than its tokens need.

Look first at: `resume`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from linearnexus.core.module import name_of, named_leaves
from linearnexus.generation.engine import Generator
from linearnexus.generation.slots import CHUNK, fresh, read
from linearnexus.models.language_model import LanguageModel, ModelState


@dataclass(frozen=True)
class Snapshot:
    """The state [B = 1] after these ids; nobody changes it or gives it up."""

    ids: tuple[int, ...]
    state: ModelState

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in jax.tree.leaves(self.state))


def resume(
    generator: Generator, before: Snapshot | None, ids: Sequence[int], length: int
) -> tuple[Snapshot | None, ModelState, int]:
    """Reads a text up to the last multiple of CHUNK, all but what `before` holds of it.

    Returns a snapshot there (None: the text is shorter than a chunk), a state of `length` slots to resume with, which
    may be given up, and how many ids are in it.
    """
    border = (len(ids) - 1) // CHUNK * CHUNK
    known = 0 if before is None else len(before.ids)
    if before is None or known > border or before.ids != tuple(ids[:known]):
        before, known = None, 0
    model, most = generator.model, generator.cache_slots(len(ids))
    state = None if before is None else before.state
    while known < border:
        # a cache as long as these tokens need: the bits of a state then depend on its tokens alone
        size = generator.cache_slots(known + CHUNK)
        end = border if size == most else min(border, size)
        state = fresh(model, 1, size) if state is None else resized(model, state, size)
        state = read(model, ids[known:end], state, known)
        known, before = end, Snapshot(tuple(ids[:end]), state)
    return before, fresh(model, 1, length) if state is None else resized(model, state, length), border


def resized(model: LanguageModel, state: ModelState, slots: int) -> ModelState:
    """A copy of a state [B = 1] whose caches have that many slots. Its tokens must fit into them: then a larger cache
    is the same blocks and more, and they lie in the same slots."""
    held = named_leaves(state)

    def leaf(keys: tuple, like: jax.ShapeDtypeStruct) -> jax.Array:
        array = held.get(name_of(keys))
        if array is None:
            return jnp.zeros(like.shape, like.dtype)
        assert array.shape == like.shape, (name_of(keys), array.shape, like.shape)
        return jnp.copy(array)

    return jax.tree_util.tree_map_with_path(leaf, state_shapes(model, slots))


def state_shapes(model: LanguageModel, slots: int) -> ModelState:
    """A state [B = 1] with shapes and dtypes in place of its arrays."""
    return jax.eval_shape(lambda model: model.init_state(1, slots), model)
