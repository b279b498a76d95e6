"""Our models against Hugging Face transformers: with the same weights, the same logits and the same gradients.

What transformers computed lies in `tests/parity/golden/`; the weights follow from their names (`parity/families.py`).
Each family has a config of ours for its config, and a mapping from its weights to ours; gradients go back through the
mapping by themselves, because they are taken by the weights of transformers.

Look first at: `gpt2` (one family), `compare`.
"""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from safetensors import safe_open

from linearnexus.mixers.configs import (
    AttentionConfig,
    GatedDeltaNetConfig,
    Mamba2Config,
    MambaConfig,
    MLPConfig,
    MoEConfig,
)
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig, RMSNormConfig
from linearnexus.models.language_model import LanguageModel
from tests.laws.law import error, jit, precision
from tests.parity import families

LOGITS = 1e-4  # absolute
GRADIENTS = 1e-3  # relative to the tensor's largest one
Weights = dict[str, Array]
Fields = dict[str, Array]  # by their paths in our model: "blocks[0].mixer.wq"


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


def gpt2(c: dict[str, Any]) -> ModelConfig:
    size = c["n_embd"]
    mixer = AttentionConfig(n_head=c["n_head"], rope_theta=None, bias=True)
    mlp = MLPConfig(width=c.get("n_inner", 4 * size) / size, activation="gelu", bias=True)
    norm = LayerNormConfig(eps=c.get("layer_norm_epsilon", 1e-5))
    rest = outside(c, tied=True)
    return ModelConfig(
        (BlockConfig(mixer, mlp),), c["n_layer"], size, norm=norm, learned_positions=c["n_positions"], **rest
    )


def gpt2_weights(c: dict[str, Any], w: Weights) -> Fields:
    """GPT-2's matrices are [in, out], and those of q, k and v lie side by side."""
    fields = {
        **tables(w, "transformer.wte.weight", "transformer.ln_f.weight"),
        "positions": w["transformer.wpe.weight"],
        "norm.bias": w["transformer.ln_f.bias"],
    }
    for layer in range(c["n_layer"]):
        h = f"transformer.h.{layer}"
        wq, wk, wv = jnp.split(w[f"{h}.attn.c_attn.weight"], 3, axis=1)
        bq, bk, bv = jnp.split(w[f"{h}.attn.c_attn.bias"], 3)
        block = {
            "norm.scale": w[f"{h}.ln_1.weight"],
            "norm.bias": w[f"{h}.ln_1.bias"],
            **under("mixer", {"wq": wq, "wk": wk, "wv": wv, "bq": bq, "bk": bk, "bv": bv}),
            "mixer.wo": w[f"{h}.attn.c_proj.weight"],
            "mixer.bo": w[f"{h}.attn.c_proj.bias"],
            "channel_norm.scale": w[f"{h}.ln_2.weight"],
            "channel_norm.bias": w[f"{h}.ln_2.bias"],
            "channel_mixer.up": w[f"{h}.mlp.c_fc.weight"],
            "channel_mixer.up_bias": w[f"{h}.mlp.c_fc.bias"],
            "channel_mixer.down": w[f"{h}.mlp.c_proj.weight"],
            "channel_mixer.down_bias": w[f"{h}.mlp.c_proj.bias"],
        }
        fields |= under(f"blocks[{layer}]", block)
    return fields


def swiglu(c: dict[str, Any]) -> MLPConfig:
    return MLPConfig(width=c["intermediate_size"] / c["hidden_size"], activation="silu", gated=True)


def swiglu_weights(w: Weights, name: str) -> Fields:
    return linear(w, up=f"{name}.up_proj", gate=f"{name}.gate_proj", down=f"{name}.down_proj")


def attention_weights(w: Weights, name: str) -> Fields:
    fields = linear(w, wq=f"{name}.q_proj", wk=f"{name}.k_proj", wv=f"{name}.v_proj", wo=f"{name}.o_proj")
    biases = {f"b{one}": w.get(f"{name}.{one}_proj.bias") for one in "qkvo"}
    return fields | {field: bias for field, bias in biases.items() if bias is not None}


def llama(c: dict[str, Any]) -> ModelConfig:
    mixer = AttentionConfig(
        n_head=c["num_attention_heads"],
        n_kv_head=c["num_key_value_heads"],
        rope_theta=c.get("rope_parameters", {"rope_theta": 10_000.0})["rope_theta"],
        bias=c.get("attention_bias", False),
    )
    norm = RMSNormConfig(eps=c.get("rms_norm_eps", 1e-6))
    rest = outside(c, tied=False)
    return ModelConfig((BlockConfig(mixer, swiglu(c)),), c["num_hidden_layers"], c["hidden_size"], norm=norm, **rest)


def llama_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "model.embed_tokens.weight", "model.norm.weight")
    for layer in range(c["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        block = {
            "norm.scale": w[f"{name}.input_layernorm.weight"],
            **under("mixer", attention_weights(w, f"{name}.self_attn")),
            "channel_norm.scale": w[f"{name}.post_attention_layernorm.weight"],
            **under("channel_mixer", swiglu_weights(w, f"{name}.mlp")),
        }
        fields |= under(f"blocks[{layer}]", block)
    return fields


def mamba(c: dict[str, Any]) -> ModelConfig:
    mixer = MambaConfig(
        state_size=c["state_size"],
        expand=c.get("expand", 2),
        conv_size=c.get("conv_kernel", 4),
        dt_rank=c.get("time_step_rank"),
    )
    return ModelConfig((BlockConfig(mixer),), c["num_hidden_layers"], c["hidden_size"], **outside(c, tied=True))


def mamba_mixer_weights(w: Weights, name: str) -> Fields:
    return {
        **linear(w, w_in=f"{name}.in_proj", w_select=f"{name}.x_proj", w_dt=f"{name}.dt_proj"),
        **linear(w, w_out=f"{name}.out_proj"),
        "conv": taps(w[f"{name}.conv1d.weight"]),
        "conv_bias": w[f"{name}.conv1d.bias"],
        "dt_bias": w[f"{name}.dt_proj.bias"],
        "A_log": w[f"{name}.A_log"].T,
        "D": w[f"{name}.D"],
    }


def mamba_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "backbone.embeddings.weight", "backbone.norm_f.weight")
    for layer in range(c["num_hidden_layers"]):
        name = f"backbone.layers.{layer}"
        fields[f"blocks[{layer}].norm.scale"] = w[f"{name}.norm.weight"]
        fields |= under(f"blocks[{layer}].mixer", mamba_mixer_weights(w, f"{name}.mixer"))
    return fields


def mamba2(c: dict[str, Any]) -> ModelConfig:
    """Its gated norm is over the channels of one group, as in the official code."""
    mixer = Mamba2Config(
        state_size=c["state_size"],
        expand=c.get("expand", 2),
        head_size=c["head_dim"],
        n_group=c["n_groups"],
        conv_size=c.get("conv_kernel", 4),
    )
    return ModelConfig((BlockConfig(mixer),), c["num_hidden_layers"], c["hidden_size"], **outside(c, tied=False))


def mamba2_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "backbone.embeddings.weight", "backbone.norm_f.weight")
    for layer in range(c["num_hidden_layers"]):
        name = f"backbone.layers.{layer}.mixer"
        mixer = {
            **linear(w, w_in=f"{name}.in_proj", w_out=f"{name}.out_proj"),
            "conv": taps(w[f"{name}.conv1d.weight"]),
            "conv_bias": w[f"{name}.conv1d.bias"],
            **{field: w[f"{name}.{field}"] for field in ("dt_bias", "A_log", "D")},
            "norm.scale": w[f"{name}.norm.weight"],
        }
        fields[f"blocks[{layer}].norm.scale"] = w[f"backbone.layers.{layer}.norm.weight"]
        fields |= under(f"blocks[{layer}].mixer", mixer)
    return fields


def jamba_layers(c: dict[str, Any]) -> list[tuple[bool, bool]]:
    """For each layer: is it attention (else Mamba), and has it experts (else an MLP)?"""
    return [
        (
            layer % c["attn_layer_period"] == c["attn_layer_offset"],
            layer % c["expert_layer_period"] == c["expert_layer_offset"],
        )
        for layer in range(c["num_hidden_layers"])
    ]


def jamba(c: dict[str, Any]) -> ModelConfig:
    """Without positions; the chosen experts' weights are not divided by their sum."""
    attention = AttentionConfig(n_head=c["num_attention_heads"], n_kv_head=c["num_key_value_heads"], rope_theta=None)
    mamba = MambaConfig(
        state_size=c["mamba_d_state"],
        expand=c.get("mamba_expand", 2),
        conv_size=c.get("mamba_d_conv", 4),
        dt_rank=c.get("mamba_dt_rank"),
        select_norm=True,
    )
    experts = MoEConfig(
        n_expert=c["num_experts"],
        experts_per_token=c["num_experts_per_tok"],
        width=c["intermediate_size"] / c["hidden_size"],
        activation="silu",
        gated=True,
        normalize=False,
        balance=0.0,
    )
    layers = jamba_layers(c)
    pattern = tuple(BlockConfig((mamba, attention)[first], (swiglu(c), experts)[second]) for first, second in layers)
    return ModelConfig(pattern, len(layers), c["hidden_size"], **outside(c, tied=False))


def jamba_weights(c: dict[str, Any], w: Weights) -> Fields:
    fields = tables(w, "model.embed_tokens.weight", "model.final_layernorm.weight")
    for layer, (is_attention, has_experts) in enumerate(jamba_layers(c)):
        name = f"model.layers.{layer}"
        if is_attention:
            mixer = attention_weights(w, f"{name}.self_attn")
        else:
            norms = {f"{one}_norm.scale": w[f"{name}.mamba.{one.lower()}_layernorm.weight"] for one in ("dt", "B", "C")}
            mixer = mamba_mixer_weights(w, f"{name}.mamba") | norms
        channel = f"{name}.feed_forward"
        block = {
            "norm.scale": w[f"{name}.input_layernorm.weight"],
            **under("mixer", mixer),
            "channel_norm.scale": w[f"{name}.pre_ff_layernorm.weight"],
            **under("channel_mixer", (experts_weights if has_experts else swiglu_weights)(w, channel)),
        }
        fields |= under(f"blocks[{layer}]", block)
    return fields


def experts_weights(w: Weights, name: str) -> Fields:
    """Each expert's matrices are [out, in], the gate's above the other's."""
    gate, up = jnp.split(w[f"{name}.experts.gate_up_proj"].transpose(0, 2, 1), 2, axis=2)
    down = w[f"{name}.experts.down_proj"].transpose(0, 2, 1)
    return {"router": w[f"{name}.router.weight"], "gate": gate, "up": up, "down": down}


def gated_deltanet(c: dict[str, Any]) -> ModelConfig:
    mixer = GatedDeltaNetConfig(
        n_head=c["linear_num_value_heads"],
        n_key_head=c["linear_num_key_heads"],
        key_size=c["linear_key_head_dim"],
        value_size=c["linear_value_head_dim"],
        conv_size=c.get("linear_conv_kernel_dim", 4),
    )
    return ModelConfig(
        (BlockConfig(mixer, swiglu(c)),), c["num_hidden_layers"], c["hidden_size"], **outside(c, tied=False)
    )


def gated_deltanet_weights(c: dict[str, Any], w: Weights) -> Fields:
    """The norms' scales are 1 + weight, but for the one inside the mixer."""
    fields = tables(w, "model.embed_tokens.weight", "model.norm.weight")
    fields["norm.scale"] = 1 + fields["norm.scale"]
    for layer in range(c["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        block = {
            "norm.scale": 1 + w[f"{name}.input_layernorm.weight"],
            **under("mixer", gated_deltanet_mixer_weights(c, w, f"{name}.linear_attn")),
            "channel_norm.scale": 1 + w[f"{name}.post_attention_layernorm.weight"],
            **under("channel_mixer", swiglu_weights(w, f"{name}.mlp")),
        }
        fields |= under(f"blocks[{layer}]", block)
    return fields


def gated_deltanet_mixer_weights(c: dict[str, Any], w: Weights, name: str) -> Fields:
    """The projections lie side by side within each key head, together with those of its value heads."""
    heads, key = c["linear_num_key_heads"], c["linear_key_head_dim"]
    shared = c["linear_num_value_heads"] // heads  # value heads of a key head
    value = shared * c["linear_value_head_dim"]

    def apart(matrix: Array, *sizes: int) -> list[Array]:
        parts = jnp.split(matrix.reshape(heads, sum(sizes), -1), np.cumsum(sizes)[:-1].tolist(), axis=1)
        return [part.reshape(-1, matrix.shape[1]).T for part in parts]

    wq, wk, wv, wg = apart(w[f"{name}.in_proj_qkvz.weight"], key, key, value, value)
    wb, wa = apart(w[f"{name}.in_proj_ba.weight"], shared, shared)
    projections = {"wq": wq, "wk": wk, "wv": wv, "wg": wg, "wb": wb, "wa": wa}
    return {
        **projections,
        **linear(w, wo=f"{name}.out_proj"),
        "conv": taps(w[f"{name}.conv1d.weight"]),
        "A_log": w[f"{name}.A_log"],
        "dt_bias": w[f"{name}.dt_bias"],
        "norm.scale": w[f"{name}.norm.weight"],
    }


MAPPINGS: dict[str, tuple[Callable[[dict[str, Any]], ModelConfig], Callable[[dict[str, Any], Weights], Fields]]] = {
    "gpt2": (gpt2, gpt2_weights),
    "llama": (llama, llama_weights),
    "mamba": (mamba, mamba_weights),
    "mamba2": (mamba2, mamba2_weights),
    "jamba": (jamba, jamba_weights),
    "gated_deltanet": (gated_deltanet, gated_deltanet_weights),
}


def filled(config: ModelConfig, fields: Fields) -> LanguageModel:
    """The model with these weights; every one must have its place and its shape, and every place its weight."""

    def place(path: Any, empty: Any) -> Array:
        name = jax.tree_util.keystr(path).removeprefix(".")
        assert fields[name].shape == empty.shape, f"{name} is {fields[name].shape}, not {empty.shape}"
        return fields[name]

    empty = jax.eval_shape(lambda: LanguageModel.init(config, jax.random.key(0)))
    model = jax.tree.map_with_path(place, empty)
    assert len(fields) == len(jax.tree.leaves(model)), "a weight without a place"
    return model


def compare(family: str, number: int) -> tuple[float, dict[str, float]]:
    """The largest error of a logit, and of each parameter's gradient."""
    c = families.FAMILIES[family][number]
    config, mapping = MAPPINGS[family]
    with safe_open(families.file(family, number), "np") as file:
        shapes = json.loads(file.metadata()["shapes"])
        logits, gradients = file.get_tensor("logits"), file.get_tensor("gradients")
    weights = {name: families.weight(family, number, name, tuple(shape)) for name, shape in shapes.items()}
    ids, cotangent = families.ids(family, number), families.cotangent(family, number)

    def weighted(weights: Weights) -> tuple[Array, Array]:
        got = filled(config(c), mapping(c, weights))(jnp.asarray(ids)).logits
        return (got * cotangent).sum(), got

    with precision("float32"):
        (_, got), slopes = jit(jax.value_and_grad(weighted, has_aux=True))(weights)
    mine = {name: families.kept(name, np.asarray(slopes[name])) for name in shapes}
    theirs = np.split(gradients, np.cumsum([len(one) for one in mine.values()])[:-1])
    errors = {name: error(one, want) for (name, one), want in zip(mine.items(), theirs, strict=True)}
    return float(np.abs(np.asarray(got) - logits).max()), errors


@pytest.mark.parametrize(("family", "number"), families.CASES)
def test_logits_and_gradients_are_those_of_transformers(family: str, number: int) -> None:
    """Catches a layout, a scale, an epsilon or a nonlinearity that differs from the published models' code."""
    logits, gradients = compare(family, number)
    worst = max(gradients, key=gradients.__getitem__)
    assert logits <= LOGITS
    assert gradients[worst] <= GRADIENTS, worst
