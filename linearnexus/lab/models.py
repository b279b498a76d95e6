"""Models of one size from the names of their mixers.

Look first at: `models`, `sized`.
"""

import dataclasses

from linearnexus.core.errors import UserError
from linearnexus.lab.settings import CompareSettings
from linearnexus.models.architectures import gpt
from linearnexus.models.config import ModelConfig
from linearnexus.models.costs import costs
from linearnexus.models.pattern import with_pattern
from linearnexus.models.presets import override, preset, presets


def models(mixers: tuple[str, ...], settings: CompareSettings, vocab_size: int) -> dict[str, ModelConfig]:
    """A preset is what it is; a pattern of mixers becomes a model of the settings' size, as deep as the longest one.

    Raises UserError for what is neither, or a mixer too large for that size.
    """
    size = dataclasses.replace(frame(settings), vocab_size=vocab_size)
    known = presets()
    found = {text: preset(text) if text in known else with_pattern(size, text) for text in mixers}
    depth = max([settings.n_layer, *(model.n_layer for text, model in found.items() if text not in known)])
    target = settings.parameters or costs(dataclasses.replace(size, n_layer=depth)).parameters
    return {
        text: dataclasses.replace(model, vocab_size=vocab_size)
        if text in known
        else sized(dataclasses.replace(model, n_layer=depth), target, text)
        for text, model in found.items()
    }


def frame(settings: CompareSettings) -> ModelConfig:
    """The GPT whose mixers a pattern replaces, and whose size it gets."""
    return gpt(settings.n_layer, settings.hidden_size, settings.n_head)


def sized(model: ModelConfig, parameters: int, name: str) -> ModelConfig:
    """The model with MLPs of the width that brings it nearest to that many parameters: two matrices [D, F] a layer, so
    it is at most n_layer x hidden_size parameters off. Raises UserError where the mixers alone have more."""
    D = model.hidden_size
    per_channel = 2 * model.n_layer * D
    rest = costs(override(model, width=1.0)).parameters - per_channel * D
    width = round((parameters - rest) / per_channel)
    if width < 1:
        raise UserError(
            f"{name} has {rest:,} parameters beside its MLPs, and the models are to have {parameters:,}; give "
            f"--parameters {rest + per_channel * D} or more, or the mixer smaller sizes."
        )
    return override(model, width=width / D)
