"""The feed-forward network: each token by itself, up to F channels, through a nonlinearity, and down again.

y = W_down act(W_up x)            GELU as in GPT-2, or squared ReLU (So et al. 2021)
y = W_down (act(W_gate x) * W_up x)     gated; with SiLU it is SwiGLU (Shazeer 2020, equation 6)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal
from linearnexus.core.layers import cheap, linear
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.mixers.configs import MLPConfig
from linearnexus.mixers.contract import Context, MixerOutput

ACTIVATIONS: dict[str, Any] = {
    "gelu": jax.nn.gelu,  # the tanh form, as in GPT-2
    "gelu_erf": partial(jax.nn.gelu, approximate=False),  # x times the normal distribution's share below x
    "silu": jax.nn.silu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
}


@module
class MLP:
    up: Array = matrix("embed", "ffn")
    gate: Array | None = matrix("embed", "ffn")
    down: Array = matrix("ffn", "embed", residual=True)
    up_bias: Array | None = vector("ffn")
    down_bias: Array | None = vector("embed")
    config: MLPConfig = static()

    @classmethod
    def init(cls, config: MLPConfig, hidden_size: int, key: Array) -> "MLP":
        """Weights N(0, 0.02), biases zero (GPT-2)."""
        inner = round(config.width * hidden_size)
        up, gate, down = jax.random.split(key, 3)
        return cls(
            up=normal(up, hidden_size, inner),
            gate=normal(gate, hidden_size, inner) if config.gated else None,
            down=normal(down, inner, hidden_size),
            up_bias=jnp.zeros(inner) if config.bias else None,
            down_bias=jnp.zeros(hidden_size) if config.bias else None,
            config=config,
        )

    def __call__(self, x: Float[Array, "... D"], context: Context) -> MixerOutput:
        act = ACTIVATIONS[self.config.activation]
        up = linear(x, self.up, self.up_bias)
        if self.gate is None:
            hidden = cheap(act)(up)
        else:
            hidden = cheap(lambda gate, up: act(gate) * up)(linear(x, self.gate), up)
        return MixerOutput(linear(hidden, self.down, self.down_bias))
