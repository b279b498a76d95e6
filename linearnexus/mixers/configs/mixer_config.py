"""What every mixer's config offers: how to build the mixer, what it costs, and the facts that the docs print.

A sequence mixer carries information between tokens (attention, Mamba); a channel mixer works on each token alone (MLP).
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from linearnexus.core.errors import UserError
from linearnexus.core.renames import rename_class_attributes
from linearnexus.core.resolve import resolve

if TYPE_CHECKING:
    from linearnexus.mixers.contract import ChannelMixer, SequenceMixer


class MixerConfig(ABC):
    """A sequence mixer's config. Subclasses are frozen dataclasses made with `@config(NAME)`."""

    implementation: ClassVar[str]  # "MODULE:CLASS", imported when a mixer is built, not before
    # What docs/mixers.md says of it.
    equation: ClassVar[str] = ""
    decay: ClassVar[str] = "none"
    correction: ClassVar[str] = "none"  # what a write does to the old answer for its key
    paper: ClassVar[str] = ""
    shares_values: ClassVar[bool] = False  # does it give later layers something (`MixerOutput.shared`)?

    def __init_subclass__(cls) -> None:
        rename_class_attributes(cls, "MixerConfig")

    def init(self, hidden_size: int, key: Any, layer: int = 0, n_layer: int = 1) -> "SequenceMixer":
        """A new mixer of this config with random weights, for layer `layer` of `n_layer`."""
        return placed(resolve(self.implementation).init(self, hidden_size, key), layer, n_layer)

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
    """A channel mixer's config."""

    implementation: ClassVar[str]

    def init(self, hidden_size: int, key: Any, layer: int = 0, n_layer: int = 1) -> "ChannelMixer":
        """A new channel mixer of this config with random weights, for layer `layer` of `n_layer`."""
        return placed(resolve(self.implementation).init(self, hidden_size, key), layer, n_layer)

    def idle(self, hidden_size: int) -> int:
        """Weights of matrix products that a token does not use (experts that it is not sent to)."""
        return 0


def at_least_one(config: Any, *names: str) -> None:
    """Raises UserError for a field below 1; None passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; give 1 or more.")


def divides(name: str, divisor: int, whole_name: str, whole: int) -> None:
    """Raises UserError unless `divisor` divides `whole`."""
    if divisor < 1 or whole % divisor:
        raise UserError(f"{whole_name} {whole} is not divisible by {name} {divisor}; choose a divisor of {whole}.")


def even_heads(hidden_size: int, n_head: int) -> None:
    """Raises UserError where rotary positions, which turn pairs of numbers, do not fit the heads."""
    if hidden_size // n_head % 2:
        raise UserError(
            f"Rotary positions need an even head size, and hidden_size {hidden_size} / n_head {n_head} is "
            f"{hidden_size // n_head}; change either."
        )


def placed(mixer: Any, layer: int, n_layer: int) -> Any:
    """The mixer with the initial values of its layer, where these depend on the depth (RWKV)."""
    return mixer.placed(layer, n_layer) if hasattr(mixer, "placed") else mixer
