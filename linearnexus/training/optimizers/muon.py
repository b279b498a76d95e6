"""Muon: matrices are updated by their orthogonalised momentum, everything else by AdamW (Jordan et al. 2024)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from linearnexus.core.config import config
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.module import roles
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig, traced
from linearnexus.training.optimizers.roles import rows_and_columns

if TYPE_CHECKING:
    import optax
else:
    optax = LazyPackage("optax")

USUAL_MATRIX_RATE = 0.02


@config("muon")
class MuonConfig(OptimizerConfig):
    """Two peak learning rates: `matrix_learning_rate` for the matrices, the run's `learning_rate` for the rest. The
    schedule moves both alike."""

    usual_rate: ClassVar[float] = 5e-3
    takes_stacks: ClassVar[bool] = True

    matrix_learning_rate: float = traced(
        USUAL_MATRIX_RATE
    )  # Muon only: the peak for matrices, learning_rate is for the rest
    weight_decay: float = traced(0.1)  # of matrices and embeddings, never of norms, biases, decays
    beta1: float = 0.9  # AdamW's decay of the mean of gradients
    beta2: float = 0.95  # AdamW's decay of the mean of squares

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = self.matrix_learning_rate
        self._check(("matrix_learning_rate", 0 < rate < math.inf, "give a step size above 0"))

    def values(self, learning_rate: float) -> dict[str, float]:
        share = self.matrix_learning_rate / learning_rate  # the step multiplies all updates by the rate of the rest
        return {"weight_decay": self.weight_decay, "share": share, "matrix_decay": self.weight_decay / share}

    def build(self, values: Mapping[str, Any]) -> "optax.GradientTransformationExtraArgs":
        # optax's own Muon gives AdamW with Nesterov momentum to what is not a matrix, and decays none of it
        adam = {"b1": self.beta1, "b2": self.beta2}
        matrices = optax.contrib.muon(
            values["share"],
            weight_decay=values["matrix_decay"],
            muon_weight_dimension_numbers=rows_and_columns,
        )
        return optax.partition(
            {
                "matrix": matrices,
                "embedding": optax.adamw(1.0, **adam, weight_decay=values["weight_decay"]),
                "vector": optax.adamw(1.0, **adam, weight_decay=0.0),
            },
            roles,
        )

    def at_rate(self, learning_rate: float) -> Self:
        share = self.matrix_learning_rate / self.usual_rate
        return dataclasses.replace(self, matrix_learning_rate=share * learning_rate)

    def times_usual(self, learning_rate: float) -> float:
        """The one of its two rates that is further from the usual one."""
        times = (learning_rate / self.usual_rate, self.matrix_learning_rate / USUAL_MATRIX_RATE)
        return max(times, key=lambda time: abs(math.log(time)))
