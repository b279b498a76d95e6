"""What a run that begins with the weights of another, its parent, keeps of it: a copy, and where it came from.

    runs/NAME/base.safetensors            the weights, so that the other run may change or go
    "from" below "info" in config.json    {"run": its folder, "step": of the checkpoint, "sha256": of the copy}

Look first at: `ParentRun`, `weights`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.quantize import Quantizer
from linearnexus.models.stacked import take_stacked, unstacked_shapes
from linearnexus.training import checkpoint, run_folder
from linearnexus.training.config import TrainConfig
from linearnexus.training.job import state_shapes

WEIGHTS = "base.safetensors"


@dataclass(frozen=True)
class ParentRun:
    """The model that a run begins with."""

    model: LanguageModel
    tokenizer: Path  # the file of its tokenizer
    run: Path
    step: int

    def to_train(self, config: TrainConfig) -> "ParentRun":
        """The same with the model as it trains in a run of this config. The layers of a deep one are stacked, and the
        arrays of this `ParentRun` are given up for it."""
        model = replace(self.model, config=config.model)
        stacks = config.freezes_base or config.optimizer.takes_stacks
        return replace(self, model=take_stacked(model) if stacks else model)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the copy, and returns what config.json says of it. Raises OSError (a full disk, say)."""
        checkpoint.write_tensors(folder / WEIGHTS, self.model)
        return {"run": str(self.run), "step": self.step, "sha256": checkpoint.sha256(folder / WEIGHTS)}


def load(folder: Path, origin: dict[str, Any], like: LanguageModel) -> LanguageModel:
    """The weights that the run in `folder` began with, in the structure of `like`. Raises UserError where the copy is
    not as it was written."""
    path = folder / WEIGHTS
    advice = f"restore it from a copy, or take the weights again from {origin['run']}, step {origin['step']}"
    if not path.is_file():
        raise UserError(f"{path} is missing; {advice}.")
    if checkpoint.sha256(path) != origin["sha256"]:
        raise UserError(f"{path} is damaged (its SHA-256 is not the one in config.json); {advice}.")
    return checkpoint.load_tree(path, like)


def weights(
    folder: Path, good: Path, keep: Quantizer | None = None, average: bool = False
) -> tuple[Any, LanguageModel | None]:
    """What trains of a run, as a checkpoint holds it, and the weights that stay as they were, if any;
    `objective.merge_frozen` makes the model of both.

    keep: see `checkpoint.load_tree`; for runs without such weights. average: the moving average that the run keeps.
    Raises UserError, also where the run keeps no average.
    """
    config, info = run_folder.read_config(folder)
    path = good / (checkpoint.AVERAGE if average else checkpoint.MODEL)
    if average and not path.is_file():
        raise UserError(f"{folder} keeps no average of its weights; leave it out, or train with --ema-decay 0.999.")
    frozen = load(folder, info["from"], LanguageModel.shapes(config.model)) if config.freezes_base else None
    like = unstacked_shapes(state_shapes(config, frozen).model)
    return checkpoint.load_tree(path, like, None if config.freezes_base else keep), frozen
