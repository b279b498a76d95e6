"""From a preset's name or a recipe's file, and options by name, to the config of a run.

A recipe is a Python file with a function `recipe() -> TrainConfig`; see recipes/.

Look first at: `base_config`, `with_options`, `resumed_config`, `config_from_parent`.
"""

import dataclasses
import runpy
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from linearnexus.core.config import config_name, make
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.renames import rename_fields
from linearnexus.core.resolve import resolve
from linearnexus.models.config import ModelConfig
from linearnexus.models.pattern import with_pattern
from linearnexus.models.presets import override, preset, presets
from linearnexus.training.config import LENGTHS, RESUMABLE, TrainConfig, TrainSettings
from linearnexus.training.optimizers.optimizer_config import optimizer_config, option_names, spec_of, with_fields

C = TypeVar("C", bound=TrainConfig)
MODEL_OPTIONS = (
    *("pattern", "n_layer", "hidden_size", "n_head", "n_kv_head", "window", "learned_positions"),
    *("tie_embeddings", "dropout", "dtype"),
)


def base_config(name: str) -> TrainConfig:
    """The run that a preset or a recipe (a path that ends in .py, run as Python) stands for.

    Raises UserError for an unknown preset, a missing file, or a recipe that defines no run.
    """
    if not name.endswith(".py"):
        if name not in presets() and (Path(name).suffix in (".txt", ".md") or Path(name).exists()):
            raise UserError(
                f"{name} is neither a preset nor a recipe's .py file; to train on a text, write gpt-nano --data {name}."
            )
        return TrainConfig(model=preset(name), preset=name)
    if not Path(name).is_file():
        near = get_close_matches(name, map(str, Path(name).parent.glob("*.py")), n=1)
        hint = (
            f"did you mean {near[0]}?" if near else f"give the path of a recipe, or a preset: {', '.join(presets())}."
        )
        raise UserError(f"There is no recipe {name}; {hint}")
    config = _run(name)
    if not isinstance(config, TrainConfig):
        raise UserError(f"{name} is not a recipe; it needs a function recipe() that returns a TrainConfig.")
    return dataclasses.replace(config, preset=Path(name).stem)


def resumed_config(config: C, changes: dict[str, Any], folder: Path) -> C:
    """The config of a run that is resumed with options changed. Raises UserError where one makes it another run."""
    changes = rename_fields(config_name(type(config)), changes)
    changed = with_options(config, changes)
    for option, value in changes.items():
        if option in MODEL_OPTIONS:
            if with_options(config, {option: value}).model != config.model:
                raise UserError(
                    f"{option} {value} changes the architecture of {folder}, so the run cannot be resumed with it; "
                    "leave it out, or train a new run."
                )
        elif option == "optimizer" or option in option_names():
            if changed.optimizer.program() != config.optimizer.program():
                before = spec_of(config.optimizer) if option == "optimizer" else getattr(config.optimizer, option)
                raise _fixed(folder, option, before)
        elif option not in RESUMABLE and getattr(changed, option) != getattr(config, option):
            raise _fixed(folder, option, getattr(config, option))
    return changed.resolved()


def _fixed(folder: Path, option: str, before: Any) -> UserError:
    return UserError(
        f"{folder} was trained with another {option} ({before}), which cannot change when a run is resumed; leave it "
        "out, or train a new run."
    )


def config_from_parent(parent: TrainConfig, options: dict[str, Any], run: Path) -> TrainConfig:
    """The config of a new run that begins with the weights of `run` and learns other text: the same settings, with a
    length of its own. Raises UserError as `with_parent_options` does."""
    fresh = (*LENGTHS, "data", "tokenizer", "order", "packing", "eval_interval", "sample_prompt")
    names = {field.name for field in dataclasses.fields(TrainSettings)} - set(fresh)
    settings = {name: getattr(parent, name) for name in names}
    if "optimizer" in options:
        settings["learning_rate"] = None  # that of the other optimizer
    return with_parent_options(TrainConfig(**settings, model=parent.model, preset=parent.preset), options, run)


def with_parent_options(start: C, options: dict[str, Any], run: Path) -> C:
    """The config `start` of a new run that begins with the weights of `run`, with options changed. Raises UserError for
    one that the weights leave no choice of."""
    for option in options:
        if option == "tokenizer" or (option in MODEL_OPTIONS and option != "dropout"):
            raise UserError(
                f"{option} cannot be chosen for a run that begins with the weights of {run}: it keeps that run's "
                "architecture and tokenizer (only dropout may change); leave it out."
            )
    if not options.get("data"):
        raise UserError(f"--data is missing; name what the model of {run.name} is to learn.")
    config = with_options(start, options)
    if config.model.learned_positions != start.model.learned_positions:
        raise UserError(
            f"sequence_length is {config.sequence_length}, and the model of {run} has {start.model.learned_positions} "
            "learned positions; give that or less."
        )
    return config


def _run(path: str) -> Any:
    """What the function recipe() of a Python file returns. Raises UserError, naming the line, for any error in it."""
    try:
        found = runpy.run_path(path).get("recipe")
        return found() if callable(found) else None
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)
        line = next((step.lineno for step in reversed(steps) if step.filename == path), None)
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError) and error.filename == path:
            line, said = error.lineno, f"SyntaxError: {error.msg}"
        place = f"{path}, line {line}" if line else path
        raise UserError(f"The recipe failed at {place} ({said.rstrip('.')}); correct it there.") from error


def with_options(config: C, options: dict[str, Any]) -> C:
    """The config with options changed: those of a run, and by their flat names those of its optimizer (`weight_decay`)
    and of its model (`n_head`, `dropout`).

    Raises UserError that names the nearest option for an unknown one.
    """
    options = rename_fields(config_name(type(config)), options)
    run = {field.name for field in dataclasses.fields(config)} - {"model", "preset"}
    of_optimizer = set(option_names())
    for name in options:
        if name not in run | of_optimizer and name not in MODEL_OPTIONS:
            raise unknown("option", name, run | of_optimizer | set(MODEL_OPTIONS))
    settings = {name: value for name, value in options.items() if name in run}
    changes = {name: value for name, value in options.items() if name in MODEL_OPTIONS and value is not None}
    fixed_settings = resolve("linearnexus.data.registry:fixed_settings")  # NumPy, which --help does without
    settings = {**fixed_settings(str(settings.get("data", config.data))), **settings}
    if set(LENGTHS) & set(settings):
        settings = {**dict.fromkeys(LENGTHS), **settings}
    if settings.get("tokenizer") is not None:
        resolve("linearnexus.tokenizers:check")(str(settings["tokenizer"]))
    optimizer = optimizer_config(settings.get("optimizer", config.optimizer), config.optimizer)
    given = {name: value for name, value in options.items() if name in of_optimizer and value is not None}
    settings["optimizer"] = with_fields(optimizer, given)
    model = _with_model_options(config.model, changes)
    length = settings.get("sequence_length", config.sequence_length)
    if 0 < model.learned_positions < length and "learned_positions" not in changes and isinstance(length, int):
        model = dataclasses.replace(model, learned_positions=length)  # the table grows with the context asked for
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return make(type(config), {**fields, **settings, "model": model})


def _with_model_options(model: ModelConfig, changes: dict[str, Any]) -> ModelConfig:
    pattern = changes.get("pattern")
    if pattern is not None:
        model = with_pattern(model, pattern)
    model = override(model, **{name: value for name, value in changes.items() if name != "pattern"})
    if pattern is not None and model.n_layer < len(model.pattern):
        raise UserError(
            f"The pattern has {len(model.pattern)} layers and n_layer is {model.n_layer}; give n_layer "
            f"{len(model.pattern)} or more, or a shorter pattern."
        )
    return model
