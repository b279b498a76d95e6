"""Computes with transformers what `test_parity.py` compares our models with, or checks the files.

    python -m tests.parity.make_golden            writes tests/parity/golden/
    python -m tests.parity.make_golden --check    recomputes, and ends with 1 where a file says something else

Runs in an environment with torch and transformers, which the product never needs: `make parity` makes one.
"""

import argparse
import json
import sys
from collections.abc import Iterator

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.parity import families

MODELS = {
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mamba": (transformers.MambaConfig, transformers.MambaForCausalLM),
    "mamba2": (transformers.Mamba2Config, transformers.Mamba2ForCausalLM),
    "jamba": (transformers.JambaConfig, transformers.JambaForCausalLM),
    "gated_deltanet": (transformers.Qwen3NextConfig, transformers.Qwen3NextForCausalLM),
    "kimi_linear": (transformers.KimiLinearConfig, transformers.KimiLinearForCausalLM),
    "deepseek_v3": (transformers.DeepseekV3Config, transformers.DeepseekV3ForCausalLM),
    "xlstm": (transformers.xLSTMConfig, transformers.xLSTMForCausalLM),
}
TOLERANCE = 1e-5  # between versions and machines, relative to the largest element


def golden(family: str, number: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of one file. Gradients lie behind one another, in the order of `shapes`."""
    config_class, model_class = MODELS[family]
    plain = {"attn_implementation": "eager", "experts_implementation": "eager", "use_cache": False}
    config = config_class(**families.FAMILIES[family][number], **plain)
    model = model_class(config).eval()
    shapes = {name: tuple(parameter.shape) for name, parameter in sorted(model.named_parameters())}
    weights = {name: torch.from_numpy(families.weight(family, number, name, shape)) for name, shape in shapes.items()}
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys, loaded
    assert set(loaded.missing_keys) <= ({"lm_head.weight"} if config.tie_word_embeddings else set()), loaded
    logits = model(torch.from_numpy(families.ids(family, number)).long(), use_cache=False).logits
    (logits * torch.from_numpy(families.cotangent(family, number))).sum().backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    weakest = min(gradients, key=lambda name: np.abs(gradients[name]).max())
    assert np.abs(gradients[weakest]).max() > 1e-3, f"{weakest} hardly matters"
    arrays = {
        "logits": logits.detach().numpy(),
        "gradients": np.concatenate([families.kept(name, gradients[name]) for name in shapes]),
    }
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return arrays, versions | {"shapes": json.dumps(shapes, separators=(",", ":"))}


def differences(family: str, number: int) -> Iterator[str]:
    """What the file on disk says otherwise."""
    arrays, metadata = golden(family, number)
    with safe_open(families.file(family, number), "np") as file:
        if file.metadata()["shapes"] != metadata["shapes"]:
            yield "other parameters"
            return
        stored = {name: file.get_tensor(name) for name in arrays}
    parts = [("logits", arrays["logits"], stored["logits"])]
    start = 0
    for name, shape in json.loads(metadata["shapes"]).items():
        place = slice(start, start := start + 1 + min(int(np.prod(shape)), families.SAMPLE))
        parts.append((name, arrays["gradients"][place], stored["gradients"][place]))
    for name, now, then in parts:
        off = np.abs(now - then).max() / np.abs(then).max()
        if not off <= TOLERANCE:
            yield f"{name} differs by {off:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    failed = False
    for family, number in families.CASES:
        if check:
            found = list(differences(family, number))
            failed |= bool(found)
            print(f"{family}-{number}: {'; '.join(found) or 'the same'}", flush=True)
        else:
            path = families.file(family, number)
            path.parent.mkdir(exist_ok=True)
            arrays, metadata = golden(family, number)
            save_file(arrays, path, metadata)
            print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
