"""A block: two pre-norm residual branches, `x + mixer(norm(x))` and then `x + channel_mixer(norm(x))`.

The first moves information between tokens, the second works on each token alone (and may be absent, as in Mamba).
"""

import jax
from jax import Array
from jaxtyping import Float

from linearnexus.core.layers import LayerNorm, RMSNorm, drop
from linearnexus.core.module import module
from linearnexus.mixers.base import ChannelMixer, Context, Out, SequenceMixer, State, add_losses
from linearnexus.models.config import BlockConfig, ModelConfig


@module
class Block:
    norm: RMSNorm | LayerNorm
    mixer: SequenceMixer
    channel_norm: RMSNorm | LayerNorm | None
    channel_mixer: ChannelMixer | None

    @classmethod
    def init(cls, config: BlockConfig, model: ModelConfig, key: Array) -> "Block":
        for_mixer, for_channel = jax.random.split(key)
        channel = config.channel_mixer
        return cls(
            norm=model.norm.init(model.hidden_size),
            mixer=config.mixer.init(model.hidden_size, for_mixer),
            channel_norm=None if channel is None else model.norm.init(model.hidden_size),
            channel_mixer=None if channel is None else channel.init(model.hidden_size, for_channel),
        )

    def __call__(self, x: Float[Array, "B T D"], context: Context, state: State = None) -> Out:
        out = self.mixer(self.norm(x), context, state)
        return self._channel(x + drop(out.y, context.dropout, -1), context, out)

    def step(self, x: Float[Array, "B D"], context: Context, state: State) -> Out:
        out = self.mixer.step(self.norm(x), context, state)
        return self._channel(x + out.y, context, out)

    def _channel(self, x: Float[Array, "... D"], context: Context, mixed: Out) -> Out:
        """The second branch. The state and the losses are the mixer's and the channel mixer's."""
        if self.channel_mixer is None or self.channel_norm is None:
            return Out(x, mixed.state, mixed.loss)
        out = self.channel_mixer(self.channel_norm(x), context)
        return Out(x + drop(out.y, context.dropout, -2), mixed.state, add_losses(mixed.loss, out.loss))
