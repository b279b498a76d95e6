"""Which tokens of a [B, T] call are real, where documents begin, and where each token stands.

The model counts and passes these; a mixer never counts. Two rules make every kind of batch (left padding, right
padding, ragged rows, packed documents, continued calls) one code path:

    an invalid token leaves every state untouched and takes no cache slot
    a start resets states, short convolutions and positions, and hides what came before
"""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int

from linearnexus.core.module import module
from linearnexus.core.renames import forward


@module
class TokenLayout:
    """Fields are [B, T] in a call and [B] in a step.

    valid     is the token real? None: all are
    starts    does the token begin a new document? None: none does
    position  valid tokens before it in its document (continued from the state)
    index     valid tokens before it in its row, across documents and calls: its cache slot, before wrapping
    """

    valid: Array | None
    starts: Array | None
    position: Array
    index: Array


def count_tokens(
    shape: tuple[int, ...],
    valid: Bool[Array, "B T"] | None,
    starts: Bool[Array, "B T"] | None,
    position: Int[Array, "B"] | None,
    index: Int[Array, "B"] | None,
) -> tuple[TokenLayout, Int[Array, "B"], Int[Array, "B"]]:
    """Numbers the tokens of a call. `position` and `index` are the counts that the rows begin with (None: zero).

    Returns the tokens and both counts after the call. A start at an invalid token does not count.
    """
    b, t = shape
    position = jnp.zeros(b, jnp.int32) if position is None else position
    index = jnp.zeros(b, jnp.int32) if index is None else index
    real = jnp.ones((b, t), jnp.int32) if valid is None else valid.astype(jnp.int32)
    seen = jnp.cumsum(real, axis=1)  # valid tokens up to and including this one
    before = seen - real
    if starts is None:
        document = -jnp.broadcast_to(position[:, None], (b, t))
    else:
        starts = starts if valid is None else starts & valid
        document = lax.cummax(jnp.where(starts, before, -position[:, None]), axis=1)
    tokens = TokenLayout(valid, starts, before - document, before + index[:, None])
    return tokens, seen[:, -1] - document[:, -1], seen[:, -1] + index


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
