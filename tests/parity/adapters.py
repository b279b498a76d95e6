"""Adapters learned here, loaded by PEFT beside the model of transformers that the run began with: the same logits?

    python -m tests.parity.adapters --peer .venv-peers/bin/python        prints the table of docs/finetuning.md

transformers makes a tiny random model, `convert` makes a run of it, `sft` teaches the run a few steps, and PEFT puts
the run's adapter/ onto transformers' own model. `make interop` runs it.

Look first at: `taught`, `THEIRS`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import linearnexus as ln
from linearnexus.api import sft
from linearnexus.interop.run import to_run
from linearnexus.interop.tokenizer_files import write_tokenizer
from linearnexus.tokenizers import ByteTokenizer

LARGEST = 1e-4  # difference of a logit
SMALL = {"vocab_size": 256, "hidden_size": 48, "num_hidden_layers": 2}
HEADS = {"intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
CASES = {
    "llama": ({**SMALL, **HEADS}, ()),
    "qwen2": ({**SMALL, **HEADS}, ("wq", "wv")),
    "qwen3": ({**SMALL, **HEADS, "head_dim": 12}, ()),
}
METHODS = ("lora", "dora")
THEIRS = """
import json, sys
import numpy as np, torch, transformers
from peft import PeftModel
do, kind, folder, *rest = sys.argv[1:]
if do == "save":
    torch.manual_seed(0)
    nothing = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = transformers.AutoConfig.for_model(kind, **json.loads(rest[0]), **nothing)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
else:
    adapter, ids, out = rest
    model = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    with torch.no_grad():
        np.save(out, model(torch.tensor(np.load(ids))).logits.numpy())
"""


def taught(run: Path, folder: Path, method: str, targets: tuple[str, ...]) -> ln.Run:
    """The run after ten steps on a few questions."""
    lines = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(40)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"max_steps": 10, "sequence_length": 64, "batch_size": 4, "sample_tokens": 0, "rank": 3}
    name = str(folder / f"{run.name}-{method}")
    return sft(run, folder / "sums.jsonl", name=name, quiet=True, method=method, targets=targets, **options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python of an environment with torch, transformers and PEFT")
    peer = [parser.parse_args().peer, "-c", THEIRS]
    worst = 0.0
    print("| model | method | adapted | learned (largest change of a logit) | PEFT against us |")
    print("|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ids = np.random.default_rng(0).integers(0, 256, (2, 37))
        np.save(folder / "ids.npy", ids)
        for kind, (settings, targets) in CASES.items():
            source, run = folder / kind, folder / f"{kind}-run"
            subprocess.run(
                [*peer, "save", kind, str(source), json.dumps(settings)], check=True, stderr=subprocess.DEVNULL
            )
            for file, text in write_tokenizer(ByteTokenizer()).items():
                (source / file).write_text(text)
            to_run(source, run)
            forward = jax.jit(lambda model: model(jnp.asarray(ids, jnp.int32)).logits)
            before = np.asarray(forward(ln.load(run).model))
            for method in METHODS:
                made = taught(run, folder, method, targets)
                ours = np.asarray(forward(made.model))
                out = folder / "theirs.npy"
                words = [str(made.folder / "adapter"), str(folder / "ids.npy"), str(out)]
                subprocess.run([*peer, "load", kind, str(source), *words], check=True, stderr=subprocess.DEVNULL)
                difference = float(np.abs(ours - np.load(out)).max())
                modules = json.loads((made.folder / "adapter" / "adapter_config.json").read_text())["target_modules"]
                change = float(np.abs(ours - before).max())
                print(f"| {kind} | {method} | {len(modules)} | {change:.2f} | {difference:.1e} |", flush=True)
                worst = max(worst, difference)
                assert change > 100 * difference, "the adapter did nothing that could be compared"
    return 0 if worst < LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
