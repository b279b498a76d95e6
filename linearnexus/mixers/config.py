"""The configs of every mixer, importable without JAX. Each `init` imports and builds its own class, in the file of its
name.

A sequence mixer carries information between tokens (attention, Mamba); a channel mixer works on each token alone (MLP).
A config also tells what its mixer costs, for `linearnexus info`.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from linearnexus.core.config import config
from linearnexus.core.errors import UserError

if TYPE_CHECKING:
    from linearnexus.mixers.base import ChannelMixer, SequenceMixer


class MixerConfig(ABC):
    """What every sequence mixer's config offers. Subclasses are frozen dataclasses made with `@config(NAME)`."""

    @abstractmethod
    def init(self, hidden_size: int, key: Any) -> "SequenceMixer":
        """A new mixer of this config with random weights."""

    @abstractmethod
    def sequence_flops(self, hidden_size: int, context: int) -> float:
        """Forward FLOPs a token, averaged over a sequence of `context` tokens, beside the weight matrices' products."""

    def check(self, hidden_size: int) -> None:  # noqa: B027 (most mixers accept every width)
        """Raises UserError where this mixer cannot have that width."""

    @classmethod
    def examples(cls) -> "tuple[MixerConfig, ...]":
        """The settings that the law is tested with."""
        return (cls(),)


class ChannelMixerConfig(ABC):
    """What every channel mixer's config offers."""

    @abstractmethod
    def init(self, hidden_size: int, key: Any) -> "ChannelMixer":
        """A new channel mixer of this config with random weights."""


@config("attention")
class AttentionConfig(MixerConfig):
    n_head: int = 4
    n_kv_head: int | None = None  # key and value heads, shared by groups of query heads; None: n_head
    window: int | None = None  # tokens that a token sees, itself included; None: all before it
    rope_theta: float | None = 10_000.0  # base of the rotary wavelengths; None: no rotary positions
    qk_norm: bool = False  # RMSNorm on each query and key head
    bias: bool = False

    def init(self, hidden_size: int, key: Any) -> "SequenceMixer":
        from linearnexus.mixers.attention import Attention

        return Attention.init(self, hidden_size, key)

    @property
    def kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    def check(self, hidden_size: int) -> None:
        if self.n_head < 1 or hidden_size % self.n_head:
            raise UserError(
                f"hidden_size {hidden_size} is not divisible by n_head {self.n_head}; "
                f"choose a divisor of {hidden_size}."
            )
        if self.kv_heads < 1 or self.n_head % self.kv_heads:
            raise UserError(
                f"n_head {self.n_head} is not divisible by n_kv_head {self.n_kv_head}; "
                f"choose a divisor of {self.n_head}."
            )
        if self.rope_theta is not None and hidden_size // self.n_head % 2:
            raise UserError(
                f"Rotary positions need an even head size, and hidden_size {hidden_size} / n_head {self.n_head} is "
                f"{hidden_size // self.n_head}; change either."
            )
        if self.window is not None and self.window < 1:
            raise UserError(
                f"window is {self.window}; it counts the tokens a token sees, itself included, so give 1 or more."
            )

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        span = min(context, self.window or context)
        seen = span - span * (span - 1) / (2 * context)  # mean number of visible keys
        return 4 * seen * hidden_size

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (
            cls(n_head=3),
            cls(n_head=6, n_kv_head=2, bias=True, qk_norm=True),
            cls(n_head=3, n_kv_head=1, window=5),
            cls(n_head=3, rope_theta=None),
        )


@config("mamba")
class MambaConfig(MixerConfig):
    state_size: int = 16  # N, numbers of state a channel
    expand: int = 2  # E / D
    conv_size: int = 4  # taps of the short convolution
    dt_rank: int | None = None  # rank of the step size's projection; None: D / 16, rounded up

    def init(self, hidden_size: int, key: Any) -> "SequenceMixer":
        from linearnexus.mixers.mamba import Mamba

        return Mamba.init(self, hidden_size, key)

    def rank(self, hidden_size: int) -> int:
        return -(-hidden_size // 16) if self.dt_rank is None else self.dt_rank

    def check(self, hidden_size: int) -> None:
        for name in ("state_size", "expand", "conv_size", "dt_rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; give 1 or more.")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        # decay (2), update (4) and read-out (2) for each of N numbers, convolution (2 a tap), gate and skip (4)
        return self.expand * hidden_size * (8 * self.state_size + 2 * self.conv_size + 4)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(), cls(state_size=5, expand=3, conv_size=2, dt_rank=2))


@config("mlp")
class MLPConfig(ChannelMixerConfig):
    width: float = 4.0  # F / D
    activation: Literal["gelu", "silu", "relu2"] = "gelu"  # relu2: squared ReLU
    gated: bool = False  # with silu: SwiGLU
    bias: bool = False

    def init(self, hidden_size: int, key: Any) -> "ChannelMixer":
        from linearnexus.mixers.mlp import MLP

        return MLP.init(self, hidden_size, key)
