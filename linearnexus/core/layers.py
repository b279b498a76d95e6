"""Layers that every block uses: the matrix product, norms, rotary positions, dropout.

Look first at: `linear`, `RMSNorm`, `rotary`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from linearnexus.core.forms import op
from linearnexus.core.int8 import Int8
from linearnexus.core.module import module, static, vector
from linearnexus.core.tuning import CPU, ProductTuning

F = TypeVar("F", bound=Callable[..., Any])

_RECOMPUTED: ContextVar[bool] = ContextVar("recomputed", default=True)


def cheap(function: F) -> F:
    """Marks what costs little to compute: unless `recompute_cheap` says otherwise, the backward pass keeps its inputs
    and computes the inside again."""
    recomputed = jax.checkpoint(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return (recomputed if _RECOMPUTED.get() else function)(*arguments)

    return cast(F, call)


@contextmanager
def recompute_cheap(recomputed: bool) -> Iterator[None]:
    """Decides for what is traced inside whether the backward pass computes the `cheap` again (`models.remat`)."""
    before = _RECOMPUTED.set(recomputed)
    try:
        yield
    finally:
        _RECOMPUTED.reset(before)


def wide_dtype(dtype: DTypeLike) -> jnp.dtype:
    """float32, or the dtype itself where that is wider. (`jnp.promote_types` raises under strict promotion.)"""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits > 32 else jnp.dtype(jnp.float32)


def at_least_float32(x: Array | Int8) -> Array:
    """The array in float32 or wider: softmax, norms, decays and states are computed in it; float64 stays float64."""
    return x.astype(wide_dtype(x.dtype))


@op("layers.linear", tuned="products")
def linear(
    x: Float[Array, "... D"],
    weight: Float[Array, "D E"] | Int8,
    bias: Float[Array, "E"] | None = None,
    *,
    tuning: ProductTuning = CPU.products,
) -> Float[Array, "... E"]:
    """`x @ weight + bias` in x's dtype.

    The product is written in two dimensions: with three, XLA's CPU backend makes a slow transposing copy for the
    weight's gradient (1.3 to 1.5 times the time of a small training step when measured).
    """
    flat = x.reshape(-1, x.shape[-1])
    if isinstance(weight, Int8):
        y = flat @ _converted(weight.values, flat, tuning) * weight.scale.astype(x.dtype)
    else:
        y = flat @ _converted(weight, flat, tuning)
    if bias is not None:
        y = y + row(bias, y)
    return y.reshape(*x.shape[:-1], weight.shape[-1])


@op("layers.linear_parts", tuned="products")
def linear_parts(
    x: Float[Array, "... D"], weight: Float[Array, "D P E"] | Int8, *, tuning: ProductTuning = CPU.products
) -> list[Float[Array, "... E"]]:
    """`linear` with each of P weights [D, E] that are stored as one array.

    On a CPU it is one product of two dimensions: of three, XLA would transpose the weight's gradient (1.2 times the
    time of such a product). Elsewhere each part's columns stay a dimension, which can be sharded.
    """
    flat, whole = x.reshape(-1, x.shape[-1]), weight.values if isinstance(weight, Int8) else weight
    parts = lax.platform_dependent(flat, _converted(whole, flat, tuning), cpu=_parts_side_by_side, default=_parts_apart)
    if isinstance(weight, Int8):
        parts = [y * weight.scale[:, place].astype(x.dtype) for place, y in enumerate(parts)]
    return [y.reshape(*x.shape[:-1], -1) for y in parts]


def _parts_side_by_side(x: Float[Array, "N D"], weight: Float[Array, "D P E"]) -> list[Float[Array, "N E"]]:
    return jnp.split(x @ weight.reshape(len(weight), -1), weight.shape[1], axis=-1)


def _parts_apart(x: Float[Array, "N D"], weight: Float[Array, "D P E"]) -> list[Float[Array, "N E"]]:
    y = jnp.tensordot(x, weight, 1)
    return [y[:, place] for place in range(y.shape[1])]


@op("layers.unembed", tuned="products")
def unembed(
    x: Float[Array, "... D"], rows: Float[Array, "W D"] | Int8, *, tuning: ProductTuning = CPU.products
) -> Float[Array, "... W"]:
    """`x @ rows.T` in x's dtype: a score for each row of an embedding.

    For a token or a few it is written `rows @ x.T`: the other way XLA's CPU backend transposes all rows for every token
    (GPT-2 124M writes twice as fast). Rows that are kept smaller are converted a block at a time.
    """
    flat = x.reshape(-1, x.shape[-1])
    values = rows.values if isinstance(rows, Int8) else rows
    if len(flat) > tuning.few:
        y = flat @ values.astype(x.dtype).T
    elif values.dtype.itemsize < x.dtype.itemsize:
        size = min(len(values), max(1, tuning.block // values.shape[1]))

        def block(number: Array, y: Array) -> Array:
            first = jnp.minimum(number * size, len(values) - size)
            part = lax.dynamic_slice_in_dim(values, first, size)
            return lax.dynamic_update_slice_in_dim(y, part.astype(x.dtype) @ flat.T, first, 0)

        y = lax.fori_loop(0, -(-len(values) // size), block, jnp.zeros((len(values), len(flat)), x.dtype)).T
    else:
        y = (values.astype(x.dtype) @ flat.T).T
    if isinstance(rows, Int8):
        y = y * rows.scale[:, 0].astype(x.dtype)
    return y.reshape(*x.shape[:-1], len(rows))


def _converted(weight: Array, x: Float[Array, "N D"], tuning: ProductTuning) -> Array:
    """A weight in x's dtype. Of one that is kept smaller, XLA would convert all layers before a loop over tokens, and
    the loop would read those: for a few tokens it is told that the weight comes with x."""
    if len(x) <= tuning.few and weight.dtype.itemsize < x.dtype.itemsize:
        weight, _ = lax.optimization_barrier((weight, x))
    return weight.astype(x.dtype)


@module
class RMSNorm:
    """`x / rms(x) * (offset + scale)`, computed in float32 (Zhang and Sennrich 2019, equation 4); the scale is
    optional."""

    scale: Array | None = vector("embed")
    eps: float = static(default=1e-5)
    offset: float = static(default=0.0)

    @classmethod
    def init(cls, size: int, eps: float = 1e-5, scale: bool = True, offset: float = 0.0) -> "RMSNorm":
        return cls(jnp.ones(size) - offset if scale else None, eps, offset)

    @cheap
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        wide = at_least_float32(x)
        y = rms_normalized(wide, self.eps)
        return (y if self.scale is None else y * (row(self.scale, wide) + self.offset)).astype(x.dtype)


@module
class LayerNorm:
    """`(x - mean) / std * scale + bias`, computed in float32 (Ba, Kiros and Hinton 2016, equation 4); the bias is
    optional."""

    scale: Array = vector("embed")
    bias: Array | None = vector("embed", default=None)
    eps: float = static(default=1e-5)

    @classmethod
    def init(cls, size: int, bias: bool = True, eps: float = 1e-5) -> "LayerNorm":
        return cls(jnp.ones(size), jnp.zeros(size) if bias else None, eps)

    @cheap
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        wide = at_least_float32(x)
        y = layer_normalized(wide, self.eps) * row(self.scale, wide)
        if self.bias is not None:
            y = y + row(self.bias, wide)
        return y.astype(x.dtype)


def rms_normalized(x: Float[Array, "... D"], eps: float = 1e-5) -> Float[Array, "... D"]:
    """`x / rms(x)`, in x's dtype."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def layer_normalized(x: Float[Array, "... D"], eps: float = 1e-5) -> Float[Array, "... D"]:
    """`(x - mean) / std`, in x's dtype."""
    return rms_normalized(x - jnp.mean(x, axis=-1, keepdims=True), eps)


def heads_normalized(x: Float[Array, "... H V"], norm: LayerNorm) -> Float[Array, "... E"]:
    """The norm over each head by itself, then its scale and bias [E = H*V] for the channels of all heads: a group norm
    (Wu and He 2018), in x's dtype."""
    y = layer_normalized(x, norm.eps).reshape(*x.shape[:-2], -1)
    y = y * row(norm.scale, y)
    return y if norm.bias is None else y + row(norm.bias, y)


def l2_normalized(x: Float[Array, "... D"], eps: float = 1e-6) -> Float[Array, "... D"]:
    """`x / |x|`, in x's dtype; the epsilon lies inside the root, as in the official delta-rule codes."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + eps)


def row(vector: Float[Array, "D"], like: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """A [D] vector in the dtype and rank of `like`, so that strict promotion of ranks and dtypes is satisfied."""
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - 1) + vector.shape)


def rotary(
    x: Float[Array, "... H K"],
    position: Int[Array, "..."],
    theta: float,
    scaled: Callable[[Array], Array] = lambda rate: rate,
) -> Float[Array, "... H K"]:
    """Rotates each pair (x[i], x[i + K/2]) by the angle `position * theta^(-2i/K)` (Su et al. 2021, equation 34, in the
    split-half layout of GPT-NeoX and Llama). Scores of two rotated vectors depend on the difference of their
    positions. `scaled`: other angles per position than these, for texts longer than those of the first training."""
    half = x.shape[-1] // 2
    wide = at_least_float32(x)
    rate = scaled(theta ** (-jnp.arange(half, dtype=wide.dtype) / half))
    angle = position.astype(wide.dtype)[..., None, None] * rate.reshape((1,) * (x.ndim - 1) + (half,))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = wide[..., :half], wide[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


@module
class Dropout:
    """Zeroes each element with probability `rate` and scales the rest by 1 / (1 - rate). Each use folds in its own
    number."""

    key: Array
    rate: float = static()

    def fold(self, number: int | Int[Array, ""]) -> "Dropout":
        # through int32: `fold_in` refuses a negative Python int
        return Dropout(jax.random.fold_in(self.key, jnp.asarray(number, jnp.int32)), self.rate)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        keep = jax.random.bernoulli(self.key, 1 - self.rate, x.shape)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros_like(x))


def drop(x: Float[Array, "..."], dropout: Dropout | None, number: int) -> Float[Array, "..."]:
    """x with the block's dropout under its own number; x itself when dropout is off."""
    return x if dropout is None else dropout.fold(number)(x)
