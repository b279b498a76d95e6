"""What parity is tested on: nine families of transformers, three tiny configurations each, and numbers for all of them.

The numbers follow from names alone, so that the side with torch (`make_golden.py`) and the side with JAX
(`test_parity.py`) draw the same weights and nothing but results is stored. Imports neither.

Look first at: `FAMILIES`, `weight`.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).with_name("golden")
BATCH = 2
LENGTH = 37  # no multiple of any chunk
SAMPLE = 160  # elements that are kept of a larger gradient
NORMS = ("norm", "norm_f", "ln_1", "ln_2", "ln_f", "norm_mlstm", "norm_ffn")  # ends of their names


def _no_tokens(**settings: Any) -> dict[str, Any]:
    """PublishedSettings without special tokens: a padding token's embedding would have no gradient."""
    return {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, **settings}


def _gpt2(**settings: Any) -> dict[str, Any]:
    return _no_tokens(n_positions=41, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **settings)


def _mamba(**settings: Any) -> dict[str, Any]:
    return _no_tokens(num_hidden_layers=2, **settings)


def _mamba2(**settings: Any) -> dict[str, Any]:
    """The chunk is shorter than the text, so that the reference carries states between chunks."""
    return _no_tokens(num_hidden_layers=2, chunk_size=16, layer_norm_epsilon=1e-5, **settings)


def _jamba(**settings: Any) -> dict[str, Any]:
    return _no_tokens(use_mamba_kernels=False, rms_norm_eps=1e-5, **settings)


def _gated_deltanet(**settings: Any) -> dict[str, Any]:
    """Qwen3-Next with Gated DeltaNet and a SwiGLU MLP in every layer."""
    layers = {"num_hidden_layers": 2, "layer_types": ["linear_attention"] * 2, "mlp_only_layers": [0, 1]}
    return _no_tokens(**layers, rms_norm_eps=1e-5, **settings)


def _kimi_linear(*layers: str, **settings: Any) -> dict[str, Any]:
    """Kimi Linear with a SwiGLU MLP in every layer; `layers`: linear or full, each one's attention."""
    types = {"layer_types": [f"{layer}_attention" for layer in layers], "mlp_layer_types": ["dense"] * len(layers)}
    return _no_tokens(num_hidden_layers=len(layers), **types, **settings)


def _deepseek_v3(**settings: Any) -> dict[str, Any]:
    """DeepSeek-V3 with a SwiGLU MLP in every layer."""
    return _no_tokens(num_hidden_layers=2, first_k_dense_replace=2, **settings)


def _xlstm(**settings: Any) -> dict[str, Any]:
    """The cap of logits c tanh(x / c), which we have not, changes them by x (x / c)^2 / 3 = 3e-10 at x = 10. The chunk
    is shorter than the text."""
    cap = {"output_logit_soft_cap": 1e6}
    return _no_tokens(num_hidden_layers=2, chunk_size=16, ffn_round_up_to_multiple_of=1, **cap, **settings)


# Arguments of the family's config class in transformers.
FAMILIES: dict[str, tuple[dict[str, Any], ...]] = {
    "gpt2": (
        _gpt2(vocab_size=29, n_embd=24, n_layer=2, n_head=3),
        _gpt2(vocab_size=31, n_embd=25, n_layer=3, n_head=5, n_inner=35, tie_word_embeddings=False),
        _gpt2(vocab_size=23, n_embd=21, n_layer=1, n_head=1, layer_norm_epsilon=1e-2),
    ),
    "llama": (
        _no_tokens(
            vocab_size=29,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            tie_word_embeddings=False,
        ),
        _no_tokens(
            vocab_size=31,
            hidden_size=36,
            intermediate_size=27,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=2,
            attention_bias=True,
            rms_norm_eps=1e-2,
            tie_word_embeddings=True,
        ),
        _no_tokens(
            vocab_size=23,
            hidden_size=20,
            intermediate_size=33,
            num_hidden_layers=3,
            num_attention_heads=5,
            num_key_value_heads=5,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            tie_word_embeddings=False,
        ),
    ),
    "mamba": (
        _mamba(vocab_size=29, hidden_size=18, state_size=16),
        _mamba(vocab_size=31, hidden_size=20, state_size=5, expand=3, conv_kernel=3, time_step_rank=3),
        _mamba(vocab_size=23, hidden_size=33, state_size=7, expand=1, conv_kernel=2, tie_word_embeddings=False),
    ),
    "mamba2": (
        _mamba2(vocab_size=29, hidden_size=24, state_size=16, num_heads=6, head_dim=8, n_groups=1),
        _mamba2(
            vocab_size=31,
            hidden_size=20,
            state_size=5,
            num_heads=6,
            head_dim=10,
            n_groups=2,
            expand=3,
            conv_kernel=3,
            tie_word_embeddings=True,
        ),
        _mamba2(vocab_size=23, hidden_size=30, state_size=9, num_heads=12, head_dim=5, n_groups=3, conv_kernel=2),
    ),
    "jamba": (
        _jamba(
            vocab_size=29,
            hidden_size=24,
            intermediate_size=20,
            num_hidden_layers=4,
            num_attention_heads=3,
            num_key_value_heads=1,
            attn_layer_period=4,
            attn_layer_offset=2,
            expert_layer_period=2,
            expert_layer_offset=1,
            num_experts=4,
            num_experts_per_tok=2,
            mamba_d_state=5,
        ),
        _jamba(
            vocab_size=31,
            hidden_size=20,
            intermediate_size=12,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_layer_period=3,
            attn_layer_offset=1,
            expert_layer_period=1,
            expert_layer_offset=0,
            num_experts=5,
            num_experts_per_tok=1,
            mamba_d_state=16,
            mamba_d_conv=3,
            mamba_dt_rank=3,
            tie_word_embeddings=True,
        ),
        _jamba(
            vocab_size=23,
            hidden_size=15,
            intermediate_size=21,
            num_hidden_layers=3,
            num_attention_heads=5,
            num_key_value_heads=5,
            attn_layer_period=2,
            attn_layer_offset=0,
            expert_layer_period=3,
            expert_layer_offset=2,
            num_experts=7,
            num_experts_per_tok=3,
            mamba_d_state=7,
            mamba_expand=3,
        ),
    ),
    "gated_deltanet": (
        _gated_deltanet(
            vocab_size=29,
            hidden_size=24,
            intermediate_size=20,
            linear_num_key_heads=1,
            linear_num_value_heads=3,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
        ),
        _gated_deltanet(
            vocab_size=31,
            hidden_size=18,
            intermediate_size=25,
            linear_num_key_heads=2,
            linear_num_value_heads=6,
            linear_key_head_dim=7,
            linear_value_head_dim=5,
            linear_conv_kernel_dim=3,
            tie_word_embeddings=True,
        ),
        _gated_deltanet(
            vocab_size=23,
            hidden_size=20,
            intermediate_size=30,
            linear_num_key_heads=3,
            linear_num_value_heads=3,
            linear_key_head_dim=6,
            linear_value_head_dim=12,
            linear_conv_kernel_dim=2,
        ),
    ),
    "kimi_linear": (
        _kimi_linear(
            "linear",
            vocab_size=29,
            hidden_size=24,
            intermediate_size=20,
            linear_num_heads=3,
            linear_head_dim=8,
        ),
        _kimi_linear(
            "linear",
            "full",
            vocab_size=31,
            hidden_size=18,
            intermediate_size=25,
            linear_num_heads=5,
            linear_head_dim=7,
            linear_conv_kernel_dim=3,
            num_attention_heads=3,
            num_key_value_heads=3,
            kv_lora_rank=11,
            q_lora_rank=6,
            qk_nope_head_dim=5,
            qk_rope_head_dim=3,
            v_head_dim=7,
        ),
        _kimi_linear(
            "linear",
            vocab_size=23,
            hidden_size=20,
            intermediate_size=30,
            linear_num_heads=1,
            linear_head_dim=9,
            linear_conv_kernel_dim=2,
        ),
    ),
    "deepseek_v3": (
        _deepseek_v3(
            vocab_size=29,
            hidden_size=24,
            intermediate_size=40,
            num_attention_heads=3,
            num_key_value_heads=3,
            kv_lora_rank=12,
            q_lora_rank=None,
            qk_nope_head_dim=8,
            qk_rope_head_dim=4,
            v_head_dim=8,
        ),
        _deepseek_v3(
            vocab_size=31,
            hidden_size=25,
            intermediate_size=27,
            num_attention_heads=5,
            num_key_value_heads=5,
            kv_lora_rank=9,
            q_lora_rank=7,
            qk_nope_head_dim=5,
            qk_rope_head_dim=6,
            v_head_dim=3,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            tie_word_embeddings=True,
        ),
        _deepseek_v3(
            vocab_size=23,
            hidden_size=21,
            intermediate_size=33,
            num_attention_heads=1,
            num_key_value_heads=1,
            kv_lora_rank=13,
            q_lora_rank=11,
            qk_nope_head_dim=3,
            qk_rope_head_dim=8,
            v_head_dim=10,
            rope_interleave=False,
            rms_norm_eps=1e-2,
        ),
    ),
    "xlstm": (
        _xlstm(vocab_size=29, hidden_size=24, num_heads=3, ffn_proj_factor=1.5),
        _xlstm(
            vocab_size=31,
            hidden_size=20,
            num_heads=5,
            ffn_proj_factor=1.25,
            qk_dim_factor=0.75,
            v_dim_factor=1.5,
            gate_soft_cap=2.0,
        ),
        _xlstm(
            vocab_size=23,
            hidden_size=21,
            num_heads=1,
            ffn_proj_factor=2.0,
            qk_dim_factor=1.0,
            v_dim_factor=0.34,
            gate_soft_cap=5.0,
        ),
    ),
}
TYPES = {"gated_deltanet": "qwen3_next"}  # model_type in transformers, where it has another name
CASES = [(family, number) for family, cases in FAMILIES.items() for number in range(len(cases))]
LENGTHS = {("gated_deltanet", 1): 70, ("kimi_linear", 1): 70}  # the reference's chunk is 64


def _random(*name: object) -> np.random.RandomState:
    """A generator that NumPy has promised never to change."""
    return np.random.RandomState(zlib.crc32("/".join(map(str, name)).encode()))


def weight(family: str, number: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The parameter of that name in transformers, of a size at which every part of the model matters."""
    rng = _random(family, number, name)
    noise = rng.standard_normal(shape)
    if name.endswith("A_log"):
        value = np.log(rng.uniform(1, 16, shape))
    elif name.endswith(("dt_bias", "dt_proj.bias")):
        step = np.exp(rng.uniform(math.log(1e-3), math.log(1e-1), shape))
        value = step + np.log(-np.expm1(-step))  # the inverse of softplus
    elif name.endswith((".D", *(f"{norm}.weight" for norm in NORMS))):
        # Qwen3-Next's scale is 1 + weight, but for the norm inside Gated DeltaNet
        centre = 0 if family == "gated_deltanet" and not name.endswith("linear_attn.norm.weight") else 1
        value = centre + 0.2 * noise
    elif name.endswith("bias"):
        value = 0.2 * noise
    elif name.endswith(("wte.weight", "wpe.weight", "embeddings.weight", "embed_tokens.weight")):
        value = 0.5 * noise
    else:  # torch's matrices are [out, in] and its taps [channel, 1, tap]; GPT-2's matrices are [in, out]
        value = noise / math.sqrt(shape[0] if family == "gpt2" and "lm_head" not in name else shape[-1])
    return value.astype(np.float32)


def ids(family: str, number: int) -> np.ndarray:
    """The tokens, [B, T]."""
    size = (BATCH, LENGTHS.get((family, number), LENGTH))
    return _random(family, number, "ids").randint(FAMILIES[family][number]["vocab_size"], size=size).astype(np.int32)


def cotangent(family: str, number: int) -> np.ndarray:
    """The gradients are those of sum(logits * cotangent), [B, T, W]."""
    shape = (*ids(family, number).shape, FAMILIES[family][number]["vocab_size"])
    return _random(family, number, "cotangent").standard_normal(shape).astype(np.float32)


def kept(name: str, gradient: np.ndarray) -> np.ndarray:
    """What a file keeps of a gradient: the largest absolute value, then all elements, or a fixed sample of them."""
    flat = gradient.reshape(-1)
    if flat.size > SAMPLE:
        flat = flat[np.sort(_random("sample", name).choice(flat.size, SAMPLE, replace=False))]
    return np.concatenate([[np.abs(gradient).max()], flat]).astype(np.float32)


def file(family: str, number: int) -> Path:
    return GOLDEN / f"{family}-{number}.safetensors"
