"""Weights kept as int8 with a scale for each output: a quarter of float32's memory, and a running model reads less.

    W ~ values * scale        values from -127 to 127, scale = max |W| / 127 of a column (of a table: of a row)

Products are computed in the activations' dtype all the same. Nothing here is for training.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from linearnexus.core.module import module


@module
class Int8:
    """A matrix [..., D, E] with the scales [..., 1, E] of its columns (E may be several dimensions), or a table [W, D]
    with those [W, 1] of its rows.
    It has what layers ask of an array: shape, dtype (of the scales), `T`, items, `astype`."""

    values: Array
    scale: Array

    @classmethod
    def of(cls, array: Float[Array, "..."], axis: int | tuple[int, ...]) -> "Int8":
        """`axis`: what the products sum over."""
        largest = jnp.max(jnp.abs(array), axis, keepdims=True)
        scale = jnp.where(largest > 0, largest, 1) / 127
        return cls(jnp.round(array / scale).astype(jnp.int8), scale)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.scale.dtype

    @property
    def T(self) -> Array:
        return self.astype(self.dtype).T

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> "Int8":
        return Int8(self.values[index], self.scale[index])

    def astype(self, dtype: DTypeLike) -> Array:
        """The weights themselves."""
        return self.values.astype(dtype) * self.scale.astype(dtype)
