"""AdamW: a step by the mean of the gradients over the root of their mean square (Loshchilov, Hutter 2019, alg. 2)."""

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


@config("adamw")
class AdamWConfig(OptimizerConfig):
    usual_rate: ClassVar[float] = 3e-3
    takes_stacks: ClassVar[bool] = True

    weight_decay: float = traced(0.1)  # of matrices and embeddings, never of norms, biases, decays
    beta1: float = 0.9  # decay of the mean of gradients
    beta2: float = 0.95  # decay of the mean of squares

    def build(self, values: Mapping[str, Any]) -> "optax.GradientTransformationExtraArgs":
        return optax.adamw(1.0, b1=self.beta1, b2=self.beta2, weight_decay=values["weight_decay"], mask=decays)
