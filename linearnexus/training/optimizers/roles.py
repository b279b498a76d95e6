"""What the optimizers ask of a model's parameters, by their roles, as the trees that optax wants.

Importable without JAX; the functions are called while a step is traced.
"""

from typing import TYPE_CHECKING, Any

from linearnexus.core.lazy import LazyPackage
from linearnexus.core.module import matrix_dims, roles

if TYPE_CHECKING:
    import jax
    import optax
else:
    jax, optax = LazyPackage("jax"), LazyPackage("optax")


def decays(model: Any) -> Any:
    """True where weight decay applies."""
    return jax.tree.map(lambda role: role != "vector", roles(model))


def rows_and_columns(matrices: Any) -> Any:
    """Which dimensions are the rows and columns of each matrix, as its field declares; those before them are a stack,
    such as that of experts, of which each matrix is orthogonalised by itself."""

    def numbers(_: Any, dims: Any) -> Any:
        return optax.contrib.MuonDimensionNumbers(dims.rows, dims.columns)

    return jax.tree.map(numbers, matrices, matrix_dims(matrices))
