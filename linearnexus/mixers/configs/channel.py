"""Configs of the channel mixers: MLP, mixture of experts and RWKV's."""

from typing import ClassVar, Literal

from linearnexus.core.config import config
from linearnexus.core.errors import UserError
from linearnexus.mixers.configs.mixer_config import ChannelMixerConfig, at_least_one

Activation = Literal["gelu", "gelu_erf", "silu", "relu2"]


@config("mlp")
class MLPConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.mlp:MLP"

    width: float = 4.0  # F / D
    activation: Activation = "gelu"  # in GPT-2's tanh form, gelu_erf in the exact one; relu2: squared ReLU
    gated: bool = False  # with silu: SwiGLU
    bias: bool = False


@config("moe")
class MoEConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.moe:MoE"

    n_expert: int = 8
    experts_per_token: int = 2
    width: float = 2.0  # F / D of one expert
    activation: Activation = "silu"
    gated: bool = True
    normalize: bool = True  # a token's chosen weights sum to 1 (Mixtral); False: they stay as they were (Jamba)
    aux_loss_weight: float = 0.01  # weight of the loss that keeps experts equally busy
    shared_width: float = 0.0  # F / D of an expert that every token uses, gated (Qwen3-Next); 0: there is none

    def __post_init__(self) -> None:
        at_least_one(self, "n_expert", "experts_per_token")
        if self.experts_per_token > self.n_expert:
            raise UserError(
                f"experts_per_token is {self.experts_per_token} and there are {self.n_expert} experts; "
                f"give at most {self.n_expert}."
            )
        if not self.aux_loss_weight >= 0:
            raise UserError(f"aux_loss_weight is {self.aux_loss_weight}; give 0 (off) or more, such as 0.01.")

    def idle(self, hidden_size: int) -> int:
        matrices = 3 if self.gated else 2
        return (self.n_expert - self.experts_per_token) * matrices * hidden_size * round(self.width * hidden_size)


@config("rwkv_mlp")
class RWKVMLPConfig(ChannelMixerConfig):
    implementation: ClassVar[str] = "linearnexus.mixers.rwkv_mlp:RWKVMLP"

    width: float = 4.0  # F / D
    gated: bool = False  # RWKV-6's; False: RWKV-7's
