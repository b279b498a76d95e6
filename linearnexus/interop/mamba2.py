"""Mamba-2 (Dao and Gu 2024) as transformers names it: model_type mamba2."""

import math
from typing import Any

from linearnexus.interop.layouts import TAPS, Entry, linear, under
from linearnexus.interop.settings import Family, PublishedSettings, tables
from linearnexus.mixers.configs import Mamba2Config
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig


def read(given: PublishedSettings) -> ModelConfig:
    given.only("hidden_act", "silu")
    given.only("use_bias", False)
    given.only("use_conv_bias", True)
    # JSON has no infinity: transformers 5 writes it as an object
    given.only("time_step_limit", [0.0, math.inf], [0.0, {"__float__": "Infinity"}])
    size, eps = given.whole("hidden_size"), given.number("layer_norm_epsilon", 1e-5)
    mixer = Mamba2Config(
        state_size=given.whole("state_size", 128),
        expand=given.whole("expand", 2),
        head_size=given.whole("head_dim", 64),
        n_group=given.whole("n_groups", 8),
        conv_size=given.whole("conv_kernel", 4),
        norm_eps=eps,
    )
    given.only("num_heads", mixer.n_head(size))
    return ModelConfig(
        (BlockConfig(mixer),),
        given.layers(),
        size,
        given.whole("vocab_size"),
        norm=RMSNormConfig(eps),
        tie_embeddings=given.flag("tie_word_embeddings"),
    )


def write(config: ModelConfig) -> dict[str, Any] | None:
    mixer = config.pattern[0].mixer
    if not isinstance(mixer, Mamba2Config) or config.pattern[0].channel_mixer is not None:
        return None
    return {
        "model_type": "mamba2",
        "architectures": ["Mamba2ForCausalLM"],
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.n_layer,
        "num_heads": mixer.n_head(config.hidden_size),
        "head_dim": mixer.head_size,
        "state_size": mixer.state_size,
        "expand": mixer.expand,
        "n_groups": mixer.n_group,
        "conv_kernel": mixer.conv_size,
        "layer_norm_epsilon": config.norm.eps,
        "pad_token_id": None,
    }


MIXER = [
    *linear(w_in="in_proj", w_out="out_proj"),
    Entry("conv", "conv1d.weight", TAPS),
    Entry("conv_bias", "conv1d.bias"),
    *(Entry(name, name) for name in ("dt_bias", "A_log", "D")),
    Entry("norm.scale", "norm.weight"),
]


def table(config: ModelConfig) -> list[Entry]:
    block = [Entry("norm.scale", "norm.weight"), *under("mixer", "mixer", MIXER)]
    layers = (under(f"blocks.{n}", f"backbone.layers.{n}", block) for n in range(config.n_layer))
    return [*tables(config, "backbone.embeddings", "backbone.norm_f"), *(entry for layer in layers for entry in layer)]


MAMBA2 = Family("Mamba-2", ("mamba2",), read, write, table, "backbone.")
