"""GPT-2 (Radford et al. 2019) as transformers names it: model_type gpt2. Its matrices are [in, out], as ours."""

from typing import Any

from linearnexus.interop.layouts import Entry, parts, under
from linearnexus.interop.settings import Family, PublishedSettings, tables
from linearnexus.mixers.configs import Activation, AttentionConfig, MLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig

ACTIVATIONS: dict[str, Activation] = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_erf"}


def read(given: PublishedSettings) -> ModelConfig:
    given.only("activation_function", *ACTIVATIONS)
    activation = ACTIVATIONS[given.get("activation_function", str, "gelu_new")]
    given.only("scale_attn_weights", True)
    given.only("scale_attn_by_inverse_layer_idx", False)
    given.only("add_cross_attention", False)
    size = given.whole("n_embd")
    mixer = AttentionConfig(n_head=given.whole("n_head"), rope_theta=None, bias=True)
    return ModelConfig(
        (BlockConfig(mixer, MLPConfig(given.whole("n_inner", 4 * size) / size, activation, bias=True)),),
        given.layers("n_layer"),
        size,
        given.whole("vocab_size"),
        norm=LayerNormConfig(eps=given.number("layer_norm_epsilon", 1e-5)),
        learned_positions=given.whole("n_positions", 1024),
        tie_embeddings=given.flag("tie_word_embeddings", True),
    )


def write(config: ModelConfig) -> dict[str, Any] | None:
    mixer, mlp = config.pattern[0].mixer, config.pattern[0].channel_mixer
    if not (isinstance(mixer, AttentionConfig) and isinstance(mlp, MLPConfig) and config.learned_positions):
        return None
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": config.hidden_size,
        "n_head": mixer.n_head,
        "n_inner": round(mlp.width * config.hidden_size),
        "n_layer": config.n_layer,
        "n_positions": config.learned_positions,
        "activation_function": next((name for name, ours in ACTIVATIONS.items() if ours == mlp.activation), "gelu_new"),
        "layer_norm_epsilon": config.norm.eps,
        **{f"{name}_pdrop": config.dropout for name in ("resid", "embd", "attn")},
    }


def table(config: ModelConfig) -> list[Entry]:
    block = [
        *(Entry(f"norm.{ours}", f"ln_1.{theirs}") for ours, theirs in (("scale", "weight"), ("bias", "bias"))),
        Entry("mixer.wq mixer.wk mixer.wv", "attn.c_attn.weight", parts(3, axis=1)),
        Entry("mixer.bq mixer.bk mixer.bv", "attn.c_attn.bias", parts(3, axis=0)),
        Entry("mixer.wo", "attn.c_proj.weight"),
        Entry("mixer.bo", "attn.c_proj.bias"),
        *(Entry(f"channel_norm.{ours}", f"ln_2.{theirs}") for ours, theirs in (("scale", "weight"), ("bias", "bias"))),
        Entry("channel_mixer.up", "mlp.c_fc.weight"),
        Entry("channel_mixer.up_bias", "mlp.c_fc.bias"),
        Entry("channel_mixer.down", "mlp.c_proj.weight"),
        Entry("channel_mixer.down_bias", "mlp.c_proj.bias"),
    ]
    return [
        *tables(config, "transformer.wte", "transformer.ln_f"),
        Entry("positions", "transformer.wpe.weight"),
        Entry("norm.bias", "transformer.ln_f.bias"),
        *(entry for n in range(config.n_layer) for entry in under(f"blocks.{n}", f"transformer.h.{n}", block)),
    ]


GPT2 = Family("GPT-2", ("gpt2",), read, write, table, "transformer.", r".*\.attn\.(masked_)?bias")
