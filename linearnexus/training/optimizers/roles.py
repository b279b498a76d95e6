"""What the optimizers ask of a model's parameters, by their roles, as the trees that optax wants.

Importable without JAX; the functions are called while a step is traced.
"""

from typing import TYPE_CHECKING, Any

from linearnexus.core.lazy import LazyPackage
from linearnexus.core.module import roles

if TYPE_CHECKING:
    import jax
    import optax
else:
    jax, optax = LazyPackage("jax"), LazyPackage("optax")


def decays(model: Any) -> Any:
    """True where weight decay applies."""
    return jax.tree.map(lambda role: role != "vector", roles(model))


def last_two_dimensions(matrices: Any) -> Any:
    """A matrix is [in, out]; an expert's is one of a stack [experts, in, out], orthogonalised by itself."""

    def numbers(weight: Any) -> Any:
        return optax.contrib.MuonDimensionNumbers(weight.ndim - 2, weight.ndim - 1)

    return jax.tree.map(numbers, matrices)
