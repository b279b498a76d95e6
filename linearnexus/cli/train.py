"""`linearnexus train [PRESET | RECIPE.py] [options]`: train a model on a text.

linearnexus train gpt-nano --data stories --max-minutes 3
linearnexus train mamba-nano --data my_text.txt --max-steps 1000
linearnexus train --resume runs/latest
linearnexus train --from runs/latest --data my_text.txt --max-steps 500
"""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import changed, parse
from linearnexus.core.errors import UserError
from linearnexus.core.machine import prepare
from linearnexus.data.registry import check_source
from linearnexus.models.presets import presets
from linearnexus.tokenizers import TRAINED, build, check
from linearnexus.training.config import LENGTHS, TrainConfig, TrainSettings
from linearnexus.training.recipes import base_config, continued, going_on, with_options
from linearnexus.training.run_folder import check_trained, find, read_config

DESCRIPTION = f"""Train a model and save it in a run folder. The first argument is a preset or a recipe's .py file.

Presets: {", ".join(presets())}. `linearnexus info PRESET` tells what one is made of."""


@dataclass(frozen=True)
class ModelOptions:
    """What is left out stays as the preset has it."""

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
    # a new run that begins with this run's weights (its best checkpoint), architecture and tokenizer, and learns --data
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None


def main(arguments: list[str]) -> None:
    arguments = _resume_latest(arguments)
    model, rest = _model(arguments)
    if rest and not rest[0].startswith("-"):
        raise UserError(f"'{rest[0]}' is too much after {model}; to train on a text, write --data {rest[0]}.")
    resumed = _value(rest, "--resume")
    folder = None if resumed is None else find(resumed)
    origin = _value(rest, "--from")
    if origin is not None:
        return _train_from(origin, model if arguments is not rest else None, rest)
    base = base_config(model) if folder is None else _resumed(folder)
    if resumed is not None and arguments is not rest and base_config(model).preset != base.preset:
        raise UserError(
            f"{resumed} was trained as {base.preset}, another architecture than {model}, so it cannot go on as one; "
            "leave the preset out, or train a new run."
        )
    settings = TrainSettings(**_fields(base, TrainSettings))
    default = Options(model, settings, resume=resumed)
    options = parse(Options, [model, *rest], "train", DESCRIPTION, default=default)
    changes = changed(options.run, settings) | changed(options.architecture, ModelOptions())
    # A mistake is told before JAX is imported.
    if folder is not None:
        continued(base, changes, folder)
    else:
        config = with_options(base, changes)
        if config.tokenizer is not None and check(config.tokenizer)[0] not in TRAINED:
            build(config.tokenizer, "")
        check_source(config)
    _run(None if folder is not None else base, options, changes)


def _train_from(origin: str, model: str | None, rest: list[str]) -> None:
    """A new run that begins with the weights of another."""
    folder = find(origin)
    if model is not None:
        raise UserError(f"A run that begins with the weights of {folder} keeps its architecture; leave {model} out.")
    base = read_config(folder)[0]
    usual = {**_fields(base, TrainSettings), **dict.fromkeys(LENGTHS), "data": "", "tokenizer": None}
    settings = TrainSettings(**usual)
    options = parse(Options, ["", *rest], "train", DESCRIPTION, default=Options("", settings, from_=origin))
    if options.resume is not None:
        raise UserError("--resume goes on with a run and --from begins a new one; give one of them.")
    changes = changed(options.run, settings) | changed(options.architecture, ModelOptions())
    check_source(going_on(base, changes, folder))
    _run(None, options, changes)


def _run(model: TrainConfig | None, options: Options, changes: dict[str, Any]) -> None:
    prepare(warn)
    from linearnexus import api
    from linearnexus.training.loop import Interrupted

    try:
        api.train(model, name=options.name, resume=options.resume, from_run=options.from_, **changes)
    except Interrupted as stopped:
        sys.exit(128 + stopped.number)


def _resumed(folder: Path) -> TrainConfig:
    config, info = read_config(folder)
    check_trained(folder, info)
    return config


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
