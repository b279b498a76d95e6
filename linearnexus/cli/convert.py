"""`linearnexus convert SOURCE DESTINATION`: a published model becomes a run folder, a run a Hugging Face folder.

linearnexus convert SmolLM2-135M-Instruct runs/smol
linearnexus convert runs/latest my-model
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError
from linearnexus.core.machine import prepare

DESCRIPTION = """Turn a published model (a Hugging Face folder with safetensors, or a GGUF file) into a run folder, or a
run folder into a Hugging Face folder. What the source is decides the direction. Nothing is downloaded."""


@dataclass(frozen=True)
class ConvertOptions:
    source: tyro.conf.Positional[str]  # a Hugging Face folder, a .gguf file, or a run folder
    destination: tyro.conf.Positional[str]  # the new folder
    checkpoint: str = "best"  # of a run: best (lowest validation loss), last, or a step
    average: bool = False  # of a run that was trained with --ema-decay: the moving average of its weights


def main(arguments: list[str]) -> None:
    options = parse(ConvertOptions, arguments, "convert", DESCRIPTION)
    source, destination = Path(options.source), Path(options.destination)
    if destination.exists():  # told before JAX is imported
        raise UserError(f"{destination} exists and is not overwritten; give a new folder.")
    prepare(warn)
    from linearnexus.interop.run import from_run, is_published, to_run

    if is_published(source):
        opened = to_run(source, destination)
        print(f"{opened.family} of {opened.parameters:,} parameters (n_layer {opened.config.n_layer}), now the run")
        print(f'{destination}. Let it write: linearnexus generate {destination} "Once upon a time"')
    else:
        family = from_run(source, destination, options.checkpoint, warn, options.average)
        print(f"{destination} is a {family} model now, in the layout of Hugging Face.")
