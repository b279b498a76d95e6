"""`linearnexus generate RUN PROMPT`: text from a trained model, printed as it is made.

linearnexus generate runs/latest "Once upon a time" --temperature 0.7 --top-k 50
"""

from dataclasses import dataclass

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.machine import prepare
from linearnexus.generation.config import SamplingConfig
from linearnexus.models.config import Weights
from linearnexus.training import run_folder

DESCRIPTION = "Let a trained model write. The text streams to the terminal as it is made."

DEFAULT_TOKENS = 300


@dataclass(frozen=True)
class GenerateOptions:
    run: tyro.conf.Positional[str]  # a run folder, or runs/latest
    prompt: tyro.conf.Positional[str]  # the beginning of the text
    sampling: SamplingConfig = SamplingConfig()
    max_tokens: int | None = None  # tokens to write at most; None: 300, or what fits a model with learned positions
    samples: int = 1  # different continuations
    stop: tuple[str, ...] = ()  # texts that end the continuation
    checkpoint: str = "best"  # best (lowest validation loss), last, or a step
    # bfloat16 takes half the memory, int8 a quarter, and a large model writes faster with it; each a little less exact
    weights: Weights = "float32"
    average: bool = False  # the moving average of the weights, of a run that was trained with --ema-decay


def main(arguments: list[str]) -> None:
    options = parse(GenerateOptions, arguments, "generate", DESCRIPTION)
    run_folder.read_config(run_folder.find(options.run))  # a mistake is told before JAX is imported
    prepare(warn)
    from linearnexus import api

    run = api.load(options.run, options.checkpoint, warn, options.weights, options.average)
    length = options.max_tokens
    if length is None:
        length = run.generator.room(options.prompt, DEFAULT_TOKENS)
    if options.samples == 1:
        pieces = run.generator.stream(options.prompt, length, options.sampling, stop=options.stop)
        print(options.prompt, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return
    for number, made in enumerate(
        run.generator.generate(options.prompt, length, options.sampling, stop=options.stop, samples=options.samples)
    ):
        print(f"--- {number + 1} ---\n{options.prompt}{made.text}")
