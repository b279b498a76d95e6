"""Mamba (Gu and Dao 2023) as transformers names it: model_type mamba."""

from typing import Any

from linearnexus.interop.layouts import SWAPPED, TAPS, Entry, columns_in, in_turn, linear, under
from linearnexus.interop.settings import Family, PublishedSettings, tables
from linearnexus.mixers.configs import MambaConfig
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig


def read(given: PublishedSettings) -> ModelConfig:
    return model(given, sizes(given))


def model(given: PublishedSettings, mixer: MambaConfig) -> ModelConfig:
    given.only("hidden_act", "silu")
    given.only("use_bias", False)
    given.only("use_conv_bias", True)
    given.only("intermediate_size", mixer.expand * given.whole("hidden_size"))
    return ModelConfig(
        (BlockConfig(mixer),),
        given.layers(),
        given.whole("hidden_size"),
        given.whole("vocab_size"),
        norm=RMSNormConfig(given.number("layer_norm_epsilon", 1e-5)),
        tie_embeddings=given.flag("tie_word_embeddings", True),
    )


def sizes(given: PublishedSettings, **more: Any) -> MambaConfig:
    return MambaConfig(
        state_size=given.whole("state_size", 16),
        expand=given.whole("expand", 2),
        conv_size=given.whole("conv_kernel", 4),
        dt_rank=rank(given, "time_step_rank"),
        **more,
    )


def rank(given: PublishedSettings, name: str) -> int | None:
    return None if given.get(name, int | str, "auto") == "auto" else given.whole(name)


def write(config: ModelConfig) -> dict[str, Any] | None:
    mixer = config.pattern[0].mixer
    if not isinstance(mixer, MambaConfig) or config.pattern[0].channel_mixer is not None:
        return None
    return {
        "model_type": "mamba",
        "architectures": ["MambaForCausalLM"],
        "hidden_size": config.hidden_size,
        "intermediate_size": mixer.expand * config.hidden_size,
        "num_hidden_layers": config.n_layer,
        "state_size": mixer.state_size,
        "expand": mixer.expand,
        "conv_kernel": mixer.conv_size,
        "time_step_rank": mixer.rank(config.hidden_size),
        "layer_norm_epsilon": config.norm.eps,
        "pad_token_id": None,
    }


MIXER = [
    Entry("w_in", "in_proj.weight", in_turn(SWAPPED, columns_in(2))),
    *linear(x_proj="x_proj", w_dt="dt_proj", w_out="out_proj"),
    Entry("conv", "conv1d.weight", TAPS),
    Entry("conv_bias", "conv1d.bias"),
    Entry("dt_bias", "dt_proj.bias"),
    Entry("A_log", "A_log", SWAPPED),
    Entry("D", "D"),
]


def table(config: ModelConfig) -> list[Entry]:
    block = [Entry("norm.scale", "norm.weight"), *under("mixer", "mixer", MIXER)]
    layers = (under(f"blocks.{n}", f"backbone.layers.{n}", block) for n in range(config.n_layer))
    return [*tables(config, "backbone.embeddings", "backbone.norm_f"), *(entry for layer in layers for entry in layer)]


MAMBA = Family("Mamba", ("mamba",), read, write, table, "backbone.")
