"""The training step: one compiled function from (state, batch) to (state, metrics), its input state given up (donated).

Look first at: `losses`, `train_step`, `evaluate_batch`.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from linearnexus.core.module import apply_lr_multipliers, module
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import optimizers
from linearnexus.training.config import TrainConfig


@module
class TrainState:
    """All that a step changes."""

    step: Array  # [] int32, steps done
    model: Any  # what trains: a language model, or what changes one that stays as it is
    optimizer: Any  # optax's state


def compiled_for(config: TrainConfig) -> TrainConfig:
    """The config with only what the step's program depends on: runs that differ in the rest compile it once."""
    kept = ["model", "sequence_length", "optimizer", "weight_decay", "beta1", "beta2", "gradient_clip"]
    kept += ["seed"] if config.model.dropout else []
    kept += ["learning_rate", "matrix_learning_rate"] if config.optimizer == "muon" else []  # their share
    return TrainConfig(**{name: getattr(config, name) for name in kept})


def init_state(config: TrainConfig, base: LanguageModel | None = None) -> TrainState:
    """The state before the first step: random from the config's seed, or from the weights of another run."""
    if base is not None:
        return _begun(config, base)
    return _compiled_random()(compiled_for(config), jnp.uint32(config.seed))


def state_like(config: TrainConfig, base: LanguageModel | None = None) -> TrainState:
    """The shapes and dtypes of `init_state`."""
    if base is not None:
        return jax.eval_shape(partial(_begun, config), base)
    return jax.eval_shape(partial(_random, config), jnp.uint32(0))


@cache
def _compiled_random() -> Callable[[TrainConfig, Array], TrainState]:
    """It runs once, so a CPU's compiler should not take long over it (2.1 s become 1.4, for the same numbers)."""
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(_random, static_argnames="config", compiler_options=options)


def _random(config: TrainConfig, seed: Array) -> TrainState:
    return _new(config, LanguageModel.init(config.model, jax.random.key(seed)))


@partial(jax.jit, static_argnames="config")
def _begun(config: TrainConfig, base: LanguageModel) -> TrainState:
    return _new(config, config.trainable(base))


def _new(config: TrainConfig, model: Any) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), model, optimizers.build(config).init(model))


def whole(trained: Any, kept: LanguageModel | None) -> LanguageModel:
    """The language model: what trains by itself, or with the weights that are kept as they were."""
    return trained if kept is None else trained.merged(kept)


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
    kept: LanguageModel | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """One update at learning rate `rate`. Metrics: the cross-entropy before it, and the gradient's norm before
    clipping. `kept`: the weights that stay as they are, where not the whole model trains."""
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)

    def objective(trained: Any) -> tuple[Array, Array]:
        return losses(whole(trained, kept), inputs, targets, key, starts, weights, valid)

    (_, entropy), gradients = jax.value_and_grad(objective, has_aux=True)(state.model)
    # model and optimizer compute in explicit dtypes; optax's own arithmetic wants the standard promotion
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer = optimizers.build(config).update(
            gradients, state.optimizer, state.model, obj_fn=lambda model: objective(model)[0]
        )
        model = jax.tree.map(lambda weight, update: weight + rate * update, state.model, apply_lr_multipliers(updates))
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
    loss, weight, _ = evaluate_answers(model, inputs, targets, weights, starts)
    return loss, weight


@jax.jit
def evaluate_answers(
    model: LanguageModel,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    starts: Bool[Array, "B T"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """The same, and the weighted number of targets that the model finds most likely."""
    logits = model(inputs, starts=starts).logits
    right = jnp.sum((jnp.argmax(logits, axis=-1) == targets) * weights)
    return jnp.sum(token_losses(logits, targets) * weights), jnp.sum(weights), right
