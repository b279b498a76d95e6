"""What the backward pass of a block keeps of its forward pass, and what it computes again (rematerialisation).

    none    everything is kept
    norms   norms and nonlinearities between products are computed again from what goes into them
    dots    products of activations with weights are kept, all else is computed again
    block   each block keeps its input alone, and its whole forward pass runs again

Further down less memory is needed, and more is computed twice. The numbers that come out are those of the same
operations in the same order. Layers mark what is cheap (`core.layers.cheap`); the choice is made here.

Look first at: `run_block`.
"""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from linearnexus.core.layers import recompute_cheap
from linearnexus.mixers.contract import Context, MixerOutput
from linearnexus.models.block import Block
from linearnexus.models.config import Remat

# For a whole block: what `jax.checkpoint` keeps. Where there is no entry, the block is not checkpointed.
KEPT: dict[str, Any] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
}


@partial(jax.jit, static_argnames="remat")
def run_block(block: Block, x: Float[Array, "B T D"], context: Context, state: Any, remat: Remat) -> MixerOutput:
    """One block over a call. Under `jit`, layers of a kind are traced once and share what Python made of them."""

    def call(block: Block, x: Any, context: Context, state: Any) -> MixerOutput:
        with recompute_cheap(remat == "norms"):
            return block(x, context, state)

    if remat in KEPT:
        call = jax.checkpoint(call, policy=KEPT[remat])
    return call(block, x, context, state)
