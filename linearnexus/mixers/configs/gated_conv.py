"""The config of the gated short convolution."""

from typing import ClassVar

from linearnexus.core.config import config
from linearnexus.mixers.configs.mixer_config import MixerConfig, at_least_one


@config("gated_conv")
class GatedConvConfig(MixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.gated_conv:GatedConv"
    equation: ClassVar[str] = "y_t = c_t * sum_j w_j b_{t-j} x_{t-j}"
    decay: ClassVar[str] = "forgets after conv_size tokens"
    paper: ClassVar[str] = "LFM2 (Liquid AI 2025); H3 (Fu et al. 2023)"

    conv_size: int = 3  # taps

    def check(self, hidden_size: int) -> None:
        at_least_one(self, "conv_size")

    def sequence_flops(self, hidden_size: int, context: int) -> float:
        return hidden_size * (2 * self.conv_size + 2)

    @classmethod
    def examples(cls) -> tuple[MixerConfig, ...]:
        return (cls(), cls(conv_size=5))
