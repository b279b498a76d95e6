"""Lion: a step by the sign of a momentum (Chen et al. 2023, algorithm 2)."""

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


@config("lion")
class LionConfig(OptimizerConfig):
    usual_rate: ClassVar[float] = 3e-4
    takes_stacks: ClassVar[bool] = True

    weight_decay: float = traced(0.1)  # of matrices and embeddings, never of norms, biases, decays
    beta1: float = 0.9  # share of the momentum in a step's direction
    beta2: float = 0.95  # decay of the momentum

    def build(self, values: Mapping[str, Any]) -> "optax.GradientTransformationExtraArgs":
        return optax.lion(1.0, b1=self.beta1, b2=self.beta2, weight_decay=values["weight_decay"], mask=decays)
