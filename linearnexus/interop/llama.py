"""Llama and its relatives, dense: Llama 2 and 3, SmolLM, Mistral, Qwen2 (biases on q, k, v), Qwen3 (norms on q and k).

RMSNorm, rotary positions, grouped heads, SwiGLU (Touvron et al. 2023; Jiang et al. 2023; Yang et al. 2024, 2025).
"""

from typing import Any

from linearnexus.interop.layouts import Entry, linear, under
from linearnexus.interop.settings import Family, PublishedSettings, patterned, tables
from linearnexus.mixers.configs import AttentionConfig, MLPConfig, RopeScaling
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig

ARCHITECTURES = {kind: f"{kind.capitalize()}ForCausalLM" for kind in ("llama", "mistral", "qwen2", "qwen3")}


def read(given: PublishedSettings) -> ModelConfig:
    kind = given.get("model_type", str)
    size, n_layer = given.whole("hidden_size"), given.layers()
    given.only("mlp_bias", False)
    eps = given.number("rms_norm_eps", 1e-6)
    sizes = heads(given, 128 if kind == "qwen3" else None)
    mixers = [
        AttentionConfig(
            **sizes,
            **rope(given, sizes["head_size"] or size // sizes["n_head"]),
            window=window,
            qk_norm=kind == "qwen3",
            norm_eps=eps,
            bias=kind in ("llama", "qwen3") and given.flag("attention_bias"),
            qkv_bias=kind == "qwen2",
        )
        for window in windows(given, kind, n_layer)
    ]
    blocks = [BlockConfig(mixer, swiglu(given, size)) for mixer in mixers]
    return ModelConfig(
        patterned(blocks),
        n_layer,
        size,
        given.whole("vocab_size"),
        norm=RMSNormConfig(eps),
        tie_embeddings=given.flag("tie_word_embeddings"),
    )


def heads(given: PublishedSettings, head_size: int | None = None) -> dict[str, Any]:
    """How many heads, and how large. `head_size`: the family's where the file says none; None: as the width leaves."""
    n_head = given.whole("num_attention_heads")
    known = head_size is not None or "head_dim" in given
    return {
        "n_head": n_head,
        "n_kv_head": given.whole("num_key_value_heads", n_head),
        "head_size": given.whole("head_dim", head_size) if known else None,
    }


def swiglu(given: PublishedSettings, size: int) -> MLPConfig:
    given.only("hidden_act", "silu")
    return MLPConfig(given.whole("intermediate_size") / size, "silu", gated=True)


def rope(given: PublishedSettings, head_size: int, share: float = 1.0) -> dict[str, Any]:
    """Rotary positions, as transformers 5 writes them (one object) or its predecessors did. `share`: the part of a head
    that is rotated where the file says none."""
    name = "rope_parameters" if "rope_parameters" in given else "rope_scaling"
    inner = given.below(name)
    kind = inner.get("rope_type", str, inner.get("type", str, "default"))
    scaling = None
    if kind == "linear":
        scaling = RopeScaling(inner.number("factor", 1.0))
    elif kind == "llama3":
        scaling = RopeScaling(
            inner.number("factor", 1.0),
            inner.whole("original_max_position_embeddings"),
            inner.number("low_freq_factor", 1.0),
            inner.number("high_freq_factor", 4.0),
        )
    elif kind != "default":
        raise given.refusal(name, kind, "default, linear and llama3")
    share = inner.number("partial_rotary_factor", given.number("partial_rotary_factor", share))
    return {
        "rope_theta": inner.number("rope_theta", given.number("rope_theta", 10_000.0)),
        "rope_size": None if share == 1 else int(head_size * share),
        "rope_scaling": scaling,
    }


def rope_written(mixer: AttentionConfig) -> dict[str, Any]:
    """The same as `rope` reads it, in the older form, which all versions read."""
    scaling, written = mixer.rope_scaling, {"rope_theta": mixer.rope_theta, "rope_scaling": None}
    if scaling is not None and scaling.original_length is None:
        return written | {"rope_scaling": {"rope_type": "linear", "factor": scaling.factor}}
    if scaling is not None:
        llama3 = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "original_max_position_embeddings": scaling.original_length,
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
        }
        return written | {"rope_scaling": llama3}
    return written


def windows(given: PublishedSettings, kind: str, n_layer: int) -> list[int | None]:
    """The window of each layer."""
    if kind == "llama":
        return [None] * n_layer
    window = given.whole("sliding_window") if "sliding_window" in given else None
    if kind == "mistral":
        return [window] * n_layer
    if "layer_types" in given:
        types = given.get("layer_types", list)
        if len(types) != n_layer or not all(one in ("full_attention", "sliding_attention") for one in types):
            raise given.refusal("layer_types", types, f"full_attention and sliding_attention, {n_layer} of them")
        return [window if one == "sliding_attention" else None for one in types]
    first = given.get("max_window_layers", int, 28) if given.flag("use_sliding_window") else n_layer
    return [window if layer >= first else None for layer in range(n_layer)]


def write(config: ModelConfig) -> dict[str, Any] | None:
    blocks = [config.block(layer) for layer in range(config.n_layer)]
    mixer, mlp = blocks[0].mixer, blocks[0].channel_mixer
    if not isinstance(mixer, AttentionConfig) or not isinstance(mlp, MLPConfig) or mixer.rope_theta is None:
        return None
    seen = [getattr(block.mixer, "window", None) for block in blocks]
    kind = "qwen3" if mixer.qk_norm else "qwen2" if mixer.qkv_bias or len(set(seen)) > 1 else "llama"
    if kind == "llama" and seen[0] is not None:
        kind = "mistral"
    written = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "hidden_size": config.hidden_size,
        "intermediate_size": round(mlp.width * config.hidden_size),
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": mixer.n_head,
        "num_key_value_heads": mixer.kv_heads,
        "head_dim": mixer.size(config.hidden_size),
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
        "sliding_window": next((window for window in seen if window is not None), None),
        **rope_written(mixer),
    }
    if kind in ("llama", "qwen3"):
        written["attention_bias"] = mixer.bias
    if kind in ("qwen2", "qwen3"):
        written["use_sliding_window"] = any(seen)
        written["layer_types"] = ["sliding_attention" if window else "full_attention" for window in seen]
    return written


def attention(mixer: AttentionConfig) -> list[Entry]:
    biases = "qkv" if mixer.qkv_bias else "qkvo" if mixer.bias else ""
    return [
        *linear(wq="q_proj", wk="k_proj", wv="v_proj", wo="o_proj"),
        *(Entry(f"b{one}", f"{one}_proj.bias") for one in biases),
        *(Entry(f"{one}_norm.scale", f"{one}_norm.weight") for one in ("qk" if mixer.qk_norm else "")),
    ]


MLP = linear(up="up_proj", gate="gate_proj", down="down_proj")


def table(config: ModelConfig) -> list[Entry]:
    entries = tables(config, "model.embed_tokens", "model.norm")
    for layer in range(config.n_layer):
        mixer = config.block(layer).mixer
        assert isinstance(mixer, AttentionConfig)
        block = [
            Entry("norm.scale", "input_layernorm.weight"),
            *under("mixer", "self_attn", attention(mixer)),
            Entry("channel_norm.scale", "post_attention_layernorm.weight"),
            *under("channel_mixer", "mlp", MLP),
        ]
        entries += under(f"blocks.{layer}", f"model.layers.{layer}", block)
    return entries


LLAMA = Family("Llama", tuple(ARCHITECTURES), read, write, table, "model.", r".*rotary_emb\.inv_freq")
