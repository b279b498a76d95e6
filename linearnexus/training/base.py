"""What a run that begins with another's weights keeps of it: a copy of them, and where they came from.

    runs/NAME/base.safetensors            the weights, so that the other run may change or go
    "from" below "info" in config.json    {"run": its folder, "step": of the checkpoint, "sha256": of the copy}

Look first at: `Base`, `weights`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linearnexus.core.errors import UserError
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.quantize import Quantizer
from linearnexus.training import checkpoint, run_folder
from linearnexus.training.step import state_like

WEIGHTS = "base.safetensors"


@dataclass(frozen=True)
class Base:
    """The model that a run begins with."""

    model: LanguageModel
    tokenizer: Path  # the file of its tokenizer
    run: Path
    step: int

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the copy, and returns what config.json says of it. Raises OSError (a full disk, say)."""
        checkpoint.write_tensors(folder / WEIGHTS, self.model)
        return {"run": str(self.run), "step": self.step, "sha256": checkpoint.sha256(folder / WEIGHTS)}


def load(folder: Path, origin: dict[str, Any], config: ModelConfig) -> LanguageModel:
    """The weights that the run in `folder` began with. Raises UserError where the copy is not as it was written."""
    path = folder / WEIGHTS
    advice = f"restore it from a copy, or take the weights again from {origin['run']}, step {origin['step']}"
    if not path.is_file():
        raise UserError(f"{path} is missing; {advice}.")
    if checkpoint.sha256(path) != origin["sha256"]:
        raise UserError(f"{path} is damaged (its SHA-256 is not the one in config.json); {advice}.")
    like = LanguageModel.shapes(config)
    return checkpoint.load_tree(path, like)


def weights(folder: Path, good: Path, keep: Quantizer | None = None) -> tuple[Any, LanguageModel | None]:
    """What a checkpoint of a run holds, and the weights that the run keeps as they were, if any; `step.whole` makes the
    model of both. `keep`: see `checkpoint.load_tree`; for runs without such weights. Raises UserError."""
    config, info = run_folder.read_config(folder)
    kept = load(folder, info["from"], config.model) if config.keeps_base else None
    like = state_like(config, kept).model
    return checkpoint.load_tree(good / checkpoint.MODEL, like, None if config.keeps_base else keep), kept
