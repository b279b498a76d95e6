"""Trains the model that comes with the package, linearnexus/pretrained/storyteller: a hybrid that reads words.

    python -m scripts.storyteller FOLDER   # the run that it is made of, a new folder; about ten minutes on two cores

The weights are rounded to bfloat16's eight bits (still stored as float32): that halves the package. Prints what the
rounding costs.
"""

import shutil
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from linearnexus import api
from linearnexus.core.machine import prepare
from linearnexus.data.corpora import load_corpus
from linearnexus.training import checkpoint, run_folder
from linearnexus.training.run_folder import PRETRAINED, STORYTELLER

STEPS = 3000


def main() -> None:
    source = Path(sys.argv[1])
    prepare()
    if not source.exists():
        api.train("jamba-nano", data="stories", tokenizer="bpe:2048", max_steps=STEPS, name=f"{source.resolve()}")
    run, folder = api.load(source), PRETRAINED[STORYTELLER]
    rounded = jax.tree.map(lambda array: array.astype(jnp.bfloat16).astype(array.dtype), run.model)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write = {checkpoint.MODEL: partial(checkpoint.write_tensors, tree=rounded)}
    state = {"step": run.step, "best": None}
    checkpoint.save_files(folder / "checkpoints", run.step, write, state)
    shutil.copy(source / "tokenizer.json", folder)
    run_folder.write_config(folder, *run_folder.read_config(source))
    text = load_corpus("stories").text
    for name, model in (("as trained", run), (STORYTELLER, api.load(STORYTELLER))):
        score = model.evaluate(text)
        print(f"{name}: validation loss {score.loss:.4f} nats a token, {score.bits_per_byte:.4f} bits a byte")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
