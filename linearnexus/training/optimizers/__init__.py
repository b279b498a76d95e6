"""Optimizers: each is a config in a file of its own, with its fields, its usual learning rate and how it is built.

    AdamW   matrices and embeddings decay, vectors (norms, biases, decays, convolution taps) do not
    Muon    matrices are updated by their orthogonalised momentum, everything else by AdamW
    Sophia  a clipped step over an estimate of the Hessian's diagonal
    Lion    the sign of a momentum

They go by the declared role of each parameter (`core.module`), never by its shape. docs/add_an_optimizer.md adds one.
Importable without JAX.

Look first at: `OptimizerConfig`, `optimizer_config`.
"""

from linearnexus.training.optimizers.adamw import AdamWConfig
from linearnexus.training.optimizers.lion import LionConfig
from linearnexus.training.optimizers.muon import MuonConfig
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig, optimizer_config, traced
from linearnexus.training.optimizers.sophia import SophiaConfig

__all__ = [
    "AdamWConfig",
    "LionConfig",
    "MuonConfig",
    "OptimizerConfig",
    "SophiaConfig",
    "optimizer_config",
    "traced",
]
