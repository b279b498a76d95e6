"""Folders of transformers become runs, and runs become folders of transformers: do both sides compute the same?

    python -m tests.parity.checkpoints --peer .venv-peers/bin/python          prints the table of docs/interop.md

transformers makes a tiny random model of each case and saves it with its logits; `convert` makes a run of it, whose
logits are compared; the run goes back to a folder, which transformers loads and compares. `make interop` runs it.

Look first at: `main`.
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
from linearnexus.core.tensor_file import TensorFile
from linearnexus.interop.families import FAMILIES
from linearnexus.interop.run import from_run, to_run
from linearnexus.interop.tokenizer_files import write_tokenizer
from linearnexus.tokenizers import CharTokenizer

LARGEST = 1e-4  # difference of a logit
ROOT = Path(__file__).resolve().parents[2]


def there_and_back(folder: Path, name: str) -> tuple[float, float, bool]:
    """The largest difference of a logit, the largest logit, and whether the weights came back bit for bit."""
    source, run, back = folder / name, folder / f"{name}.run", folder / f"{name}.back"
    for file, text in write_tokenizer(CharTokenizer("abc")).items():
        (source / file).write_text(text)
    to_run(source, run)
    saved = np.load(folder / f"{name}.npz")
    got = jax.jit(lambda model, ids: model(ids).logits)(ln.load(run).model, jnp.asarray(saved["ids"], jnp.int32))
    from_run(run, back)
    before, after = (TensorFile(place / "model.safetensors") for place in (source, back))
    same = set(before.places) == set(after.places) and all(
        np.array_equal(before.read(one), after.read(one)) for one in before.places
    )
    return float(np.abs(np.asarray(got) - saved["logits"]).max()), float(np.abs(saved["logits"]).max()), same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python of an environment with torch and transformers")
    peer = parser.parse_args().peer
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = [peer, "-m", "tests.parity.checkpoints_peer"]
        subprocess.run([*command, "save", place], cwd=ROOT, check=True)
        known = {kind for family in FAMILIES for kind in family.model_types}  # the others are for make parity alone
        made = sorted(path.stem for path in folder.glob("*.npz"))
        cases = [
            name for name in made if json.loads((folder / name / "config.json").read_text())["model_type"] in known
        ]
        found = {name: there_and_back(folder, name) for name in cases}
        told = subprocess.run([*command, "compare", place], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        theirs = json.loads(told.stdout.splitlines()[-1])
    print("| case | largest logit | run against transformers | transformers on the way back | weights back |")
    print("|---|---|---|---|---|")
    failed = False
    for name, (ours, largest, same) in found.items():
        print(f"| {name} | {largest:.1f} | {ours:.1e} | {theirs[name]:.1e} | {'bit for bit' if same else 'changed'} |")
        failed |= not (ours <= LARGEST and theirs[name] <= LARGEST)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
