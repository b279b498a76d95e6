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
from linearnexus.mixers.configs import MixerConfig
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.training import run_folder
from linearnexus.training.run_folder import STORYTELLER


def open_run(name: str | None, mixer: str, on_message: Callable[[str], Any]) -> Run:
    """The run of that name, else the latest, else the model that comes with the package; it must have a layer of that
    mixer ("": any model will do).

    Raises UserError, before weights are read, for a run that is missing or of another kind.
    """
    kind = config_types(MixerConfig)[mixer] if mixer else None
    latest = run_folder.RUNS / "latest"
    wanted = name or (os.fspath(latest) if latest.is_file() else STORYTELLER)
    folder = run_folder.find(wanted)
    if kind is not None and not layers(run_folder.read_config(folder)[0].model, kind):
        if name is not None:
            raise UserError(f"{folder} has no {mixer} layer; name a run that has one, or --run {STORYTELLER}.")
        on_message(
            f"{folder} has no {mixer} layer, so this is shown on {STORYTELLER}, the model that comes with LinearNexus."
        )
        folder = run_folder.find(STORYTELLER)
    return load(folder, on_message=on_message)


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
