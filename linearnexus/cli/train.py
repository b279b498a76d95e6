"""`linearnexus train [PRESET | RECIPE.py] [options]`: train a model on a text.

linearnexus train gpt-nano --data stories --max-minutes 3
linearnexus train mamba-nano --data my_text.txt --max-steps 1000
linearnexus train gpt-nano --data my_text.txt --find-rate
linearnexus train --resume runs/latest
linearnexus train --from runs/latest --data my_text.txt --max-steps 500
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from linearnexus.cli.options import ModelOptions, OptimizerOptions, train_with
from linearnexus.cli.parse import changed, parse
from linearnexus.core.errors import UserError
from linearnexus.models.presets import presets
from linearnexus.training.config import LENGTHS, TrainConfig, TrainSettings
from linearnexus.training.recipes import base_config, config_from_parent, resumed_config, with_options
from linearnexus.training.run_folder import check_trained, find, read_config

DESCRIPTION = f"""Train a model and save it in a run folder. The first argument is a preset or a recipe's .py file.

Presets: {", ".join(presets())}. `linearnexus info PRESET` tells what one is made of."""


@dataclass(frozen=True)
class TrainOptions:
    model: tyro.conf.Positional[str]  # a preset or the .py file of a recipe
    run: TrainSettings
    optimizer_options: OptimizerOptions = OptimizerOptions()
    architecture: ModelOptions = ModelOptions()
    name: str | None = None  # the run's folder below runs/ (or a path); default: PRESET-DATA-N
    resume: str | None = None  # resume this run from its last checkpoint (alone: runs/latest)
    # a new run that begins with this run's weights (its best checkpoint), architecture and tokenizer, and learns --data
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    # trains a hundred steps at rising learning rates instead, draws the losses and suggests a rate
    find_rate: bool = False


def main(arguments: list[str]) -> None:
    arguments = _with_value(_with_value(arguments, "--resume", "runs/latest"), "--find-rate", "True")
    model, rest = _model(arguments)
    if rest and not rest[0].startswith("-"):
        raise UserError(f"'{rest[0]}' is one word too many after {model}; to train on a text, write --data {rest[0]}.")
    resumed = _value(rest, "--resume")
    folder = None if resumed is None else find(resumed)
    origin = _value(rest, "--from")
    if origin is not None:
        return _train_from(origin, model if arguments is not rest else None, rest)
    base = base_config(model) if folder is None else _resumed(folder)
    if resumed is not None and arguments is not rest and base_config(model).preset != base.preset:
        raise UserError(
            f"{resumed} was trained as {base.preset}, another architecture than {model}, so it cannot be resumed as "
            "one; leave the preset out, or train a new run."
        )
    settings = TrainSettings(**_fields(base, TrainSettings))
    default = TrainOptions(model, settings, resume=resumed)
    options = parse(TrainOptions, [model, *rest], "train", DESCRIPTION, default=default)
    changes = _changes(options, settings)
    # A mistake is reported before JAX is imported.
    if folder is not None:
        if options.find_rate:
            raise UserError("--find-rate is for new runs, and --resume resumes one; give one of them.")
        resumed_config(base, changes, folder)
    else:
        _check_data(with_options(base, changes))
    _run(None if folder is not None else base, options, changes)


def _train_from(origin: str, model: str | None, rest: list[str]) -> None:
    """A new run that begins with the weights of another."""
    folder = find(origin)
    if model is not None:
        raise UserError(f"A run that begins with the weights of {folder} keeps its architecture; leave {model} out.")
    base = read_config(folder)[0]
    usual = {**_fields(base, TrainSettings), **dict.fromkeys(LENGTHS), "data": "", "tokenizer": None}
    settings = TrainSettings(**usual)
    options = parse(TrainOptions, ["", *rest], "train", DESCRIPTION, default=TrainOptions("", settings, from_=origin))
    if options.resume is not None:
        raise UserError("--resume resumes a run and --from begins a new one; give one of them.")
    changes = _changes(options, settings)
    _check_data(config_from_parent(base, changes, folder))
    _run(None, options, changes)


def _check_data(config: TrainConfig) -> None:
    from linearnexus.data.registry import check_source
    from linearnexus.tokenizers import TRAINED, build, check

    if config.tokenizer is not None and check(config.tokenizer)[0] not in TRAINED:
        build(config.tokenizer, "")
    check_source(config)


def _run(model: TrainConfig | None, options: TrainOptions, changes: dict[str, Any]) -> None:
    def call() -> None:
        from linearnexus import api

        if options.find_rate:
            print(api.find_rate(model, from_run=options.from_, **changes))
        else:
            api.train(model, name=options.name, resume=options.resume, from_run=options.from_, **changes)

    train_with(call)


def _changes(options: TrainOptions, settings: TrainSettings) -> dict[str, Any]:
    """The options that were given."""
    return (
        changed(options.run, settings)
        | changed(options.optimizer_options, OptimizerOptions())
        | changed(options.architecture, ModelOptions())
    )


def _resumed(folder: Path) -> TrainConfig:
    config, info = read_config(folder)
    check_trained(folder, info)
    return config


def _model(arguments: list[str]) -> tuple[str, list[str]]:
    """The preset or recipe, which comes first, and the other arguments."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return "gpt-nano", arguments


def _with_value(arguments: list[str], option: str, value: str) -> list[str]:
    """The arguments, with this value behind the option where it stands without one."""
    for place, word in enumerate(arguments):
        if word == option and (place + 1 == len(arguments) or arguments[place + 1].startswith("-")):
            return [*arguments[: place + 1], value, *arguments[place + 1 :]]
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
