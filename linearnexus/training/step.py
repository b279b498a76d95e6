"""The training step: one compiled function from (state, batch) to (state, metrics); the state that goes in is donated.

The weights of a deep model and what its optimizer remembers are stacks of layers here (`models.stacked`).
What its program depends on is the static part of its arguments: of the model, the objective and the optimizer.
Everything else is data, so another learning rate, schedule, seed or weight decay compiles nothing again.

Look first at: `train_step`, `mean_loss`, `Update`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, UInt

from linearnexus.core.module import apply_lr_multipliers, module
from linearnexus.models.config import ModelConfig, Remat
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.stacked import stacked, unstacked, with_remat
from linearnexus.training.config import TrainConfig
from linearnexus.training.fit import Loop
from linearnexus.training.objective import Metrics, Objective
from linearnexus.training.optimizer import Optimizer, gradient_norm
from linearnexus.training.schedules import learning_rate


@module
class TrainState:
    """All that a step changes."""

    step: Array  # [] int32, steps done
    model: Any  # what trains: a language model, or adapters of one that stays as it is
    optimizer: Any  # optax's state


def new_state(trained: Any, optimizer: Optimizer) -> TrainState:
    """The state before the first step; the layers of a deep model are stacked, where the optimizer takes stacks."""
    trained = stacked(trained) if optimizer.config.takes_stacks else unstacked(trained)
    return TrainState(jnp.zeros((), jnp.int32), trained, optimizer.init(trained))


def random_state(config: TrainConfig) -> TrainState:
    """The state before the first step, the weights random from the config's seed."""
    return _compiled_random()(config.model, Optimizer.of(config), jnp.uint32(config.seed))


@cache
def _compiled_random() -> Callable[[ModelConfig, Optimizer, Array], TrainState]:
    """It runs once, so a CPU's compiler should not take long over it (2.1 s become 1.4, for the same numbers)."""
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(draw_state, static_argnames="model", compiler_options=options)


def draw_state(model: ModelConfig, optimizer: Optimizer, seed: Array) -> TrainState:
    """`random_state`, not compiled."""
    return new_state(LanguageModel.init(model, jax.random.key(seed)), optimizer)


def mean_loss(
    objective: Objective, trained: Any, frozen: LanguageModel | None, batches: Any, key: Array
) -> tuple[Float[Array, ""], Metrics]:
    """The objective's loss and metrics, averaged over the A batches of a step. Each batch has a key of its own; the
    activations of one batch at a time are kept."""
    count = jax.tree.leaves(batches)[0].shape[0]
    batches = objective.accumulated(batches)

    def one(number: int | Array, batch: Any) -> tuple[Array, Metrics]:
        return objective.loss(trained, frozen, batch, jax.random.fold_in(key, number))

    if count == 1:
        return one(0, jax.tree.map(lambda field: field[0], batches))
    numbered = (jnp.arange(count), batches)
    shapes = jax.eval_shape(one, 0, jax.tree.map(lambda field: field[0], batches))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, jax.checkpoint(one)(*part)), None

    total, _ = lax.scan(add, zeros, numbered)
    return jax.tree.map(lambda sum_: sum_ / count, total)


@partial(jax.jit, donate_argnames="state", static_argnames="remat")
def train_step(
    state: TrainState,
    batches: Any,
    rate: Float[Array, ""],
    seed: UInt[Array, ""],
    objective: Objective,
    optimizer: Optimizer,
    frozen: LanguageModel | None = None,
    remat: Remat = "norms",
) -> tuple[TrainState, Metrics]:
    """One update at learning rate `rate`.

    batches: a pytree of the objective's own, [A, ...]: the gradients of A batches are averaged. seed: of the run; each
    step has a key of its own. frozen: weights that the objective needs and that stay as they are. remat: what the
    gradient computes again (`models.remat`). The metrics are the objective's before the update, and the norm of the
    gradient before clipping.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss(trained: Any) -> tuple[Array, Metrics]:
        return mean_loss(objective, with_remat(trained, remat), with_remat(frozen, remat), batches, key)

    (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.model)
    # model and optimizer compute in explicit dtypes; optax's own arithmetic wants the standard promotion
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = optimizer.update(
            gradients, state.optimizer, state.model, lambda trained: loss(trained)[0]
        )
        trained = jax.tree.map(
            lambda weight, update: weight + rate * update, state.model, apply_lr_multipliers(updates)
        )
        metrics = {**metrics, "grad_norm": gradient_norm(gradients)}
    return TrainState(state.step + 1, trained, optimizer_state), metrics


@dataclass(frozen=True)
class Update:
    """The step of a run, as `fit` calls it: `train_step` at the rate of the run's schedule."""

    config: TrainConfig
    objective: Objective
    frozen: LanguageModel | None = None

    def __call__(self, state: TrainState, batch: Any, loop: Loop) -> tuple[TrainState, Metrics, float]:
        rate = learning_rate(self.config, loop.done, loop.total)
        return (*self.at_rate(state, batch, rate), rate)

    def at_rate(self, state: TrainState, batch: Any, rate: float) -> tuple[TrainState, Metrics]:
        """The step at a given learning rate."""
        remat = self.config.remat
        return train_step(
            state, batch, jnp.float32(rate), self.seed, self.objective, self.optimizer, self.frozen, remat
        )

    @cached_property
    def seed(self) -> Array:
        return jnp.uint32(self.config.seed)

    @cached_property
    def optimizer(self) -> Optimizer:
        return Optimizer.of(self.config)
