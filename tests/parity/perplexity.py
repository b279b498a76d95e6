"""Models trained here go to transformers: the same logits, loss, perplexity and bits per byte on the same windows?

    python -m tests.parity.perplexity --peer .venv-peers/bin/python        prints the table of docs/interop.md

A GPT-2, a Mamba and a Mamba-2 train for some steps on stories, `convert` writes them as Hugging Face folders, and
transformers scores a text with a loop of its own: one window after another, each token once. `make interop` runs it.

Look first at: `THEIRS`.
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
from linearnexus.data.corpora import load_corpus
from linearnexus.interop.run import from_run

LARGEST, RELATIVE = 1e-4, 1e-5  # difference of a logit, and of a loss
WINDOW, STRIDE, CHARACTERS = 64, 24, 6000
MODELS = {"gpt2-small": {"n_head": 4}, "mamba-130m": {}, "mamba2-130m": {}}
THEIRS = """
import json, sys
import numpy as np, torch, transformers
folder, ids_file, logits_file, window, stride = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
ids = np.load(ids_file)
nats, scored = 0.0, 0  # scored: targets so far; target number n is the token n + 1
with torch.no_grad():
    np.save(logits_file, model(torch.tensor(ids[None, : int(window)])).logits.numpy())
    begin = 0
    while scored < len(ids) - 1:
        part = ids[begin : begin + int(window) + 1]
        scores = model(torch.tensor(part[None, :-1])).logits[0].double()
        losses = torch.nn.functional.cross_entropy(scores, torch.tensor(part[1:]), reduction="none")
        new = losses[scored - begin :]
        nats, scored, begin = nats + new.sum().item(), scored + len(new), begin + int(stride)
print(json.dumps([nats, scored]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python of an environment with torch and transformers")
    peer = [parser.parse_args().peer, "-c", THEIRS]
    text = load_corpus("stories").text[-CHARACTERS:]
    size = {"n_layer": 2, "hidden_size": 64, "sequence_length": WINDOW, "max_steps": 100, "sample_tokens": 0}
    good = True
    print(
        "| model trained here | logits differ by | perplexity here | in transformers "
        "| bits per byte here | in transformers |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, options in MODELS.items():
            run = ln.train(
                name, data="stories", tokenizer="byte", name=str(folder / name), quiet=True, **size, **options
            )
            from_run(run.folder, folder / f"{name}-hf")
            ids = run.tokenizer.encode_array(text)
            np.save(folder / "ids.npy", np.asarray(ids, np.int64))
            words = [str(folder / f"{name}-hf"), str(folder / "ids.npy"), str(folder / "logits.npy")]
            done = subprocess.run(
                [*peer, *words, str(WINDOW), str(STRIDE)], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            nats, scored = json.loads(done.stdout.splitlines()[-1])
            ours = run.evaluate(text, sequence_length=WINDOW, stride=STRIDE, part="all")
            begin = jnp.asarray(ids[None, :WINDOW], jnp.int32)
            logits = np.asarray(jax.jit(lambda model, ids: model(ids).logits)(run.model, begin))
            worst = float(np.abs(logits - np.load(folder / "logits.npy")).max())
            bits = nats / np.log(2) / (len(text.encode()) - len(text[0].encode()))
            numbers = f"{ours.perplexity:.6f} | {np.exp(nats / scored):.6f} | {ours.bits_per_byte:.7f} | {bits:.7f}"
            print(f"| {name}, 2 layers of 64 | {worst:.1e} | {numbers} |", flush=True)
            close = abs(nats / ours.nats - 1) < RELATIVE and abs(bits / ours.bits_per_byte - 1) < RELATIVE
            good = good and scored == ours.tokens and worst < LARGEST and close
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
