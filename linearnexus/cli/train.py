"""`linearnexus train [PRESET | RECIPE.py] [options]`: train a model on a text.

linearnexus train gpt-nano --data stories --max-minutes 3
linearnexus train mamba-nano --data my_text.txt --max-steps 1000
linearnexus train --resume runs/latest
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError
from linearnexus.core.machine import prepare
from linearnexus.models.presets import PRESETS
from linearnexus.tokenizers import TRAINED, build, check
from linearnexus.training.config import TrainSettings
from linearnexus.training.recipes import base_config, continued, with_options
from linearnexus.training.run_folder import find, read_config
from linearnexus.training.source import check_source

DESCRIPTION = f"""Train a model and save it in a run folder. The first argument is a preset or a recipe's .py file.

Presets: {", ".join(PRESETS)}. `linearnexus info PRESET` tells what one is made of."""


@dataclass(frozen=True)
class ModelOptions:
    """The architecture; what is left out stays as the preset has it."""

    pattern: str | None = None  # sequence mixers, layer after layer: "3*mamba2,1*attention(window=64)"
    n_layer: int | None = None  # depth: number of blocks
    hidden_size: int | None = None  # width of the model
    n_head: int | None = None  # attention heads
    n_kv_head: int | None = None  # key and value heads, shared by groups of heads
    window: int | None = None  # tokens that attention looks back over
    learned_positions: int | None = None  # rows of a learned position table; 0 for none
    tie_embeddings: bool | None = None  # is the output head the embedding table?
    dropout: float | None = None  # share of activations set to zero in training
    dtype: Literal["float32", "bfloat16"] | None = None  # of activations


@dataclass(frozen=True)
class Options:
    model: tyro.conf.Positional[str]  # a preset or the .py file of a recipe
    run: TrainSettings
    architecture: ModelOptions = ModelOptions()
    name: str | None = None  # the run's folder below runs/ (or a path); default: PRESET-DATA-N
    resume: str | None = None  # go on with this run, from its last checkpoint (alone: with runs/latest)


def main(arguments: list[str]) -> None:
    arguments = _resume_latest(arguments)
    model, rest = _model(arguments)
    if rest and not rest[0].startswith("-"):
        raise UserError(f"'{rest[0]}' is too much after {model}; to train on a text, write --data {rest[0]}.")
    resumed = _value(rest, "--resume")
    folder = None if resumed is None else find(resumed)
    base = base_config(model) if folder is None else read_config(folder)[0]
    if resumed is not None and arguments is not rest and base_config(model).preset != base.preset:
        raise UserError(
            f"{resumed} was trained as {base.preset}, another architecture than {model}, so it cannot go on as one; "
            "leave the preset out, or train a new run."
        )
    settings = TrainSettings(**_fields(base, TrainSettings))
    default = Options(model, settings, resume=resumed)
    options = parse(Options, [model, *rest], "train", DESCRIPTION, default=default)
    changes: dict[str, Any] = {
        name: value for name, value in _fields(options.run, TrainSettings).items() if value != getattr(settings, name)
    }
    changes |= {name: value for name, value in _fields(options.architecture, ModelOptions).items() if value is not None}
    # A mistake is told before JAX is imported.
    if folder is not None:
        continued(base, changes, folder)
    else:
        config = with_options(base, changes)
        if config.tokenizer is not None and check(config.tokenizer)[0] not in TRAINED:
            build(config.tokenizer, "")
        check_source(config)
    prepare(warn)
    from linearnexus import api
    from linearnexus.training.loop import Interrupted

    try:
        api.train(base, name=options.name, resume=options.resume, **changes)
    except Interrupted as stopped:
        sys.exit(128 + stopped.number)


def _model(arguments: list[str]) -> tuple[str, list[str]]:
    """The preset or recipe, which comes first, and the other arguments."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return "gpt-nano", arguments


def _resume_latest(arguments: list[str]) -> list[str]:
    """`--resume` without a run means the latest one."""
    for place, word in enumerate(arguments):
        if word == "--resume" and (place + 1 == len(arguments) or arguments[place + 1].startswith("-")):
            return [*arguments[: place + 1], "runs/latest", *arguments[place + 1 :]]
    return arguments


def _value(arguments: list[str], option: str) -> str | None:
    for place, word in enumerate(arguments):
        if word == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(option + "="):
            return word[len(option) + 1 :]
    return None


def _fields(value: Any, cls: type) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}
