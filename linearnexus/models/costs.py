"""What a model costs, from shapes alone: no weight is allocated.

Look first at: `costs`.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax

from linearnexus.core.module import roles
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel


@dataclass(frozen=True)
class Costs:
    """Counts of one model; bytes are for one sequence in the activations' dtype."""

    parameters: int
    model: LanguageModel  # of shapes
    rough: int  # the guide's formula, 12 n_layer hidden_size^2

    def flops(self, context: int) -> float:
        """Forward FLOPs a token, averaged over a sequence of `context` tokens: two for each weight used of a matrix
        product (the output head is one), and what the mixers do between tokens. Training costs three times as many."""
        sizes = zip(jax.tree.leaves(self.model), jax.tree.leaves(roles(self.model)), strict=True)
        matrices = sum(math.prod(leaf.shape) for leaf, role in sizes if role == "matrix")
        config = self.model.config
        channel = (config.block(layer).channel_mixer for layer in range(config.n_layer))
        matrices -= sum(mixer.idle(config.hidden_size) for mixer in channel if mixer is not None)
        head = config.vocab_size * config.hidden_size
        mixers = (config.block(layer).mixer for layer in range(config.n_layer))
        return 2 * (matrices + head) + sum(mixer.sequence_flops(config.hidden_size, context) for mixer in mixers)

    def state_bytes(self, length: int) -> int:
        """Bytes that generation remembers of a sequence of `length` tokens: key-value caches and recurrent states."""
        return sum(self.layer_state_bytes(length))

    def layer_state_bytes(self, length: int) -> list[int]:
        """The same, layer by layer."""
        state = jax.eval_shape(lambda: self._zeros().init_state(1, length))
        return [sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(layer)) for layer in state.layers]

    def _zeros(self) -> Any:
        """The model as traced zeros: only inside eval_shape, where nothing is allocated."""
        return jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), self.model)


def costs(config: ModelConfig) -> Costs:
    """The costs of a model of this config."""
    model = LanguageModel.shapes(config)
    return Costs(count(model), model, 12 * config.n_layer * config.hidden_size**2)


def count(tree: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
