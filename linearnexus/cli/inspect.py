"""`linearnexus inspect RUN PROMPT`: how the model reads the prompt, and what it would write next.

linearnexus inspect runs/latest "Once upon a ti" --temperature 0.8 --top-k 5 --top-p 0.9
"""

from dataclasses import dataclass

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError
from linearnexus.core.machine import prepare
from linearnexus.generation.config import SamplingConfig
from linearnexus.training import run_folder

DESCRIPTION = """Show a prompt's tokens and ids, how probable the model found each, and the probabilities of the next
token before and after each step of sampling."""
TITLES = {
    "raw": "model",
    "repetition_penalty": "penalty",
    "temperature": "temperature",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
}


@dataclass(frozen=True)
class InspectOptions:
    run: tyro.conf.Positional[str]  # a run folder, or runs/latest
    prompt: tyro.conf.Positional[str]  # the text to look at
    sampling: SamplingConfig = SamplingConfig()
    top: int = 10  # candidates for the next token to show
    checkpoint: str = "best"  # best (lowest validation loss), last, or a step


def main(arguments: list[str]) -> None:
    options = parse(InspectOptions, arguments, "inspect", DESCRIPTION)
    if options.top < 1:
        raise UserError(f"top is {options.top}; it counts the candidates to show, so give 1 or more.")
    run_folder.read_config(run_folder.find(options.run))  # a mistake is told before JAX is imported
    prepare(warn)
    from rich.console import Console
    from rich.table import Table

    from linearnexus import api
    from linearnexus.generation.look import inspect_prompt

    run = api.load(options.run, options.checkpoint, warn)
    seen = inspect_prompt(run.generator, options.prompt, options.sampling, options.top)
    console = Console(highlight=False)
    table = Table(title="The prompt, token by token", title_justify="left")
    for column in ("token", "id", "probability", "surprise (bits)"):
        table.add_column(column, justify="left" if column == "token" else "right")
    for token in seen.tokens:
        values = ("", "") if token.probability is None else (_percent(token.probability), f"{token.surprise:.1f}")
        table.add_row(repr(token.text), str(token.id), *values)
    console.print(table)
    sampling = options.sampling
    settings = {
        "repetition_penalty": (sampling.repetition_penalty, sampling.repetition_penalty != 1),
        "temperature": (sampling.temperature, True),
        "top_k": (sampling.top_k, sampling.top_k > 0),
        "top_p": (sampling.top_p, sampling.top_p < 1),
        "min_p": (sampling.min_p, sampling.min_p > 0),
    }
    stages = ["raw", *(name for name, (_, on) in settings.items() if on)]
    table = Table(title="\nThe next token", title_justify="left")
    table.add_column("token")
    table.add_column("id", justify="right")
    for name in stages:
        table.add_column(TITLES[name] if name == "raw" else f"{TITLES[name]} {settings[name][0]:g}", justify="right")
    for candidate in seen.candidates:
        cells = (_percent(candidate.probabilities[name]) for name in stages)
        table.add_row(repr(candidate.text), str(candidate.id), *cells)
    table.add_section()
    table.add_row("tokens left", "", *(str(seen.kept[name]) for name in stages))
    console.print(table)
    console.print(
        "Each column is the probability after that step of sampling; the last one is what the token is drawn from."
    )


def _percent(probability: float) -> str:
    return "-" if probability == 0 else f"{probability:.2%}"
