"""The trained model that a topic is shown on."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from linearnexus.api import Run, load
from linearnexus.core.config import config_types
from linearnexus.core.errors import UserError
from linearnexus.mixers.config import MixerConfig
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import run_folder

TRAIN = "linearnexus train jamba-nano --data stories --tokenizer word --max-minutes 3"


def default_run() -> str:
    """The run that is shown where none is named: the latest. Raises UserError where there is none yet."""
    latest = run_folder.RUNS / "latest"
    if not latest.is_file():
        raise UserError(
            f"This topic is shown on a trained model, and there is none in {run_folder.RUNS}/ yet; train one: {TRAIN}"
        )
    return os.fspath(latest)


def open_run(name: str | None, mixer: str, tell: Callable[[str], Any]) -> Run:
    """The run of that name, or the default one; it must have a layer of that mixer ("": any model will do).

    Raises UserError, before weights are read, for a run that is missing or of another kind.
    """
    folder = run_folder.find(name or default_run())
    config, _ = run_folder.read_config(folder)
    if mixer and not layers(config.model, config_types(MixerConfig)[mixer]):
        raise UserError(f"{folder} has no {mixer} layer; name a run that has one with --run, or train one: {TRAIN}")
    return load(folder, tell=tell)


def example(run: Run, text: str) -> str:
    """The text, if the run's tokenizer knows it. Raises UserError where it does not."""
    try:
        run.tokenizer.encode(text)
    except UserError:
        raise UserError(
            f"{run.folder} has not learned all letters of the example '{text}'; give a text like those it has read."
        ) from None
    return text


def layers(config: ModelConfig, kind: type[MixerConfig]) -> list[int]:
    """The layers with that mixer, counted from 0."""
    return [layer for layer in range(config.n_layer) if isinstance(config.block(layer).mixer, kind)]


def encode(run: Run, text: str, least: int = 2) -> list[int]:
    """The text's ids. Raises UserError where there are fewer than `least`, or more than a training sequence has."""
    ids = run.generator.encode(text)
    if len(ids) < least:
        raise UserError(f"The text is {len(ids)} token; give a longer one, of {least} tokens or more.")
    run.generator.slots(len(ids), 0)  # refuses what is longer than learned positions
    if len(ids) > run.config.sequence_length:
        raise UserError(
            f"The text is {len(ids)} tokens, and {run.folder} was trained with {run.config.sequence_length} at a time; "
            "give a shorter one."
        )
    return ids


@jax.jit
def look(model: LanguageModel, ids: Array) -> list[dict[str, Array]]:
    """`LanguageModel.look`, compiled."""
    return model.look(ids)


def seen(run: Run, ids: list[int]) -> list[dict[str, Array]]:
    """What each layer shows of one text: arrays without the batch dimension."""
    return [{name: array[0] for name, array in layer.items()} for layer in look(run.model, jnp.asarray([ids]))]
