"""Trees that hold deep language models, with the weights of their layers stacked or apart.

    stacked     a model, its optimizer's state, or a whole training state, as a step takes it
    unstacked   the same with one array a layer, as it is written to disk and decoded from

Models of up to UNROLL_UP_TO layers are the same in both. The names of parameters are those of the unstacked form
everywhere: blocks.7.mixer.wq.

Look first at: `stacked`, `unstacked`, `layer_names`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from linearnexus.core.module import named_leaves
from linearnexus.models import language_model
from linearnexus.models.config import Remat
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.stack import Stack

T = TypeVar("T")


def stacked(tree: T) -> T:
    """The tree with the layers of each deep language model stacked. Inside `jit`; see `take_stacked` for arrays that
    are there already."""
    return _stacked(tree, None)


def take_stacked(tree: T) -> T:
    """`stacked` of arrays, which are given up: one stack at a time is made, and its layers are deleted, so that memory
    never holds the weights twice."""
    return _stacked(tree, _join_and_delete)


def unstacked(tree: T, take: Callable[[Any, int], Any] | None = None) -> T:
    """The tree with one array a layer. `take`: what stands for layer `number` of a stacked leaf (that layer, unless
    given)."""

    def apart(node: Any) -> Any:
        if not isinstance(node, Stack):
            return node
        return node.layers() if take is None else node.layers(take)

    return jax.tree.map(apart, tree, is_leaf=lambda node: isinstance(node, Stack))


def stacked_shapes(tree: T) -> T:
    """`stacked` of shapes, or of arrays whose shapes count."""
    return jax.eval_shape(stacked, tree)


unstacked_copy = jax.jit(unstacked)  # of arrays: one program in place of one for each layer and shape


def unstacked_shapes(tree: T) -> T:
    """`unstacked` of shapes, or of arrays whose shapes count."""
    return unstacked(tree, lambda leaf, _: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype))


def has_stacks(tree: Any) -> bool:
    """Are the layers of a model in the tree stacked?"""
    return any(isinstance(node, Stack) for node in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Stack)))


def with_remat(tree: T, remat: Remat) -> T:
    """The tree with language models whose gradients compute again what `models.remat` says."""

    def changed(node: Any) -> Any:
        return dataclasses.replace(node, remat=remat) if isinstance(node, LanguageModel) else node

    return jax.tree.map(changed, tree, is_leaf=lambda node: isinstance(node, LanguageModel))


def layer_names(tree: Any) -> list[tuple[str, ...]]:
    """For each leaf of the tree, the names of the parameters that it holds: of a stack, those of its layers in their
    order."""
    leaves, structure = jax.tree.flatten(tree)
    numbered = jax.tree.unflatten(structure, range(len(leaves)))
    names: list[list[str]] = [[] for _ in leaves]
    for name, leaf in named_leaves(unstacked(numbered, lambda leaf, _: leaf)).items():
        names[leaf].append(name)
    return [tuple(layers) for layers in names]


def _stacked(tree: T, join: Callable[..., Any] | None) -> T:
    def together(node: Any) -> Any:
        if not isinstance(node, LanguageModel) or isinstance(node.blocks, Stack):
            return node
        if node.config.n_layer <= language_model.UNROLL_UP_TO:
            return node
        return dataclasses.replace(node, blocks=Stack.of(node.blocks, node.config.pattern, join))

    return jax.tree.map(together, tree, is_leaf=lambda node: isinstance(node, LanguageModel))


def _join_and_delete(*layers: jax.Array) -> jax.Array:
    joined = jax.block_until_ready(_join(*layers))
    for layer in layers:
        layer.delete()
    return joined


@jax.jit
def _join(*layers: jax.Array) -> jax.Array:
    return jnp.stack(layers)
