"""Short causal depthwise convolution: `y_t = sum_j w_j x_{t-j}` per channel, over the last W valid tokens of the
document.

The state is the last W - 1 valid inputs of each row, [B, W-1, E], oldest first, zeros where the document is
younger.

Look first at: `short_conv`, `short_conv_step`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from linearnexus.core.forms import op
from linearnexus.core.tokens import TokenLayout


@op("short_conv.call")
def short_conv(
    x: Float[Array, "B T E"], weight: Float[Array, "W E"], conv_state: Float[Array, "B W-1 E"], tokens: TokenLayout
) -> tuple[Float[Array, "B T E"], Float[Array, "B W-1 E"]]:
    """A call over T tokens. `weight[j]` is the tap j tokens back. Returns the outputs and the state after the call.

    With padding, the valid tokens of each row are first moved together, so that a tap counts valid tokens only.
    """
    t, taps = x.shape[1], weight.shape[0]
    reach = tokens.position  # tokens of its document before each one
    if tokens.starts is not None:  # before the row's first start here, all: an older document's are zeros in the state
        reach = jnp.where(lax.cummax(tokens.starts.astype(jnp.int32), axis=1) > 0, reach, taps)
    length = reach[:, -1] + (1 if tokens.valid is None else tokens.valid[:, -1].astype(jnp.int32))
    if tokens.valid is not None:
        order = jnp.argsort(~tokens.valid, axis=1, stable=True)
        x = jnp.take_along_axis(x, order[:, :, None], axis=1)
        reach = jnp.take_along_axis(reach, order, axis=1)
    padded = jnp.concatenate([conv_state.astype(x.dtype), x], axis=1)  # [B, W-1+T, E]
    y = jnp.zeros_like(x)
    for j in range(taps):
        y = (
            y
            + _from_document(padded[:, taps - 1 - j : taps - 1 - j + t], reach, j, tokens)
            * weight[j].astype(x.dtype)[None, None]
        )
    if tokens.valid is None:
        new_state = padded[:, t:]
    else:
        count = tokens.valid.sum(axis=1, dtype=jnp.int32)
        new_state = jnp.take_along_axis(
            padded, (count[:, None] + jnp.arange(taps - 1, dtype=jnp.int32)[None, :])[:, :, None], axis=1
        )
        back = jnp.maximum(jnp.cumsum(tokens.valid, axis=1, dtype=jnp.int32) - 1, 0)
        y = jnp.take_along_axis(y, back[:, :, None], axis=1)
    return y, _without_older_document(new_state, length, tokens).astype(conv_state.dtype)


@op("short_conv.step")
def short_conv_step(
    x: Float[Array, "B E"], weight: Float[Array, "W E"], conv_state: Float[Array, "B W-1 E"], tokens: TokenLayout
) -> tuple[Float[Array, "B E"], Float[Array, "B W-1 E"]]:
    """One token. The state of a row whose token is invalid stays as it is."""
    if tokens.starts is not None:
        fresh = tokens.starts if tokens.valid is None else tokens.starts & tokens.valid
        conv_state = jnp.where(fresh[:, None, None], jnp.zeros_like(conv_state), conv_state)
    inputs = jnp.concatenate([conv_state.astype(x.dtype), x[:, None]], axis=1)  # [B, W, E], oldest first
    y = jnp.sum(inputs * weight[::-1].astype(x.dtype)[None], axis=1)
    new_state = inputs[:, 1:].astype(conv_state.dtype)
    if tokens.valid is not None:
        new_state = jnp.where(tokens.valid[:, None, None], new_state, conv_state)
    return y, new_state


def short_convs(
    parts: Iterable[Float[Array, "..."]],
    weights: tuple[Float[Array, "..."], ...],
    conv_states: Any,
    tokens: TokenLayout,
    conv: Callable,
) -> tuple[list[Float[Array, "..."]], tuple[Float[Array, "..."], ...]]:
    """A convolution for each part, such as q, k and v: x [...,E], weight [W,E], state [B,W-1,E]. `conv`: `short_conv`,
    or `short_conv_step` in a step."""
    made = [conv(*part, tokens) for part in zip(parts, weights, conv_states, strict=True)]
    return [y for y, _ in made], tuple(state for _, state in made)


def token_before(
    x: Float[Array, "... E"], conv_state: Any, tokens: TokenLayout, conv: Callable
) -> tuple[Float[Array, "... E"], Float[Array, "B 1 E"]]:
    """The input of the last valid token before each one, zero at a document's first (RWKV's token shift): a convolution
    of two taps, 0 and 1. conv_state [B,1,E]. `conv`: `short_conv`, or `short_conv_step` in a step."""
    return conv(x, jnp.zeros((2, x.shape[-1]), x.dtype).at[1].set(1), conv_state, tokens)


def _from_document(
    x: Float[Array, "B T E"], reach: Int[Array, "B T"], back: int, tokens: TokenLayout
) -> Float[Array, "B T E"]:
    """The inputs `back` tokens ago, zero where the document is younger than that. Without starts in this call the
    state already is zero there."""
    if tokens.starts is None or back == 0:
        return x
    return jnp.where((reach >= back)[:, :, None], x, jnp.zeros_like(x))


def _without_older_document(
    conv_state: Float[Array, "B S E"], length: Int[Array, "B"], tokens: TokenLayout
) -> Float[Array, "B S E"]:
    """Zeroes what the state holds of an older document, `length` being the current one's."""
    if tokens.starts is None:
        return conv_state
    age = jnp.arange(conv_state.shape[1], 0, -1, dtype=jnp.int32)[None, :]  # tokens back: W-1 ... 1
    return jnp.where((age <= length[:, None])[:, :, None], conv_state, jnp.zeros_like(conv_state))
