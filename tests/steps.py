"""The compiled step and the loss of a language model, called as the tests want them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from linearnexus.data.batches import Batch
from linearnexus.training.config import TrainConfig
from linearnexus.training.objective import CrossEntropy
from linearnexus.training.optimizer import Optimizer
from linearnexus.training.step import TrainState, mean_loss, train_step

# What is computed is the same without LLVM's optimisation, which takes most of the compile time.
QUICK = {"xla_backend_optimization_level": 0}
_quick_step = jax.jit(train_step.__wrapped__, compiler_options=QUICK)


def arguments(state: Any, inputs: Any, targets: Any, rate: Any, config: TrainConfig) -> tuple[Any, ...]:
    """The arguments of `train_step` in a run of this config."""
    seed = jnp.uint32(config.seed)
    return state, Batch(inputs, targets), jnp.float32(rate), seed, CrossEntropy(), Optimizer.of(config)


def quick_step(
    state: TrainState, inputs: Any, targets: Any, rate: Any, config: TrainConfig
) -> tuple[TrainState, dict[str, Array]]:
    """`train_step`, which keeps the state that it is given."""
    return _quick_step(*arguments(state, inputs, targets, rate, config))


def losses(model: Any, inputs: Any, targets: Any, key: Array, *documents: Any) -> tuple[Array, Array]:
    """What a step minimises, and the cross-entropy alone, of batches [A, B, T]; `documents`: starts, weights, valid."""
    loss, metrics = mean_loss(CrossEntropy(), model, None, Batch(inputs, targets, *documents), key)
    return loss, metrics["loss"]
