"""RWKV's channel mix: a feed-forward network whose input leans on the token before.

    y = W_v relu(W_k (x_t + (x_{t-1} - x_t) mu_k))^2                                        RWKV-7
    y = sigmoid(W_r (x_t + (x_{t-1} - x_t) mu_r)) * the same                                RWKV-6: `gated`

Peng et al. 2024, section 4.1, and 2025, section 4; official code: RWKV-LM, RWKV_CMix_x060 and RWKV_CMix_x070. The state
is the last input.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import orthogonal
from linearnexus.core.layers import linear, row
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.mixers.configs import RWKVMLPConfig
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.ops.short_conv import short_conv, short_conv_step, token_before


@module
class RWKVMLP:
    mix_k: Array = vector("embed")
    mix_r: Array | None = vector("embed")
    up: Array = matrix("embed", "ffn")  # W_k
    gate: Array | None = matrix("embed", None)  # [D, D], W_r
    down: Array = matrix("ffn", "embed", residual=True)  # W_v
    config: RWKVMLPConfig = static()

    @classmethod
    def init(cls, config: RWKVMLPConfig, hidden_size: int, key: Array) -> "RWKVMLP":
        """W_k orthogonal, the others zero; mu by layer: `placed` (the official code)."""
        inner = round(config.width * hidden_size)
        return cls(
            mix_k=jnp.zeros(hidden_size),
            mix_r=jnp.zeros(hidden_size) if config.gated else None,
            up=orthogonal(key, hidden_size, inner),
            gate=jnp.zeros((hidden_size, hidden_size)) if config.gated else None,
            down=jnp.zeros((inner, hidden_size)),
            config=config,
        )

    def placed(self, layer: int, n_layer: int) -> "RWKVMLP":
        """Upper layers lean less on the token before."""
        share, rest = jnp.arange(self.up.shape[0], dtype=jnp.float32) / self.up.shape[0], 1 - layer / n_layer
        mix = 1 - share ** (rest if self.config.gated else rest**4)
        return replace(self, mix_k=mix, mix_r=mix if self.config.gated else None)

    def init_state(self, batch: int, max_len: int, dtype: Any) -> Float[Array, "B 1 D"]:
        return jnp.zeros((batch, 1, self.up.shape[0]), dtype)

    def __call__(self, x: Float[Array, "... D"], context: Context, state: Array | None = None) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        conv = short_conv if x.ndim == 3 else short_conv_step
        earlier, conv_state = token_before(x, before, context.tokens, conv)
        shift = earlier - x
        y = linear(jnp.square(jax.nn.relu(linear(x + shift * row(self.mix_k, x), self.up))), self.down)
        if self.gate is not None and self.mix_r is not None:
            y = jax.nn.sigmoid(linear(x + shift * row(self.mix_r, x), self.gate)) * y
        return MixerOutput(y, None if state is None else conv_state)
