"""RWKV-7 (Peng et al. 2025) as flash-linear-attention names it: model_type rwkv7. Its first layer has no low-rank
product for values, which ours has and never uses."""

from typing import Any

from linearnexus.interop.layouts import SWAPPED, Entry, headed, linear, rows, under
from linearnexus.interop.settings import Family, PublishedSettings, tables
from linearnexus.mixers.configs import RWKV7Config, RWKVMLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig

RANKS = {"decay_rank": "decay", "a_rank": "a", "v_rank": "v", "gate_rank": "gate"}


def read(given: PublishedSettings) -> ModelConfig:
    given.only("hidden_act", "sqrelu", "relu2")
    given.only("norm_first", True)
    given.only("norm_bias", True)
    given.only("attn", None)
    size, n_layer = given.whole("hidden_size"), given.layers()
    given.only("value_dim", None, size, [size] * n_layer)
    head = given.whole("head_dim", size // given.whole("num_heads") if "num_heads" in given else 64)
    inner = -(-int(size * given.number("hidden_ratio", 4)) // 32) * 32
    eps = given.number("norm_eps", 1e-5)
    mixer = RWKV7Config(
        n_head=max(size // head, 1),
        norm_eps=head * eps,
        **{ours: given.whole(f"{theirs}_low_rank_dim") for ours, theirs in RANKS.items()},
    )
    return ModelConfig(
        (BlockConfig(mixer, RWKVMLPConfig(given.whole("intermediate_size", inner) / size)),),
        n_layer,
        size,
        given.whole("vocab_size"),
        norm=LayerNormConfig(eps=eps),
        input_norm=True,
        tie_embeddings=given.flag("tie_word_embeddings"),
    )


def write(config: ModelConfig) -> dict[str, Any] | None:
    mixer, channel = config.pattern[0].mixer, config.pattern[0].channel_mixer
    if not isinstance(mixer, RWKV7Config) or not isinstance(channel, RWKVMLPConfig):
        return None
    size = config.hidden_size
    return {
        "model_type": "rwkv7",
        "architectures": ["RWKV7ForCausalLM"],
        "hidden_size": size,
        "intermediate_size": round(channel.width * size),
        "num_hidden_layers": config.n_layer,
        "head_dim": size // mixer.n_head,
        **{f"{theirs}_low_rank_dim": rank for theirs, rank in zip(RANKS.values(), mixer.ranks(size), strict=True)},
        "hidden_act": "sqrelu",
        "norm_first": True,
        "norm_bias": True,
        "norm_eps": config.norm.eps,
    }


def _norm(ours: str, theirs: str) -> list[Entry]:
    return [Entry(f"{ours}.scale", f"{theirs}.weight"), Entry(f"{ours}.bias", f"{theirs}.bias")]


def _low_rank(name: str, bias: str | None) -> list[Entry]:
    """`bias`: the name of ours."""
    place = f"{name}_lora.lora"
    both = [Entry(f"{name}.down", f"{place}.0.weight", SWAPPED), Entry(f"{name}.up", f"{place}.2.weight", SWAPPED)]
    return both if bias is None else [*both, Entry(bias, f"{place}.2.bias")]


def _mixer(n_head: int, layer: int) -> list[Entry]:
    values = _low_rank("v", "v.bias")
    return [
        *linear(wr="r_proj", wk="k_proj", wv="v_proj", wo="o_proj"),
        Entry("mix", " ".join(f"x_{one}" for one in "rwkvag"), rows(6)),
        *_low_rank("w", "w_bias"),
        *_low_rank("a", "a.bias"),
        *(values if layer else [Entry(entry.ours, "") for entry in values]),
        *_low_rank("g", None),
        Entry("k_k", "k_k"),
        Entry("k_a", "k_a"),
        Entry("r_k", "r_k", headed(n_head)),
        *_norm("norm", "g_norm"),
    ]


def table(config: ModelConfig) -> list[Entry]:
    entries = [*tables(config, "model.embeddings", "model.norm"), Entry("norm.bias", "model.norm.bias")]
    entries += _norm("input_norm", "model.layers.0.pre_norm")
    for layer in range(config.n_layer):
        mixer = config.block(layer).mixer
        assert isinstance(mixer, RWKV7Config)
        block = [
            *_norm("norm", "attn_norm"),
            *under("mixer", "attn", _mixer(mixer.n_head, layer)),
            *_norm("channel_norm", "ffn_norm"),
            *under("channel_mixer", "ffn", [Entry("mix_k", "x_k"), *linear(up="key", down="value")]),
        ]
        entries += under(f"blocks.{layer}", f"model.layers.{layer}", block)
    return entries


RWKV7 = Family("RWKV-7", ("rwkv7", "rwkv7_fla"), read, write, table, "model.")
