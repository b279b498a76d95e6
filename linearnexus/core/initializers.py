"""Initial values that several mixers share. Each mixer's `init` says which paper or code it follows."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def normal(key: Array, *shape: int, std: float = 0.02) -> Float[Array, "..."]:
    """N(0, std): GPT-2's 0.02 unless given."""
    return std * jax.random.normal(key, shape)


def uniform(key: Array, *shape: int, fan_in: int) -> Float[Array, "..."]:
    """Uniform up to 1 / sqrt(fan_in): what PyTorch gives linear layers and convolutions."""
    return jax.random.uniform(key, shape, minval=-1, maxval=1) / math.sqrt(fan_in)


def xavier(key: Array, *shape: int, gain: float = 1.0) -> Float[Array, "..."]:
    """Uniform up to gain * sqrt(6 / (rows + columns)) (Glorot and Bengio 2010, equation 16)."""
    return jax.random.uniform(key, shape, minval=-1, maxval=1) * (gain * math.sqrt(6 / (shape[0] + shape[1])))


def orthogonal(key: Array, *shape: int, gain: float = 1.0) -> Float[Array, "..."]:
    """Orthogonal rows or columns (Saxe et al. 2013) times the gain."""
    return jax.nn.initializers.orthogonal(gain)(key, shape, jnp.float32)


def init_dt_bias(key: Array, n: int) -> Float[Array, "n"]:
    """Biases whose softplus is a step size log-uniform in [0.001, 0.1] (Mamba, section 3.6)."""
    dt = jnp.exp(jax.random.uniform(key, (n,), minval=math.log(1e-3), maxval=math.log(1e-1)))
    return dt + jnp.log(-jnp.expm1(-dt))
