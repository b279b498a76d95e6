"""The training step: one compiled function from (state, batch) to (state, metrics), its input state given up (donated).

Look first at: `losses`, `train_step`, `evaluate_batch`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from linearnexus.core.module import module, scale_rates
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


def token_losses(logits: Float[Array, "B T W"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """Cross-entropy of each token in nats, -ln p(target), in float32 or wider."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def losses(
    model: LanguageModel,
    inputs: Int[Array, "A B T"],
    targets: Int[Array, "A B T"],
    key: Array,
    starts: Bool[Array, "A B T"] | None = None,
    weights: Float[Array, "A B T"] | None = None,
    valid: Bool[Array, "A B T"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What is minimised, and the mean cross-entropy alone, over A batches; they differ by the losses that mixers add.
    The mean goes over all tokens of all batches alike, by their weights. Each batch has dropout under its own key.

    starts, weights, valid: those of `Batch`; None: one text, all tokens alike.
    """
    count = inputs.shape[0]
    share = None if weights is None else count / jnp.maximum(jnp.sum(weights), 1.0)  # of a token of weight 1

    def one(number: int | Array, batch: Any) -> Array:
        ids, goals, begins, weight, real = batch
        out = model(ids, real, begins, key=jax.random.fold_in(key, number))
        entropy = token_losses(out.logits, goals)
        entropy = entropy.mean() if share is None else jnp.sum(entropy * weight) * share
        return jnp.stack([entropy if out.loss is None else entropy + out.loss, entropy])

    batches = (inputs, targets, starts, weights, valid)
    if count == 1:
        total = one(0, jax.tree.map(lambda field: field[0], batches))
        return total[0], total[1]
    # a checkpoint keeps one batch's activations at a time
    numbered = (jnp.arange(count), batches)
    total, _ = lax.scan(lambda sum_, part: (sum_ + jax.checkpoint(one)(*part), None), jnp.zeros(2), numbered)
    total = total / count
    return total[0], total[1]


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def train_step(
    state: TrainState,
    inputs: Int[Array, "A B T"],
    targets: Int[Array, "A B T"],
    rate: Float[Array, ""],
    config: TrainConfig,
    starts: Bool[Array, "A B T"] | None = None,
    weights: Float[Array, "A B T"] | None = None,
    valid: Bool[Array, "A B T"] | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """One update at learning rate `rate`. Metrics: the cross-entropy before it, and the gradient's norm before
    clipping."""
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)

    def objective(model: LanguageModel) -> tuple[Array, Array]:
        return losses(model, inputs, targets, key, starts, weights, valid)

    (_, entropy), gradients = jax.value_and_grad(objective, has_aux=True)(state.model)
    # model and optimizer compute in explicit dtypes; optax's own arithmetic wants the standard promotion
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer = optimizers.build(config).update(
            gradients, state.optimizer, state.model, obj_fn=lambda model: objective(model)[0]
        )
        model = jax.tree.map(lambda weight, update: weight + rate * update, state.model, scale_rates(updates))
    metrics = {"loss": entropy, "grad_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, model, optimizer), metrics


@jax.jit
def evaluate_batch(
    model: LanguageModel,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    starts: Bool[Array, "B T"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The weighted sum of the tokens' losses, and the sum of the weights; dropout is off."""
    return jnp.sum(token_losses(model(inputs, starts=starts).logits, targets) * weights), jnp.sum(weights)
