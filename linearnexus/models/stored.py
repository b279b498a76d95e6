"""A trained model with its weights kept smaller than it computes with."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax import Array

from linearnexus.core.errors import unknown
from linearnexus.core.int8 import Int8
from linearnexus.core.module import roles
from linearnexus.models.config import Weights
from linearnexus.models.language_model import LanguageModel


def stored(model: LanguageModel, weights: str) -> LanguageModel:
    """The model with its matrices and tables as bfloat16 or int8; vectors (biases, norms, decays) stay as they are.
    Raises UserError for another name."""
    if weights not in get_args(Weights):
        raise unknown("kind of weights", weights, get_args(Weights))
    if weights == "float32":
        return model

    def smaller(array: Array, role: str) -> Any:
        if role == "vector":
            return array
        if weights == "bfloat16":
            return array.astype(jnp.bfloat16)
        return Int8.of(array, -2 if role == "matrix" else -1)

    return jax.tree.map(smaller, model, roles(model))
