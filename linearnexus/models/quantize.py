"""A trained model with its weights kept smaller than it computes with.

Look first at: `quantize`, `quantizer`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, get_args

import jax
import jax.numpy as jnp
from jax import Array

from linearnexus.core.errors import unknown
from linearnexus.core.int8 import Int8
from linearnexus.core.module import matrix_dims, roles
from linearnexus.models.config import Weights

T = TypeVar("T")
# From an array, its role and (of a matrix) its MatrixDims to what is kept of it.
Quantizer = Callable[[Array, str, Any], Any]


def quantizer(weights: str) -> Quantizer:
    """Matrices and tables as bfloat16 or int8, vectors (biases, norms, decays) as they are. Raises UserError for
    another name."""
    if weights not in get_args(Weights):
        raise unknown("kind of weights", weights, get_args(Weights))
    return partial(_quantized, weights)


def quantize(model: T, weights: str) -> T:
    """The model with its weights kept so. Raises UserError."""
    return jax.tree.map(quantizer(weights), model, roles(model), matrix_dims(model))


def _quantized(weights: str, array: Array, role: str, dims: Any) -> Any:
    if weights == "float32" or role == "vector":
        return array
    return array.astype(jnp.bfloat16) if weights == "bfloat16" else _int8(array, dims.rows if role == "matrix" else -1)


_int8 = jax.jit(Int8.of, static_argnums=1)
