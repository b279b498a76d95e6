"""Optimizers, from optax, by the declared role of each parameter (never by its shape).

    AdamW   matrices and embeddings decay, vectors (norms, biases, decays, convolution taps) do not
    Muon    matrices are updated by their orthogonalised momentum, everything else by AdamW (Jordan et al. 2024)
    Sophia  AdamW's place with a clipped step over an estimate of the Hessian's diagonal (Liu et al. 2023, algorithm 3)
    Lion    the sign of a momentum (Chen et al. 2023)

Every optimizer here is built for a peak learning rate of 1. The step multiplies its updates by the schedule's rate,
which is therefore plain data: a longer run or another schedule compiles nothing again.

Look first at: `build`.
"""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon, sophia

from linearnexus.core.module import roles
from linearnexus.training.config import TrainConfig


def build(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a run; `update` takes the loss as `obj_fn`, a function of the model, which Sophia needs."""
    decay, betas = config.weight_decay, {"b1": config.beta1, "b2": config.beta2}
    if config.optimizer == "muon":
        # optax's own Muon gives what is no matrix to Adam with Nesterov momentum, and decays none of it
        share = config.matrix_learning_rate / config.rate
        core = optax.partition(
            {
                "matrix": muon(share, weight_decay=decay / share, muon_weight_dimension_numbers=_last_two),
                "embedding": optax.adamw(1.0, **betas, weight_decay=decay),
                "vector": optax.adamw(1.0, **betas, weight_decay=0.0),
            },
            roles,
        )
    elif config.optimizer == "sophia":
        core = sophia(1.0, **betas, weight_decay=decay, weight_decay_mask=_decays)
    elif config.optimizer == "lion":
        core = optax.lion(1.0, **betas, weight_decay=decay, mask=_decays)
    else:
        core = optax.adamw(1.0, **betas, weight_decay=decay, mask=_decays)
    clip = optax.clip_by_global_norm(config.gradient_clip) if config.gradient_clip else optax.identity()
    return optax.chain(clip, core)


def _last_two(matrices: Any) -> Any:
    """A matrix is [in, out]; an expert's is one of a stack [experts, in, out], orthogonalised by itself."""
    return jax.tree.map(lambda weight: MuonDimensionNumbers(weight.ndim - 2, weight.ndim - 1), matrices)


def _decays(model: Any) -> Any:
    """True where weight decay applies."""
    return jax.tree.map(lambda role: role != "vector", roles(model))
