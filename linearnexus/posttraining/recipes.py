"""From a run and options by name to the config of a run that fine-tunes it.

Look first at: `sft_config`.
"""

from pathlib import Path
from typing import Any

from linearnexus.posttraining.config import SFTConfig
from linearnexus.training.config import TrainConfig
from linearnexus.training.recipes import with_parent_options


def default_sft_config(parent: TrainConfig) -> SFTConfig:
    """The settings that fine-tuning a run of this config has, unless others are chosen."""
    return SFTConfig(model=parent.model, preset=parent.preset, sequence_length=parent.sequence_length, data="")


def sft_config(parent: TrainConfig, options: dict[str, Any], run: Path) -> SFTConfig:
    """The config of a run that teaches the model of the folder `run` to answer. Raises UserError for an option that its
    weights leave no choice of."""
    return with_parent_options(default_sft_config(parent), options, run)
