"""What a comparison is made of. Importable without JAX.

Look first at: `CompareSettings`, `run_settings`.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from linearnexus.core.config import make
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.renames import rename_fields
from linearnexus.training.config import TrainSettings
from linearnexus.training.optimizers import AdamWConfig
from linearnexus.training.optimizers.optimizer_config import option_names


@dataclass(frozen=True)
class CompareSettings:  # --help prints the docstring and the comments
    """What is compared, and how often each model is trained."""

    n_layer: int = 2  # blocks of a model that is given as mixers (a longer pattern: as many as it has)
    hidden_size: int = 64  # its width
    n_head: int = 2  # its heads
    parameters: int | None = None  # of each model given as mixers, by the width of its MLPs; None: a GPT's of that size
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)  # peaks to try for each model; its best one counts
    seeds: tuple[int, ...] = (0,)  # a run for each, of weights and data
    lengths: tuple[int, ...] = ()  # of a task: other lengths that the trained models are asked at
    name: str | None = None  # the folder is runs/compare-NAME; default: after the data

    def __post_init__(self) -> None:
        for name in ("learning_rates", "seeds"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty; give one or more.")
        for name in ("learning_rates", "seeds", "lengths"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise UserError(f"{name} has a value twice; give each once.")
        if not all(0 < rate < math.inf for rate in self.learning_rates):
            raise UserError(f"learning_rates has {min(self.learning_rates)}; give step sizes above 0, such as 0.001.")
        if self.name is not None and (not self.name or any(sign in self.name for sign in "/\\:")):
            raise UserError(f"name is '{self.name}', which is no name of a folder; give one, such as first.")


# What a small comparison wants other than a run of its own: no samples, and AdamW, whose one rate is what is swept.
DEFAULTS = TrainSettings(
    data="recall",
    batch_size=32,
    optimizer=AdamWConfig(),
    warmup_steps=50,
    max_steps=500,
    log_interval=50,
    sample_tokens=0,
)
FIXED = {"learning_rate": "learning_rates", "seed": "seeds"}  # and what varies them


def run_settings(options: dict[str, Any]) -> tuple[CompareSettings, dict[str, Any]]:
    """A comparison's settings, and those of its runs, from options by name. Raises UserError for an unknown one."""
    options = rename_fields("train", options)
    own = {field.name for field in dataclasses.fields(CompareSettings)}
    run = {field.name for field in dataclasses.fields(TrainSettings)} | set(option_names())
    for name in options:
        if name in FIXED:
            raise UserError(f"A comparison tries several; give {FIXED[name]} in place of {name}.")
        if name not in own | run:
            raise unknown("option of compare", name, (own | run) - set(FIXED))
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    settings = make(CompareSettings, {name: value for name, value in lists.items() if name in own})
    changes = {name: value for name, value in options.items() if name in run}
    if changes.get("max_minutes") is not None or changes.get("epochs") is not None:
        changes = {"max_steps": None, **changes}
    return settings, {**vars(DEFAULTS), **changes}
