"""The side of `tests.parity.checkpoints` that has torch and transformers.

    python -m tests.parity.checkpoints_peer save FOLDER      a random model of each case, and its logits
    python -m tests.parity.checkpoints_peer compare FOLDER   the logits of what LinearNexus has written there

Look first at: `CASES`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.parity import families

# (model_type, settings): those of tests/parity/families.py, and the relatives that differ in a part.
SMALL = {
    "vocab_size": 29,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
HYBRID = {
    "num_hidden_layers": 4,
    "head_dim": 8,
    "partial_rotary_factor": 0.5,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 7,
    "linear_value_head_dim": 5,
    "mlp_only_layers": [1],
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 9,
    "shared_expert_intermediate_size": 11,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{family}-{number}": (families.TYPES.get(family, family), settings)
        for family, cases in families.FAMILIES.items()
        for number, settings in enumerate(cases)
    },
    "llama-scaled": ("llama", {**SMALL, "head_dim": 8, "rope_parameters": LLAMA3}),
    "llama-linear": ("llama", {**SMALL, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}}),
    "mistral": ("mistral", {**SMALL, "sliding_window": 7, "head_dim": 10}),
    "qwen2": ("qwen2", {**SMALL, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2", {**SMALL, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "falcon_mamba": ("falcon_mamba", {**SMALL, "intermediate_size": 48, "state_size": 5, "mixer_rms_eps": 1e-2}),
    "qwen3": ("qwen3", {**SMALL, "head_dim": 10, "rms_norm_eps": 1e-2}),
    "jamba-mlp": ("jamba", {**SMALL, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1}),
    "qwen3_next": ("qwen3_next", {**SMALL, **HYBRID}),
}


def random_model(name: str) -> Any:
    kind, settings = CASES[name]
    config = transformers.AutoConfig.for_model(kind, **settings, use_cache=False)
    model = transformers.AutoModelForCausalLM.from_config(config, **EAGER).eval()
    family, _, number = name.partition("-")
    family = "gated_deltanet" if kind == "qwen3_next" else family  # its norms are centred on 0
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(families.weight(family, number, place, tuple(parameter.shape))))
    return model


def ids(name: str) -> torch.Tensor:
    words = CASES[name][1]["vocab_size"]
    return torch.from_numpy(np.random.default_rng(0).integers(words, size=(families.BATCH, families.LENGTH)))


def logits(model: Any, name: str) -> np.ndarray:
    with torch.no_grad():
        return model(ids(name), use_cache=False).logits.numpy()


def save(folder: Path) -> None:
    for name in CASES:
        model = random_model(name)
        model.save_pretrained(folder / name)
        np.savez(folder / f"{name}.npz", ids=ids(name).numpy(), logits=logits(model, name))


def compare(folder: Path) -> None:
    """Prints {case: the largest difference of a logit}."""
    found = {}
    for place in sorted(folder.glob("*.back")):
        model = transformers.AutoModelForCausalLM.from_pretrained(place, **EAGER).eval()
        want = np.load(folder / f"{place.stem}.npz")["logits"]
        found[place.stem] = float(np.abs(logits(model, place.stem) - want).max())
    print(json.dumps(found))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    {"save": save, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
