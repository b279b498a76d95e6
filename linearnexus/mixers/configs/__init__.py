"""The configs of every mixer, by the name that JSON, patterns and the command line know it by.

Importing the package registers them all; it does not import JAX. The classes that they build are in the files that
`implementation` names.
"""

from linearnexus.mixers.configs.attention import AttentionConfig, RopeScaling
from linearnexus.mixers.configs.channel import Activation, MLPConfig, MoEConfig, RWKVMLPConfig
from linearnexus.mixers.configs.delta_rule import DeltaNetConfig, GatedDeltaNetConfig, KimiDeltaAttentionConfig
from linearnexus.mixers.configs.gated_conv import GatedConvConfig
from linearnexus.mixers.configs.latent_attention import LatentAttentionConfig
from linearnexus.mixers.configs.linear_attention import GLAConfig, LinearAttentionConfig, MLSTMConfig, RetNetConfig
from linearnexus.mixers.configs.mamba import Mamba2Config, Mamba3Config, MambaConfig
from linearnexus.mixers.configs.mixer_config import ChannelMixerConfig, MixerConfig, at_least_one, divides, placed
from linearnexus.mixers.configs.rwkv import RWKV6Config, RWKV7Config

__all__ = [
    "Activation",
    "AttentionConfig",
    "ChannelMixerConfig",
    "DeltaNetConfig",
    "GLAConfig",
    "GatedConvConfig",
    "GatedDeltaNetConfig",
    "KimiDeltaAttentionConfig",
    "LatentAttentionConfig",
    "LinearAttentionConfig",
    "MLPConfig",
    "MLSTMConfig",
    "Mamba2Config",
    "Mamba3Config",
    "MambaConfig",
    "MixerConfig",
    "MoEConfig",
    "RWKV6Config",
    "RWKV7Config",
    "RWKVMLPConfig",
    "RetNetConfig",
    "RopeScaling",
    "at_least_one",
    "divides",
    "placed",
]
