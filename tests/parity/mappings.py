"""Families of transformers that `convert` does not know: a config of ours for theirs, and their weights by our names.

Look first at: `MAPPINGS`, `kimi_linear_weights`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from linearnexus.mixers.configs import KimiDeltaAttentionConfig, LatentAttentionConfig, MLPConfig, MLSTMConfig
from linearnexus.models.config import BlockConfig, ModelConfig, RMSNormConfig

Weights = dict[str, Array]
Fields = dict[str, Array]  # by their names in our files: "blocks.0.mixer.wq"


def under(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}


def linear(w: Weights, **names: str) -> Fields:
    """Torch's matrices are [out, in]."""
    return {field: w[f"{name}.weight"].T for field, name in names.items()}


def taps(weight: Array) -> Array:
    """[channel, 1, tap], the oldest first, to [tap, channel], the newest first."""
    return weight[:, 0, ::-1].T


def tables(w: Weights, embedding: str, norm: str) -> Fields:
    """What is not in a layer. A tied head is not among the weights."""
    head = {"head": w["lm_head.weight"]} if "lm_head.weight" in w else {}
    return {"embedding": w[embedding], "norm.scale": w[norm], **head}


def outside(c: dict[str, Any], tied: bool) -> dict[str, Any]:
    """The fields of our config that say the same in all families; `tied`: the family's default."""
    return {"vocab_size": c["vocab_size"], "tie_embeddings": c.get("tie_word_embeddings", tied)}


def swiglu(c: dict[str, Any]) -> MLPConfig:
    return MLPConfig(width=c["intermediate_size"] / c["hidden_size"], activation="silu", gated=True)


def swiglu_weights(w: Weights, name: str) -> Fields:
    return linear(w, up=f"{name}.up_proj", gate=f"{name}.gate_proj", down=f"{name}.down_proj")


def latent_attention(c: dict[str, Any], rope_theta: float | None) -> LatentAttentionConfig:
    return LatentAttentionConfig(
        n_head=c["num_attention_heads"],
        kv_rank=c["kv_lora_rank"],
        q_rank=c.get("q_lora_rank"),
        head_size=c["qk_nope_head_dim"],
        rope_size=c["qk_rope_head_dim"],
        value_size=c["v_head_dim"],
        rope_theta=rope_theta,
    )


def latent_attention_weights(c: dict[str, Any], w: Weights, name: str, interleaved: bool) -> Fields:
    """A head's keys and values lie behind one another. `interleaved`: rotary pairs are neighbours, ours are halves."""
    head, rope = c["qk_nope_head_dim"], c["qk_rope_head_dim"]
    order = np.arange(rope).reshape(-1, 2).T.reshape(-1) if interleaved else np.arange(rope)

    def in_halves(matrix: Array, plain: int) -> Array:
        """[in, ..., out], its last columns in our order."""
        return jnp.concatenate([matrix[..., :plain], matrix[..., plain:][..., order]], axis=-1)

    def heads(one: str) -> Array:
        matrix = w[f"{name}.{one}.weight"].T
        return matrix.reshape(len(matrix), c["num_attention_heads"], -1)

    def side_by_side(matrix: Array) -> Array:
        return matrix.reshape(len(matrix), -1)

    wk, wv = jnp.split(heads("kv_b_proj"), [head], axis=-1)
    fields = {
        "w_down": in_halves(w[f"{name}.kv_a_proj_with_mqa.weight"].T, c["kv_lora_rank"]),
        "norm.scale": w[f"{name}.kv_a_layernorm.weight"],
        "wk": side_by_side(wk),
        "wv": side_by_side(wv),
        **linear(w, wo=f"{name}.o_proj"),
    }
    if c.get("q_lora_rank") is None:
        return fields | {"wq": side_by_side(in_halves(heads("q_proj"), head))}
    return fields | {
        **linear(w, wq_down=f"{name}.q_a_proj"),
        "q_norm.scale": w[f"{name}.q_a_layernorm.weight"],
        "wq": side_by_side(in_halves(heads("q_b_proj"), head)),
    }


def kimi_linear(c: dict[str, Any]) -> ModelConfig:
    delta = KimiDeltaAttentionConfig(
        n_head=c["linear_num_heads"], key_size=c["linear_head_dim"], conv_size=c.get("linear_conv_kernel_dim", 4)
    )
    pattern = tuple(
        BlockConfig(delta if kind == "linear_attention" else latent_attention(c, None), swiglu(c))
        for kind in c["layer_types"]
    )
    return ModelConfig(pattern, len(pattern), c["hidden_size"], **outside(c, tied=False))


def kimi_linear_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "model.embed_tokens.weight", "model.norm.weight")
    for layer, kind in enumerate(c["layer_types"]):
        name = f"model.layers.{layer}"
        if kind == "linear_attention":
            mixer = kimi_delta_attention_weights(w, f"{name}.self_attn")
        else:
            mixer = latent_attention_weights(c, w, f"{name}.self_attn", interleaved=False)
        fields |= under(f"blocks.{layer}", layer_weights(w, name, mixer))
    return fields


def layer_weights(w: Weights, name: str, mixer: Fields) -> Fields:
    """A mixer and a SwiGLU MLP, each behind its norm."""
    return {
        "norm.scale": w[f"{name}.input_layernorm.weight"],
        **under("mixer", mixer),
        "channel_norm.scale": w[f"{name}.post_attention_layernorm.weight"],
        **under("channel_mixer", swiglu_weights(w, f"{name}.mlp")),
    }


def kimi_delta_attention_weights(w: Weights, name: str) -> Fields:
    keys, values = (w[f"{name}.{part}_proj.weight"].shape[0] for part in "kv")
    conv = jnp.split(taps(w[f"{name}.conv1d.weight"]), [keys, keys + keys], axis=1)
    assert conv[2].shape[1] == values
    return {
        **linear(w, wq=f"{name}.q_proj", wk=f"{name}.k_proj", wv=f"{name}.v_proj", wo=f"{name}.o_proj"),
        **linear(w, wb=f"{name}.b_proj", wg_down=f"{name}.g_a_proj", wg_up=f"{name}.g_b_proj"),
        **linear(w, wa_down=f"{name}.forget_gate.f_a_proj", wa_up=f"{name}.forget_gate.f_b_proj"),
        **dict(zip(("conv_q", "conv_k", "conv_v"), conv, strict=True)),
        "A_log": w[f"{name}.forget_gate.A_log"].reshape(-1),
        "dt_bias": w[f"{name}.forget_gate.dt_bias"],
        "norm.scale": w[f"{name}.o_norm.weight"],
    }


def deepseek_v3(c: dict[str, Any]) -> ModelConfig:
    theta = c.get("rope_parameters", {"rope_theta": 10_000.0})["rope_theta"]
    block = BlockConfig(latent_attention(c, theta), swiglu(c))
    norm = RMSNormConfig(eps=c.get("rms_norm_eps", 1e-6))
    return ModelConfig((block,), c["num_hidden_layers"], c["hidden_size"], norm=norm, **outside(c, tied=False))


def deepseek_v3_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "model.embed_tokens.weight", "model.norm.weight")
    for layer in range(c["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        mixer = latent_attention_weights(c, w, f"{name}.self_attn", c.get("rope_interleave", True))
        fields |= under(f"blocks.{layer}", layer_weights(w, name, mixer))
    return fields


def xlstm(c: dict[str, Any]) -> ModelConfig:
    mixer = MLSTMConfig(
        n_head=c["num_heads"],
        expand_k=c.get("qk_dim_factor", 0.5),
        expand_v=c.get("v_dim_factor", 1.0),
        gate_cap=c.get("gate_soft_cap", 15.0),
    )
    mlp = MLPConfig(width=c["ffn_proj_factor"], activation="silu", gated=True)
    norm = RMSNormConfig(eps=1e-6)
    rest = outside(c, tied=False)
    return ModelConfig((BlockConfig(mixer, mlp),), c["num_hidden_layers"], c["hidden_size"], norm=norm, **rest)


def xlstm_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "backbone.embeddings.weight", "backbone.out_norm.weight")
    for layer in range(c["num_hidden_layers"]):
        name = f"backbone.blocks.{layer}"
        mixer, mlp = f"{name}.mlstm_layer", f"{name}.ffn"
        gates = [f"{mixer}.{gate}_preact" for gate in ("igate", "fgate")]
        block = {
            "norm.scale": w[f"{name}.norm_mlstm.weight"],
            **under("mixer", linear(w, wq=f"{mixer}.q", wk=f"{mixer}.k", wv=f"{mixer}.v", wo=f"{mixer}.out_proj")),
            **under("mixer", linear(w, wg=f"{mixer}.ogate_preact")),
            "mixer.w_gates": jnp.stack([w[f"{gate}.weight"].T for gate in gates], axis=1),
            "mixer.gate_bias": jnp.stack([w[f"{gate}.bias"] for gate in gates]),
            "mixer.norm.scale": w[f"{mixer}.multihead_norm.weight"],
            "channel_norm.scale": w[f"{name}.norm_ffn.weight"],
            **under(
                "channel_mixer", linear(w, up=f"{mlp}.proj_up", gate=f"{mlp}.proj_up_gate", down=f"{mlp}.proj_down")
            ),
        }
        fields |= under(f"blocks.{layer}", block)
    return fields


MAPPINGS: dict[str, tuple[Callable[[dict[str, Any]], ModelConfig], Callable[[dict[str, Any], Weights], Fields]]] = {
    "kimi_linear": (kimi_linear, kimi_linear_weights),
    "deepseek_v3": (deepseek_v3, deepseek_v3_weights),
    "xlstm": (xlstm, xlstm_weights),
}
