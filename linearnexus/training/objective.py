"""What a run minimises. An objective is a module without parameters: its fields are data or `static()`.

    loss    what a step differentiates, of one batch
    score   what an evaluation adds up, of one batch held out

Both see the weights that train and those that stay as they were (`frozen`, None where there are none), and a batch of
the objective's own: any pytree of arrays. docs/add_an_objective.md adds one.

Look first at: `Objective`, `CrossEntropy`, `validate`.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from linearnexus.core.module import module, static
from linearnexus.data.batches import Batch
from linearnexus.models.language_model import LanguageModel

Metrics = dict[str, Array]  # scalars
Sums = dict[str, tuple[Array, Array]]  # of each quantity: its weighted sum, and the sum of the weights


def merge_frozen(trained: Any, frozen: LanguageModel | None) -> LanguageModel:
    """The language model: what trains by itself, or (adapters) applied to the weights that stay as they were."""
    return trained.merged(frozen) if hasattr(trained, "merged") else trained


class Objective:
    """The contract. Every method is pure, and runs inside the compiled step."""

    # Does it look at nothing but `merge_frozen(trained, frozen)`? Then an evaluation merges once, not batch by batch.
    merged_only = False

    def loss(self, trained: Any, frozen: LanguageModel | None, batch: Any, key: Array) -> tuple[Array, Metrics]:
        """The scalar to minimise over a batch, and the metrics that are logged; "loss" is the one that curves show.

        `key`: for dropout and whatever else is drawn; it differs from batch to batch.
        """
        raise NotImplementedError

    def accumulated(self, batches: Any) -> Any:
        """The batches of one step, stacked [A, ...], before each goes through `loss` alone.

        The place for what they must know of one another, such as the number of tokens that count.
        """
        return batches

    def score(self, trained: Any, frozen: LanguageModel | None, batch: Any) -> Sums:
        """The sums of an evaluation. It has a "loss"; "accuracy" is shown too. Unless overridden, every batch has the
        same weight, and dropout is off only where `loss` itself turns it off."""
        value, metrics = self.loss(trained, frozen, batch, jax.random.key(0))
        return {name: (sum_, jnp.ones(())) for name, sum_ in {"loss": value, **metrics}.items()}


def token_losses(logits: Float[Array, "B T W"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """The cross-entropy of each token in nats, -ln p(target), in float32 or wider."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


@module
class CrossEntropy(Objective):
    """The mean of -ln p(target) over the tokens of all batches of a step, by their weights; with what the mixers add
    (a mixture of experts balances the load of its experts). The batch is a `data.batches.Batch`."""

    has_answers: bool = static(default=False)  # does an evaluation also count the targets that are found most likely?
    merged_only = True

    def accumulated(self, batches: Batch) -> tuple[Batch, Array | None]:
        """The batches, and the share of a token of weight 1 in the mean of its batch."""
        count = batches.inputs.shape[0]
        if batches.weights is None:
            return batches, None
        share = count / jnp.maximum(jnp.sum(batches.weights), 1.0)
        return batches, jnp.broadcast_to(share, (count,))

    def loss(self, trained: Any, frozen: LanguageModel | None, batch: Any, key: Array) -> tuple[Array, Metrics]:
        (inputs, targets, starts, weights, valid), share = batch
        out = merge_frozen(trained, frozen)(inputs, valid, starts, key=key)
        entropy = token_losses(out.logits, targets)
        entropy = entropy.mean() if share is None else jnp.sum(entropy * weights) * share
        return entropy if out.loss is None else entropy + out.loss, {"loss": entropy}

    def score(self, trained: Any, frozen: LanguageModel | None, batch: Any) -> Sums:
        """Of a `Batch` held out, and the weights [B,T] of its targets."""
        (inputs, targets, starts, _, _), weights = batch
        logits = merge_frozen(trained, frozen)(inputs, starts=starts).logits
        weight = jnp.sum(weights)
        sums = {"loss": (jnp.sum(token_losses(logits, targets) * weights), weight)}
        if self.has_answers:
            right = jnp.sum((jnp.argmax(logits, axis=-1) == targets) * weights)
            sums["accuracy"] = (right, weight)
        return sums


@jax.jit
def score_batch(objective: Objective, trained: Any, frozen: LanguageModel | None, batch: Any) -> Sums:
    """`objective.score`, compiled."""
    return objective.score(trained, frozen, batch)


def validate(
    objective: Objective, trained: Any, frozen: LanguageModel | None, parts: Iterable[tuple[float, Iterable[Any]]]
) -> dict[str, float]:
    """The mean of each quantity over data held out. parts: (share in the whole, batches), the shares adding up to 1."""
    if objective.merged_only:
        trained, frozen = merge_frozen(trained, frozen), None
    whole: dict[str, float] = {}
    for share, batches in parts:
        totals: dict[str, np.ndarray] = {}
        for batch in batches:
            for name, sums in jax.device_get(score_batch(objective, trained, frozen, batch)).items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(sums, np.float64)
        for name, (total, weight) in totals.items():
            whole[name] = whole.get(name, 0.0) + share * float(total / weight)
    return whole
