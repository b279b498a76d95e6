"""Jamba (Lieber et al. 2024): Mamba, every so many layers attention without positions, and every so many MLPs a mixture
of experts whose weights are not divided by their sum. model_type jamba."""

from typing import Any

from linearnexus.interop import mamba
from linearnexus.interop.layouts import Entry, stacked, under
from linearnexus.interop.llama import MLP, attention, heads, swiglu
from linearnexus.interop.settings import MOST, Family, PublishedSettings, patterned, tables
from linearnexus.mixers.configs import AttentionConfig, MambaConfig, MLPConfig, MoEConfig
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig


def read(given: PublishedSettings) -> ModelConfig:
    given.only("mamba_conv_bias", True)
    given.only("mamba_proj_bias", False)
    size, n_layer = given.whole("hidden_size"), given.layers()
    eps = given.number("rms_norm_eps", 1e-6)
    scan = MambaConfig(
        state_size=given.whole("mamba_d_state", 16),
        expand=given.whole("mamba_expand", 2),
        conv_size=given.whole("mamba_d_conv", 4),
        dt_rank=mamba.rank(given, "mamba_dt_rank"),
        select_norm=True,
        norm_eps=eps,
    )
    mlp, count = swiglu(given, size), given.whole("num_experts", 16, MOST)
    experts: MLPConfig | MoEConfig = mlp
    if count > 1:
        experts = MoEConfig(count, given.whole("num_experts_per_tok", 2), mlp.width, normalize=False)
    attends = _every(given, "attn", 8, 4, n_layer)
    chooses = _every(given, "expert", 2, 1, n_layer)
    softmax = AttentionConfig(**heads(given), rope_theta=None)
    pattern = [
        BlockConfig(softmax if first else scan, experts if second else mlp)
        for first, second in zip(attends, chooses, strict=True)
    ]
    return ModelConfig(
        patterned(pattern),
        n_layer,
        size,
        given.whole("vocab_size"),
        norm=RMSNormConfig(eps),
        tie_embeddings=given.flag("tie_word_embeddings"),
    )


def _every(given: PublishedSettings, name: str, period: int, offset: int, n_layer: int) -> list[bool]:
    period = given.whole(f"{name}_layer_period", period)
    offset = given.get(f"{name}_layer_offset", int, offset)
    return [layer % period == offset for layer in range(n_layer)]


def write(config: ModelConfig) -> dict[str, Any] | None:
    blocks = [config.block(layer) for layer in range(config.n_layer)]
    scan = next((block.mixer for block in blocks if isinstance(block.mixer, MambaConfig)), None)
    softmax = next((block.mixer for block in blocks if isinstance(block.mixer, AttentionConfig)), None)
    experts = next((one.channel_mixer for one in blocks if isinstance(one.channel_mixer, MoEConfig)), None)
    first = blocks[0].channel_mixer
    if scan is None or softmax is None or not isinstance(first, MLPConfig | MoEConfig):
        return None
    attends = [isinstance(block.mixer, AttentionConfig) for block in blocks]
    chooses = [isinstance(block.channel_mixer, MoEConfig) for block in blocks]
    return {
        "model_type": "jamba",
        "architectures": ["JambaForCausalLM"],
        "hidden_size": config.hidden_size,
        "intermediate_size": round(first.width * config.hidden_size),
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": softmax.n_head,
        "num_key_value_heads": softmax.kv_heads,
        **_written("attn", attends),
        **_written("expert", chooses),
        "num_experts": 1 if experts is None else experts.n_expert,
        "num_experts_per_tok": 1 if experts is None else experts.experts_per_token,
        "mamba_d_state": scan.state_size,
        "mamba_d_conv": scan.conv_size,
        "mamba_expand": scan.expand,
        "mamba_dt_rank": scan.rank(config.hidden_size),
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
        "pad_token_id": None,
    }


def _written(name: str, chosen: list[bool]) -> dict[str, int]:
    """The period and the offset of the layers chosen; where there are none (or no such rule), of the first that would
    come after the last."""
    places = [layer for layer, one in enumerate(chosen) if one]
    period = places[1] - places[0] if len(places) > 1 else len(chosen) + 1
    return {f"{name}_layer_period": period, f"{name}_layer_offset": places[0] if places else len(chosen)}


def experts_table(count: int) -> list[Entry]:
    names = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
    return [
        Entry(ours, " ".join(f"experts.{n}.{theirs}.weight" for n in range(count)), stacked(count))
        for ours, theirs in names.items()
    ]


def table(config: ModelConfig) -> list[Entry]:
    entries = tables(config, "model.embed_tokens", "model.final_layernorm")
    norms = [Entry(f"{one}_norm.scale", f"{one.lower()}_layernorm.weight") for one in ("dt", "B", "C")]
    for layer in range(config.n_layer):
        mixer, channel = config.block(layer).mixer, config.block(layer).channel_mixer
        if isinstance(mixer, AttentionConfig):
            first = under("mixer", "self_attn", attention(mixer))
        else:
            first = under("mixer", "mamba", [*mamba.MIXER, *norms])
        second = MLP
        if isinstance(channel, MoEConfig):
            second = [Entry("router", "router.weight"), *experts_table(channel.n_expert)]
        block = [
            Entry("norm.scale", "input_layernorm.weight"),
            *first,
            Entry("channel_norm.scale", "pre_ff_layernorm.weight"),
            *under("channel_mixer", "feed_forward", second),
        ]
        entries += under(f"blocks.{layer}", f"model.layers.{layer}", block)
    return entries


JAMBA = Family("Jamba", ("jamba",), read, write, table, "model.")
