"""What a language model is made of: its width, its depth, and the pattern of blocks that is repeated over the depth."""

from typing import TYPE_CHECKING, ClassVar, Literal

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.core.resolve import resolve
from linearnexus.mixers.configs import ChannelMixerConfig, MixerConfig  # all of them: JSON that has a model has mixers

Weights = Literal["float32", "bfloat16", "int8"]  # how a model that runs keeps its matrices and tables
Remat = Literal["none", "norms", "dots", "block"]  # what is computed again in the backward pass; see models.remat

if TYPE_CHECKING:
    from linearnexus.core.layers import LayerNorm, RMSNorm


@config("rmsnorm")
class RMSNormConfig:
    implementation: ClassVar[str] = "linearnexus.core.layers:RMSNorm"

    eps: float = 1e-5
    offset: float = 0.0  # what is added to the scale: 1, where it is stored as its distance from 1 (Qwen3-Next)

    def init(self, size: int) -> "RMSNorm":
        return resolve(self.implementation).init(size, self.eps, offset=self.offset)


@config("layernorm")
class LayerNormConfig:
    implementation: ClassVar[str] = "linearnexus.core.layers:LayerNorm"

    bias: bool = True
    eps: float = 1e-5

    def init(self, size: int) -> "LayerNorm":
        return resolve(self.implementation).init(size, self.bias, self.eps)


@config("block")
class BlockConfig:
    """One layer: a sequence mixer, then (unless None) a channel mixer, each in a pre-norm residual branch."""

    mixer: MixerConfig
    channel_mixer: ChannelMixerConfig | None = None


@config("model")
class ModelConfig:
    """A language model. `pattern` is one period of blocks, repeated cyclically up to `n_layer`."""

    pattern: tuple[BlockConfig, ...]
    n_layer: int
    hidden_size: int  # D
    vocab_size: int = 256  # W; training sets it to the tokenizer's
    norm: RMSNormConfig | LayerNormConfig = RMSNormConfig()
    input_norm: bool = False  # a norm between the embedding and the first block (RWKV)
    learned_positions: int = 0  # rows of a learned position table, the longest context then; 0: none
    tie_embeddings: bool = True  # the output head is the embedding table
    embedding_std: float = 0.02  # standard deviation of the tables' and the head's initial values
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"  # of activations; parameters stay float32

    def __post_init__(self) -> None:
        for name, least in (("n_layer", 1), ("hidden_size", 1), ("vocab_size", 1), ("learned_positions", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; give {least} or more.")
        if not 0 <= self.dropout < 1:
            raise UserError(
                f"dropout is {self.dropout}; it is the share of activations set to zero, so give "
                "a number from 0 to below 1."
            )
        if not self.embedding_std > 0:
            raise UserError(f"embedding_std is {self.embedding_std}; give a number above 0, such as 0.02.")
        if not self.pattern:
            raise UserError("The pattern has no block; give at least one.")
        for block in self.pattern:
            block.mixer.check(self.hidden_size)

    def block(self, layer: int) -> BlockConfig:
        return self.pattern[layer % len(self.pattern)]

    @property
    def n_residual(self) -> int:
        """Residual branches of the whole stack."""
        return sum(1 if self.block(layer).channel_mixer is None else 2 for layer in range(self.n_layer))
