"""Gated short convolution: each channel mixes its last few tokens, under two gates that the token sets.

    [b, c, x] = W_in u        y_t = c_t * sum_j w_j b_{t-j} x_{t-j}        out = W_out y

Liquid AI's LFM2 (2025; transformers' Lfm2ShortConv is its official code), after H3's shift SSM (Fu et al. 2023, section
3). Its memory is `conv_size` - 1 tokens, so models combine it with attention: LFM2 has 10 such layers and 6 of
attention. Weights start as GPT-2's.

Look first at: `_run`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from linearnexus.core.initializers import normal, uniform
from linearnexus.core.layers import linear, linear_parts
from linearnexus.core.module import matrix, module, static, vector
from linearnexus.mixers.configs import GatedConvConfig
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.ops.short_conv import short_conv, short_conv_step


@module
class GatedConvState:
    """conv_state [B, W-1, D]: the last inputs of the convolution."""

    conv_state: Array


@module
class GatedConv:
    w_in: Array = matrix("embed", (None, "inner"))  # [D, 3, D]: b, c and x
    conv: Array = vector(None, "inner")  # [W, D], conv[j] is the tap j tokens back
    w_out: Array = matrix("inner", "embed", residual=True)
    config: GatedConvConfig = static()

    @classmethod
    def init(cls, config: GatedConvConfig, hidden_size: int, key: Array) -> "GatedConv":
        """Weights N(0, 0.02), taps uniform up to 1 / sqrt(W) (transformers' Lfm2)."""
        config.check(hidden_size)
        k_in, k_conv, k_out = jax.random.split(key, 3)
        return cls(
            w_in=normal(k_in, hidden_size, 3, hidden_size),
            conv=uniform(k_conv, config.conv_size, hidden_size, fan_in=config.conv_size),
            w_out=normal(k_out, hidden_size, hidden_size),
            config=config,
        )

    def init_state(self, batch: int, max_len: int, dtype: Any) -> GatedConvState:
        taps, width = self.conv.shape
        return GatedConvState(jnp.zeros((batch, taps - 1, width), dtype))

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: GatedConvState | None = None) -> MixerOutput:
        return self._run(x, context, state, short_conv)

    def step(self, x: Float[Array, "B D"], context: Context, state: GatedConvState) -> MixerOutput:
        return self._run(x, context, state, short_conv_step)

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """b, c [B,T,D]: the gates before and after the convolution; x [B,T,D]: what they let through; read [B,T,D]:
        what the convolution gives."""
        b, c, signal = linear_parts(x, self.w_in)
        conv_state = self.init_state(x.shape[0], 0, x.dtype).conv_state
        return {"b": b, "c": c, "x": signal, "read": short_conv(b * signal, self.conv, conv_state, context.tokens)[0]}

    def _run(
        self, x: Float[Array, "... D"], context: Context, state: GatedConvState | None, conv: Callable
    ) -> MixerOutput:
        before = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        b, c, signal = linear_parts(x, self.w_in)
        y, conv_state = conv(b * signal, self.conv, before.conv_state, context.tokens)
        return MixerOutput(linear(c * y, self.w_out), None if state is None else GatedConvState(conv_state))
