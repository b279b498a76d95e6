"""The contract of a mixer, and the law that every mixer obeys.

The law: a call over T tokens from any state = T steps = any split into calls = the same tokens with any padding, any
batch mates, any packing; outputs at valid tokens, final states and all gradients. `tests/laws/` tests it for every
registered mixer.

Look first at: `SequenceMixer`.
"""

from typing import Any, Protocol, Self, runtime_checkable

from jax import Array
from jaxtyping import Float

from linearnexus.core.layers import Dropout
from linearnexus.core.module import module
from linearnexus.core.renames import accepts_old_names
from linearnexus.core.tokens import TokenLayout

State = Any  # a pytree of arrays with the batch first: KV cache, matrix state, last inputs of a convolution


@module
class Context:
    """What a mixer is told beside its input: the tokens, dropout (None: off), and what earlier layers share (None:
    nothing yet)."""

    tokens: TokenLayout
    dropout: Dropout | None = None
    shared: Any = None


@module
class MixerOutput:
    """What a mixer returns: the output; where a state came in, the state after it; a loss of its own to add to the
    model's (a mixture of experts has one); what it shares with later layers (RWKV-7's first value; a mixer that shares
    has `shares_values = True` in its config). None: what was shared stays."""

    y: Array
    state: State = None
    loss: Array | None = None
    shared: Any = None


@accepts_old_names
@module
class MatrixState:
    """What a mixer with a matrix memory remembers: S [B,H,K,V] in float32 or wider; conv_state [B,W-1,E], the last
    inputs of its short convolution, or one for each of several; m [B,H]: S is the memory divided by exp(m). None: it
    has none."""

    S: Array
    conv_state: Array | tuple[Array, ...] | None = None
    m: Array | None = None


def add_losses(*losses: Array | None) -> Array | None:
    """Their sum; None where no part of a model has one."""
    known = [loss for loss in losses if loss is not None]
    return sum(known[1:], known[0]) if known else None


def split_heads(x: Float[Array, "... E"], n: int) -> Float[Array, "... n E/n"]:
    """[..., E] -> [..., n, E/n]"""
    return x.reshape(*x.shape[:-1], n, -1)


@runtime_checkable
class SequenceMixer(Protocol):
    """Carries information from token to token. Every method is pure; outputs at invalid tokens are finite and without
    meaning."""

    @classmethod
    def init(cls, config: Any, hidden_size: int, key: Array) -> Self:
        """Random weights, as in the mixer's paper or its official code."""
        ...

    def init_state(self, batch: int, max_len: int, dtype: Any) -> State:
        """The state before the first token. `max_len`: tokens that a cache must hold; a recurrent state ignores it."""
        ...

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: State = None) -> MixerOutput:
        """T tokens in parallel or in chunks. State None: training, from nothing. A state: prefill, or going on."""
        ...

    def step(self, x: Float[Array, "B D"], context: Context, state: State) -> MixerOutput:
        """One token, by the paper's recurrence. The context's tokens are [B]."""
        ...

    def look(self, x: Float[Array, "B T D"], context: Context) -> dict[str, Array]:
        """Named arrays to show a person, from the same computation as a call: attention weights, decays, writes."""
        ...


@runtime_checkable
class ChannelMixer(Protocol):
    """Works on each token alone, in a call [B, T, D] and in a step [B, D] alike."""

    def __call__(self, x: Float[Array, "... D"], context: Context) -> MixerOutput: ...


@runtime_checkable
class ChannelMixerWithState(Protocol):
    """A channel mixer that remembers something: RWKV's sees the token before."""

    def init_state(self, batch: int, max_len: int, dtype: Any) -> State: ...

    def __call__(self, x: Float[Array, "... D"], context: Context, state: State = None) -> MixerOutput: ...
