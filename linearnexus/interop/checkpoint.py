"""A published model that has been opened: its settings and every tensor's name, shape and type have been checked, and
none of its numbers has been read yet.

Look first at: `Checkpoint.tensors`, `check`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from linearnexus.core.errors import UserError
from linearnexus.core.module import named_leaves
from linearnexus.core.tensor_file import shown
from linearnexus.interop.layouts import Entry
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.tokenizers.tokenizer import Tokenizer

Shape = tuple[int, ...]
FLOATS = ("F32", "F16", "BF16")


class TensorSource(Protocol):
    """Where tensors come from: the files of a folder, a GGUF file."""

    @property
    def kinds(self) -> Mapping[str, tuple[str, Shape]]:
        """The type and the shape of each tensor."""

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32."""

    def where(self, name: str) -> str:
        """The file that it lies in."""


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    family: str
    config: ModelConfig
    tokenizer: Tokenizer
    context_length: int  # tokens that it was trained with
    entries: list[Entry]
    source: TensorSource

    @property
    def shapes(self) -> dict[str, Shape]:
        """Of our tensors, in the order in which `tensors` gives them."""
        known = shapes_of(self.config)
        return {name: known[name] for entry in self.entries for name in entry.ours.split()}

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    def tensors(self) -> Iterator[np.ndarray]:
        """Our tensors, one after another; a tensor of theirs is read when its turn comes."""
        known = shapes_of(self.config)
        for entry in self.entries:
            theirs = [self.source.read(name) for name in entry.theirs.split()]
            yield from entry.layout.to_ours(theirs) if theirs else [np.zeros(known[entry.ours], np.float32)]

    def model(self) -> LanguageModel:
        like = empty(self.config)
        arrays = {name: jnp.array(array) for name, array in zip(self.shapes, self.tensors(), strict=True)}
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in named_leaves(like)])


@lru_cache(maxsize=8)
def empty(config: ModelConfig) -> LanguageModel:
    """The model as shapes, nothing allocated."""
    return LanguageModel.shapes(config)


def shapes_of(config: ModelConfig) -> Mapping[str, Shape]:
    """The shapes of our tensors by their names."""
    return {name: leaf.shape for name, leaf in named_leaves(empty(config)).items()}


def their_shapes(entries: list[Entry], ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes that their tensors have, in the order of the entries."""
    found: dict[str, Shape] = {}
    for entry in entries:
        names = entry.theirs.split()
        if names:
            mine = [jax.ShapeDtypeStruct(ours[name], np.float32) for name in entry.ours.split()]
            theirs: Any = jax.eval_shape(entry.layout.to_theirs, mine)
            found |= {name: one.shape for name, one in zip(names, theirs, strict=True)}
    return found


def check(checkpoint: Checkpoint, ignored: str = r"(?!)") -> Checkpoint:
    """The checkpoint. Raises UserError for a tensor that is missing, has another shape or is of a type that weights are
    not of, for one that has no place in the model, and for a tokenizer with more tokens than the embedding."""
    config, kinds, path = checkpoint.config, checkpoint.source.kinds, checkpoint.path
    for name in (name for entry in checkpoint.entries for name in entry.theirs.split()):
        if name not in kinds:
            raise UserError(f"{path} has no tensor {name}, which its settings ask for; take the whole model again.")
    wanted = their_shapes(checkpoint.entries, shapes_of(config))  # the work of as many layers as the file has
    for name, shape in wanted.items():
        kind, given = kinds[name]
        if kind not in FLOATS:
            raise UserError(
                f"{checkpoint.source.where(name)}: tensor {shown(name)} is {kind}, and weights are read as "
                f"{', '.join(FLOATS)}; take the model in one of these."
            )
        if given != shape:
            raise UserError(
                f"{checkpoint.source.where(name)}: tensor {name} is {list(given)}, and the settings of the model ask "
                f"for {list(shape)}; take both from the same model."
            )
    tied = {"lm_head.weight"} if config.tie_embeddings else set()
    for name in kinds:
        if name not in wanted and name not in tied and not re.fullmatch(ignored, name):
            raise UserError(
                f"{checkpoint.source.where(name)}: tensor {shown(name)} has no place in the model that the settings "
                f"describe ({checkpoint.family}); take both from the same model."
            )
    if checkpoint.tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{path}: the tokenizer has {checkpoint.tokenizer.vocab_size:,} tokens and the embedding only "
            f"{config.vocab_size:,}; take both from the same model."
        )
    return checkpoint
