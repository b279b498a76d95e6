"""Sophia: a clipped step over an estimate of the Hessian's diagonal (Liu et al. 2023, algorithm 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from linearnexus.core.config import config
from linearnexus.core.lazy import LazyPackage
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig, traced
from linearnexus.training.optimizers.roles import decays

if TYPE_CHECKING:
    import optax
else:
    optax = LazyPackage("optax")


@config("sophia")
class SophiaConfig(OptimizerConfig):
    """Every tenth step it also differentiates along a random direction, for the estimate (Hutchinson's). The direction
    is drawn parameter by parameter, so the layers of a deep model are not stacked."""

    usual_rate: ClassVar[float] = 1e-3

    weight_decay: float = traced(0.1)  # of matrices and embeddings, never of norms, biases, decays
    beta1: float = 0.9  # decay of the mean of gradients
    beta2: float = 0.95  # decay of the mean of the estimates

    def build(self, values: Mapping[str, Any]) -> "optax.GradientTransformationExtraArgs":
        decay = values["weight_decay"]
        return optax.contrib.sophia(1.0, b1=self.beta1, b2=self.beta2, weight_decay=decay, weight_decay_mask=decays)
