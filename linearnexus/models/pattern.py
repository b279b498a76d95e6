"""A model's layers from a short text: `7*mamba2,1*attention`, or `3*attention(window=64),attention`.

Look first at: `with_pattern`.
"""

import dataclasses
import re
from typing import Any

from linearnexus.core.config import config_types, make
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.spec import parse_options
from linearnexus.mixers.configs import MixerConfig
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.own_mixers import load_own_mixers

ITEM = re.compile(r"\s*(?:(\d+)\s*\*\s*)?([A-Za-z][\w-]*)\s*(?:\(([^()]*)\))?\s*")
SYNTAX = "write mixers with a comma between, such as 7*mamba2,1*attention or 3*attention(window=64),attention"


def with_pattern(model: ModelConfig, text: str) -> ModelConfig:
    """The model with other sequence mixers; channel mixers, width and all else stay. A mixer has its defaults, and the
    model's number of heads. The model becomes as deep as the pattern is long where it was shallower.

    Raises UserError for a text that is no pattern, an unknown mixer, or an option that the mixer does not have.
    """
    mixers: list[MixerConfig] = []
    for item in re.split(r",(?![^(]*\))", text):
        found = ITEM.fullmatch(item)
        if not found:
            raise UserError(f"'{item.strip()}' is no part of a pattern; {SYNTAX}.")
        count = int(found[1] or 1)
        if not 0 < count <= 1000:
            raise UserError(f"'{item.strip()}' repeats a mixer {count} times; give 1 to 1000.")
        mixers += [_mixer(model, found[2].replace("-", "_"), found[3] or "")] * count
    period = tuple(BlockConfig(mixer, model.block(layer).channel_mixer) for layer, mixer in enumerate(mixers))
    return dataclasses.replace(model, pattern=period, n_layer=max(model.n_layer, len(period)))


def _mixer(model: ModelConfig, name: str, options: str) -> MixerConfig:
    known = config_types(MixerConfig)
    if name not in known:
        load_own_mixers()
        known = config_types(MixerConfig)
    if name not in known:
        raise unknown("mixer", name, known)
    fields = {field.name for field in dataclasses.fields(known[name])}
    counts = (getattr(block.mixer, "n_head", None) for block in model.pattern)
    heads = next((count for count in counts if isinstance(count, int)), None)
    values: dict[str, Any] = {} if heads is None or "n_head" not in fields else {"n_head": heads}
    values |= parse_options(options, name)
    return make(known[name], values)
