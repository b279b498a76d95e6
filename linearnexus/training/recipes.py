"""From a preset's name or a recipe's file, and options by name, to the config of a run.

A recipe is a Python file with a function `recipe() -> TrainConfig`; see recipes/.

Look first at: `base_config`, `with_options`.
"""

import dataclasses
import runpy
from pathlib import Path
from typing import Any

from linearnexus.core.config import make
from linearnexus.core.errors import UserError, unknown
from linearnexus.models.presets import PRESETS, override, preset
from linearnexus.training.config import LENGTHS, TrainConfig, TrainSettings

MODEL_OPTIONS = (
    *("n_layer", "hidden_size", "n_head", "n_kv_head", "window", "learned_positions"),
    *("tie_embeddings", "dropout", "dtype"),
)


def base_config(name: str) -> TrainConfig:
    """The run that a preset or a recipe (a path that ends in .py, run as Python) stands for.

    Raises UserError for an unknown preset, a missing file, or a recipe that defines no run.
    """
    if not name.endswith(".py"):
        if Path(name).exists() and name not in PRESETS:
            raise UserError(f"{name} is neither a preset nor a recipe; give a recipe's .py file, or --data {name}.")
        return TrainConfig(model=preset(name), preset=name)
    if not Path(name).is_file():
        near = sorted(path.stem for path in Path(name).parent.glob("*.py")) if Path(name).parent.is_dir() else []
        raise unknown(f"recipe in {Path(name).parent}/", Path(name).stem, near)
    found = runpy.run_path(name).get("recipe")
    config = found() if callable(found) else None
    if not isinstance(config, TrainConfig):
        raise UserError(f"{name} is not a recipe; it needs a function recipe() that returns a TrainConfig.")
    return dataclasses.replace(config, preset=Path(name).stem)


def with_options(config: TrainConfig, options: dict[str, Any]) -> TrainConfig:
    """The config with options changed: those of a run, and those of its model by their flat names (`n_head`,
    `dropout`).

    Raises UserError that names the nearest option for an unknown one.
    """
    run = {field.name for field in dataclasses.fields(TrainSettings)}
    for name in options:
        if name not in run and name not in MODEL_OPTIONS:
            raise unknown("option", name, run | set(MODEL_OPTIONS))
    settings = {name: value for name, value in options.items() if name in run}
    changes = {name: value for name, value in options.items() if name in MODEL_OPTIONS and value is not None}
    if set(LENGTHS) & set(settings):
        settings = {**dict.fromkeys(LENGTHS), **settings}
    model = override(config.model, **changes)
    length = settings.get("sequence_length", config.sequence_length)
    if 0 < model.learned_positions < length and "learned_positions" not in changes and isinstance(length, int):
        model = dataclasses.replace(model, learned_positions=length)  # the table grows with the context asked for
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    return make(TrainConfig, {**fields, **settings, "model": model})
