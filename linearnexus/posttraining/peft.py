"""Adapters alone, in the layout of PEFT: adapter_config.json and adapter_model.safetensors.

The names of modules are those of transformers, where a family there computes what the model does and each adapted
matrix is a linear layer of its own: PEFT then loads the adapter beside that model. Otherwise they are ours
(`blocks.0.mixer.wq`), and of each expert of a stack its number (`blocks.1.channel_mixer.up.3`). PEFT stores the
transposes: lora_A [rank, in], lora_B [out, rank].
"""

import json
from pathlib import Path

import numpy as np

from linearnexus.core.paths import write_atomic
from linearnexus.interop.families import linear_layers
from linearnexus.posttraining.config import SFTConfig
from linearnexus.posttraining.lora import Adapters
from linearnexus.training.checkpoint import write_tensors


def save(adapters: Adapters, config: SFTConfig, base: str, folder: Path) -> None:
    """Writes both files. Raises OSError."""
    tensors, modules = {}, []
    theirs = linear_layers(config.model)
    named = theirs if set(adapters.layers) <= set(theirs) else {}
    for name, adapter in adapters.layers.items():
        A, B = np.asarray(adapter.A), np.asarray(adapter.B)
        length = None if adapter.magnitude is None else np.asarray(adapter.magnitude)
        for number in np.ndindex(A.shape[:-2]):
            module = ".".join([named.get(name, name), *map(str, number)])
            modules.append(module)
            place = f"base_model.model.{module}"
            tensors[f"{place}.lora_A.weight"] = np.ascontiguousarray(A[number].T)
            tensors[f"{place}.lora_B.weight"] = np.ascontiguousarray(B[number].T)
            if length is not None:
                tensors[f"{place}.lora_magnitude_vector"] = np.ascontiguousarray(length[number])
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "use_dora": config.method == "dora",
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "adapter_model.safetensors", tensors)
    write_atomic(folder / "adapter_config.json", json.dumps(settings, indent=1) + "\n")
