"""An exponential moving average of the weights, which often predicts better than the last weights do.

    average <- decay average + (1 - decay) weights        after every step

The weight of the first steps is corrected as Adam corrects its means: with d steps done the decay is at most
(1 + d) / (10 + d), so that the random weights of the beginning are forgotten soon. Polyak and Juditsky (1992) average
all weights; the exponential form and this warm-up are those of TensorFlow's ExponentialMovingAverage.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from linearnexus.training import checkpoint
from linearnexus.training.fit import Hook, Loop


class WeightAverage(Hook):
    """`weights` has the structure of what trains; None: no average was asked for (decay 0)."""

    def __init__(self, decay: float, like: Any) -> None:
        self.decay, self.like = decay, like
        self.weights: Any = None

    def start(self, loop: Loop) -> None:
        if self.decay and self.weights is None:
            self.weights = jax.tree.map(jnp.copy, loop.state.model)

    def after_step(self, loop: Loop) -> None:
        if self.decay:
            decay = min(self.decay, (1 + loop.done) / (10 + loop.done))
            self.weights = _averaged(self.weights, loop.state.model, jnp.float32(decay))

    def arrays(self) -> dict[str, Any]:
        return {} if self.weights is None else {checkpoint.AVERAGE: self.weights}

    def restore(self, saved: Mapping[str, Any], folder: Path) -> None:
        if self.decay:
            self.weights = checkpoint.load_tree(folder / checkpoint.AVERAGE, self.like)


@partial(jax.jit, donate_argnames="average")
def _averaged(average: Any, weights: Any, decay: jax.Array) -> Any:
    def mixed(old: jax.Array, new: jax.Array) -> jax.Array:
        share = decay.astype(old.dtype)
        return share * old + (1 - share) * new

    return jax.tree.map(mixed, average, weights)
