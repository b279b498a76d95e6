"""Qwen3-Next (Qwen Team 2025): Gated DeltaNet, every fourth layer gated attention, and a mixture of experts with one
expert that every token uses. model_type qwen3_next. The scales of its norms are stored as their distance from 1, but
for the one inside Gated DeltaNet: an offset of 1 in our configs. A model whose norms have none goes out all the same,
its scales less 1."""

from dataclasses import replace
from typing import Any

from linearnexus.interop.jamba import experts_table
from linearnexus.interop.layouts import ONE_MORE, SAME, TAPS, Entry, by_group, in_turn, linear, side_by_side, under
from linearnexus.interop.llama import MLP, heads, rope, rope_written, swiglu
from linearnexus.interop.settings import MOST, Family, PublishedSettings, patterned, tables
from linearnexus.mixers.configs import AttentionConfig, GatedDeltaNetConfig, MixerConfig, MLPConfig, MoEConfig
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig

HEAD_SIZE, ROTATED = 256, 0.25


def read(given: PublishedSettings) -> ModelConfig:
    given.only("attention_bias", False)
    size, n_layer = given.whole("hidden_size"), given.layers()
    eps = given.number("rms_norm_eps", 1e-6)
    blocks = []
    for layer, kind in enumerate(_layer_types(given, n_layer)):
        mixer: MixerConfig = _delta(given, eps)
        if kind == "full_attention":
            sizes = heads(given, HEAD_SIZE)
            mixer = AttentionConfig(
                **sizes,
                **rope(given, sizes["head_size"], ROTATED),
                qk_norm=True,
                norm_eps=eps,
                norm_offset=1.0,
                gate=True,
            )
        blocks.append(BlockConfig(mixer, _experts(given, size) if _has_experts(given, layer) else swiglu(given, size)))
    return ModelConfig(
        patterned(blocks),
        n_layer,
        size,
        given.whole("vocab_size"),
        norm=RMSNormConfig(eps, offset=1.0),
        tie_embeddings=given.flag("tie_word_embeddings"),
    )


def _layer_types(given: PublishedSettings, n_layer: int) -> list[str]:
    every = given.whole("full_attention_interval", 4)
    usual = ["linear_attention" if (layer + 1) % every else "full_attention" for layer in range(n_layer)]
    types = given.get("layer_types", list, usual)
    if len(types) != n_layer or not all(one in ("linear_attention", "full_attention") for one in types):
        raise given.refusal("layer_types", types, f"linear_attention and full_attention, {n_layer} of them")
    return types


def _delta(given: PublishedSettings, eps: float) -> GatedDeltaNetConfig:
    return GatedDeltaNetConfig(
        n_head=given.whole("linear_num_value_heads", 32),
        n_key_head=given.whole("linear_num_key_heads", 16),
        key_size=given.whole("linear_key_head_dim", 128),
        value_size=given.whole("linear_value_head_dim", 128),
        conv_size=given.whole("linear_conv_kernel_dim", 4),
        norm_eps=eps,
    )


def _has_experts(given: PublishedSettings, layer: int) -> bool:
    plain = given.get("mlp_only_layers", list, [])
    return (
        layer not in plain
        and given.get("num_experts", int, 512) > 0
        and not (layer + 1) % given.whole("decoder_sparse_step", 1)
    )


def _experts(given: PublishedSettings, size: int) -> MoEConfig:
    given.only("hidden_act", "silu")
    return MoEConfig(
        given.whole("num_experts", 512, MOST),
        given.whole("num_experts_per_tok", 10),
        given.whole("moe_intermediate_size", 512) / size,
        normalize=given.flag("norm_topk_prob", True),
        shared_width=given.whole("shared_expert_intermediate_size", 512) / size,
    )


def write(config: ModelConfig) -> dict[str, Any] | None:
    blocks = [config.block(layer) for layer in range(config.n_layer)]
    delta = next((one.mixer for one in blocks if isinstance(one.mixer, GatedDeltaNetConfig)), None)
    softmax = next((one.mixer for one in blocks if isinstance(one.mixer, AttentionConfig)), None)
    experts = next((one.channel_mixer for one in blocks if isinstance(one.channel_mixer, MoEConfig)), None)
    mlp = next((one.channel_mixer for one in blocks if isinstance(one.channel_mixer, MLPConfig)), None)
    if delta is None or blocks[0].channel_mixer is None or not isinstance(config.norm, RMSNormConfig):
        return None
    size = config.hidden_size
    key, value = delta.sizes(size)
    written = {
        "model_type": "qwen3_next",
        "architectures": ["Qwen3NextForCausalLM"],
        "hidden_size": size,
        "num_hidden_layers": config.n_layer,
        "layer_types": [
            f"{'full' if isinstance(one.mixer, AttentionConfig) else 'linear'}_attention" for one in blocks
        ],
        "mlp_only_layers": [n for n, one in enumerate(blocks) if not isinstance(one.channel_mixer, MoEConfig)],
        "linear_num_value_heads": delta.n_head,
        "linear_num_key_heads": delta.key_heads,
        "linear_key_head_dim": key,
        "linear_value_head_dim": value,
        "linear_conv_kernel_dim": delta.conv_size,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
    }
    if softmax is not None:
        head = softmax.size(size)
        written |= {"num_attention_heads": softmax.n_head, "num_key_value_heads": softmax.kv_heads, "head_dim": head}
        written |= {**rope_written(softmax), "partial_rotary_factor": (softmax.rope_size or head) / head}
    if mlp is not None:
        written["intermediate_size"] = round(mlp.width * size)
    if experts is not None:
        written |= {
            "num_experts": experts.n_expert,
            "num_experts_per_tok": experts.experts_per_token,
            "moe_intermediate_size": round(experts.width * size),
            "shared_expert_intermediate_size": round(experts.shared_width * size),
            "norm_topk_prob": experts.normalize,
        }
    return written


def _norm(ours: str, theirs: str, offset: float) -> Entry:
    return Entry(f"{ours}.scale", f"{theirs}.weight", SAME if offset else ONE_MORE)


def _attention(mixer: AttentionConfig, size: int) -> list[Entry]:
    """Each head's queries and its gate lie side by side."""
    head = mixer.size(size)
    both = Entry("wq wg", "q_proj.weight", by_group(mixer.n_head, (head, head)))
    norms = (_norm(name, name, mixer.norm_offset) for name in ("q_norm", "k_norm"))
    return [both, *linear(wk="k_proj", wv="v_proj", wo="o_proj"), *norms]


def _linear_attention(mixer: GatedDeltaNetConfig, size: int) -> list[Entry]:
    """The projections lie side by side within each key head, together with those of its value heads."""
    key, value = mixer.sizes(size)
    keys, shared = mixer.key_heads * key, mixer.n_head // mixer.key_heads  # value heads of a key head
    return [
        Entry("wq wk wv wg", "in_proj_qkvz.weight", by_group(mixer.key_heads, (key, key, *[shared * value] * 2))),
        Entry("wb wa", "in_proj_ba.weight", by_group(mixer.key_heads, (shared, shared))),
        Entry("conv_q conv_k conv_v", "conv1d.weight", in_turn(TAPS, side_by_side(keys, keys, mixer.n_head * value))),
        Entry("A_log", "A_log"),
        Entry("dt_bias", "dt_bias"),
        Entry("norm.scale", "norm.weight"),
        *linear(wo="out_proj"),
    ]


def table(config: ModelConfig) -> list[Entry]:
    entries = [entry for entry in tables(config, "model.embed_tokens", "") if entry.ours != "norm.scale"]
    assert isinstance(config.norm, RMSNormConfig)
    offset = config.norm.offset
    entries.append(_norm("norm", "model.norm", offset))
    for layer in range(config.n_layer):
        mixer, channel = config.block(layer).mixer, config.block(layer).channel_mixer
        if isinstance(mixer, AttentionConfig):
            first = under("mixer", "self_attn", _attention(mixer, config.hidden_size))
        else:
            assert isinstance(mixer, GatedDeltaNetConfig)
            first = under("mixer", "linear_attn", _linear_attention(mixer, config.hidden_size))
        second = MLP
        if isinstance(channel, MoEConfig):
            shared = [Entry("shared_gate", "shared_expert_gate.weight"), *under("shared", "shared_expert", MLP)]
            second = [Entry("router", "gate.weight"), *experts_table(channel.n_expert), *shared]
        block = [
            _norm("norm", "input_layernorm", offset),
            *first,
            _norm("channel_norm", "post_attention_layernorm", offset),
            *under("channel_mixer", "mlp", second),
        ]
        entries += under(f"blocks.{layer}", f"model.layers.{layer}", block)
    return entries


def seen(config: ModelConfig) -> ModelConfig:
    """With the offset that every norm has there."""

    def offset(mixer: MixerConfig) -> MixerConfig:
        return replace(mixer, norm_offset=1.0) if isinstance(mixer, AttentionConfig) else mixer

    pattern = tuple(replace(block, mixer=offset(block.mixer)) for block in config.pattern)
    norm = replace(config.norm, offset=1.0) if isinstance(config.norm, RMSNormConfig) else config.norm
    return replace(config, pattern=pattern, norm=norm)


QWEN3_NEXT = Family("Qwen3-Next", ("qwen3_next",), read, write, table, "model.", r"mtp\..*", seen)
