"""The training step: one compiled function from (state, batch) to (state, metrics), its input state given up (donated).

Look first at: `loss`, `train_step`, `evaluate_batch`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from linearnexus.core.module import module
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import optimizers
from linearnexus.training.config import TrainConfig


@module
class TrainState:
    """All that a step changes."""

    step: Array  # [] int32, steps done
    model: LanguageModel
    optimizer: Any  # optax's state


@partial(jax.jit, static_argnames="config")
def init_state(config: TrainConfig) -> TrainState:
    """The state before the first step, from the config's seed."""
    model = LanguageModel.init(config.model, jax.random.key(config.seed))
    return TrainState(jnp.zeros((), jnp.int32), model, optimizers.build(config).init(model))


def token_losses(
    model: LanguageModel, inputs: Int[Array, "B T"], targets: Int[Array, "B T"], key: Array | None = None
) -> Float[Array, "B T"]:
    """Cross-entropy of each token in nats, -ln p(target), in float32 or wider."""
    return optax.softmax_cross_entropy_with_integer_labels(model(inputs, key=key).logits, targets)


def loss(
    model: LanguageModel, inputs: Int[Array, "A B T"], targets: Int[Array, "A B T"], key: Array
) -> Float[Array, ""]:
    """The mean loss over A batches; each has dropout under its own key."""

    def one(number: int | Array, ids: Array, goals: Array) -> Array:
        return token_losses(model, ids, goals, jax.random.fold_in(key, number)).mean()

    if inputs.shape[0] == 1:
        return one(0, inputs[0], targets[0])
    # a checkpoint keeps one batch's activations at a time
    numbered = (jnp.arange(inputs.shape[0]), inputs, targets)
    total, _ = lax.scan(lambda sum_, part: (sum_ + jax.checkpoint(one)(*part), None), jnp.zeros(()), numbered)
    return total / inputs.shape[0]


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def train_step(
    state: TrainState,
    inputs: Int[Array, "A B T"],
    targets: Int[Array, "A B T"],
    rate: Float[Array, ""],
    config: TrainConfig,
) -> tuple[TrainState, dict[str, Array]]:
    """One update at learning rate `rate`. Metrics: the loss before it, and the gradient's norm before clipping."""
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)

    def objective(model: LanguageModel) -> Array:
        return loss(model, inputs, targets, key)

    value, gradients = jax.value_and_grad(objective)(state.model)
    # model and optimizer compute in explicit dtypes; optax's own arithmetic wants the standard promotion
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer = optimizers.build(config).update(gradients, state.optimizer, state.model, obj_fn=objective)
        model = jax.tree.map(lambda weight, update: weight + rate * update, state.model, updates)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, model, optimizer), metrics


@jax.jit
def evaluate_batch(
    model: LanguageModel, inputs: Int[Array, "B T"], targets: Int[Array, "B T"], weights: Float[Array, "B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The weighted sum of the tokens' losses, and the sum of the weights; dropout is off."""
    return jnp.sum(token_losses(model, inputs, targets) * weights), jnp.sum(weights)
