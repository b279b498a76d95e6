"""`linearnexus eval RUN CORPUS`: how well a model predicts a text.

linearnexus eval runs/latest stories
linearnexus eval runs/latest my_text.txt --stride 32
"""

import math
import time
from dataclasses import dataclass
from typing import Literal

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.machine import prepare
from linearnexus.data.corpora import load_corpus
from linearnexus.models.config import Weights
from linearnexus.training import run_folder

DESCRIPTION = """Tell how well a model predicts a text: loss, perplexity, and bits per byte, which compare across
tokenizers. Every token but the first is scored once."""


@dataclass(frozen=True)
class EvalOptions:
    run: tyro.conf.Positional[str]  # a run folder, or runs/latest
    corpus: tyro.conf.Positional[str]  # a corpus, a text file, a folder, a pattern
    # the whole text, or its last part alone, which a run on it was not trained on; default: that part where the run was
    # trained on this very text
    part: Literal["all", "validation"] | None = None
    sequence_length: int | None = None  # tokens of a window, T; default: what the run was trained with
    stride: int | None = None  # tokens between windows: each token has at least T - stride before it; default: T
    carry_state: bool = False  # go through the text once, the state handed on, in place of windows
    batch_size: int = 16  # windows at a time
    checkpoint: str = "best"  # best (lowest validation loss), last, or a step
    # bfloat16 takes half the memory, int8 a quarter, and a large model writes faster with it; each a little less exact
    weights: Weights = "float32"
    average: bool = False  # the moving average of the weights, of a run that was trained with --ema-decay


def main(arguments: list[str]) -> None:
    options = parse(EvalOptions, arguments, "eval", DESCRIPTION)
    run_folder.read_config(run_folder.find(options.run))  # mistakes are told before JAX is imported
    text = load_corpus(options.corpus).text
    prepare(warn)
    from linearnexus import api

    began = time.perf_counter()
    run = api.load(options.run, options.checkpoint, warn, options.weights, options.average)
    part = options.part or run.part(text)
    score = run.evaluate(
        text, options.sequence_length, options.stride, options.carry_state, part=part, batch_size=options.batch_size
    )
    what = "the whole text" if part == "all" else "the part that is not trained on"
    print(f"{run.folder}, step {run.step:,}, on {options.corpus} ({what}):")
    print(f"loss           {score.loss:.6f} nats a token (guessing: {math.log(run.model.config.vocab_size):.3f})")
    print(f"perplexity     {score.perplexity:.4f}")
    print(f"bits per byte  {score.bits_per_byte:.6f}")
    seconds = time.perf_counter() - began
    print(f"{score.tokens:,} tokens, {score.bytes:,} bytes, {seconds:.1f} seconds")
