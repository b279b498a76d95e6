"""A block: two pre-norm residual branches, `x + mixer(norm(x))` and then `x + channel_mixer(norm(x))`.

The first moves information between tokens, the second works on each token alone (and may be absent, as in Mamba).
"""

from dataclasses import replace
from typing import Any

import jax
from jax import Array
from jaxtyping import Float

from linearnexus.core.layers import LayerNorm, RMSNorm, drop
from linearnexus.core.module import module
from linearnexus.mixers.configs import placed
from linearnexus.mixers.contract import (
    ChannelMixer,
    ChannelMixerWithState,
    Context,
    MixerOutput,
    SequenceMixer,
    State,
    add_losses,
)
from linearnexus.models.config import BlockConfig, ModelConfig


@module
class Block:
    norm: RMSNorm | LayerNorm
    mixer: SequenceMixer
    channel_norm: RMSNorm | LayerNorm | None
    channel_mixer: ChannelMixer | ChannelMixerWithState | None

    @classmethod
    def init(cls, config: BlockConfig, model: ModelConfig, key: Array) -> "Block":
        """With random weights; `placed` adds what depends on the layer."""
        for_mixer, for_channel = jax.random.split(key)
        channel = config.channel_mixer
        return cls(
            norm=model.norm.init(model.hidden_size),
            mixer=config.mixer.init(model.hidden_size, for_mixer),
            channel_norm=None if channel is None else model.norm.init(model.hidden_size),
            channel_mixer=None if channel is None else channel.init(model.hidden_size, for_channel),
        )

    def placed(self, layer: int, n_layer: int) -> "Block":
        """The block as layer `layer` of `n_layer`."""
        mixer, channel = (placed(part, layer, n_layer) for part in (self.mixer, self.channel_mixer))
        return replace(self, mixer=mixer, channel_mixer=channel)

    def init_state(self, batch: int, max_len: int, dtype: Any) -> State:
        """The mixer's state; with that of the channel mixer, where it has one."""
        state = self.mixer.init_state(batch, max_len, dtype)
        if isinstance(self.channel_mixer, ChannelMixerWithState):
            return state, self.channel_mixer.init_state(batch, max_len, dtype)
        return state

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: State = None) -> MixerOutput:
        before, channel = self._split_state(state)
        out = self.mixer(self.norm(x), context, before)
        return self._channel_branch(x + drop(out.y, context.dropout, -1), context, out, channel)

    def step(self, x: Float[Array, "B D"], context: Context, state: State) -> MixerOutput:
        before, channel = self._split_state(state)
        out = self.mixer.step(self.norm(x), context, before)
        return self._channel_branch(x + out.y, context, out, channel)

    def _split_state(self, state: State) -> tuple[State, State]:
        """The mixer's and the channel mixer's."""
        both = state is not None and isinstance(self.channel_mixer, ChannelMixerWithState)
        return state if both else (state, None)

    def _channel_branch(
        self, x: Float[Array, "... D"], context: Context, mixed: MixerOutput, state: State
    ) -> MixerOutput:
        """The second branch. The state and the losses are the mixer's and the channel mixer's."""
        if self.channel_mixer is None or self.channel_norm is None:
            return MixerOutput(x, mixed.state, mixed.loss, mixed.shared)
        y = self.channel_norm(x)
        if isinstance(self.channel_mixer, ChannelMixerWithState):
            out = self.channel_mixer(y, context, state)
            after = None if mixed.state is None else (mixed.state, out.state)
        else:
            out, after = self.channel_mixer(y, context), mixed.state
        return MixerOutput(x + drop(out.y, context.dropout, -2), after, add_losses(mixed.loss, out.loss), mixed.shared)
