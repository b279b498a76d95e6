"""`explain hybrid`: the layers of a model one by one, what each keeps of the text, and how many bytes that takes.

Look first at: `layers_of`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax

from linearnexus.core.config import config_name
from linearnexus.models.config import ModelConfig
from linearnexus.models.costs import costs
from linearnexus.models.language_model import LanguageModel
from linearnexus.ops.kv_cache import Cache
from linearnexus.teaching.explanation import Explanation, bytes_text, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import COLOURS, Box, Row, rows

LENGTHS = (128, 1024, 8192)
WORDS = {"k": "keys", "v": "values", "h": "state", "S": "state", "conv_state": "last inputs", "m": "scale"}


@dataclass(frozen=True)
class HybridLayer:
    mixer: str
    keeps: str  # the arrays of its state after the longest text, with their shapes
    bytes: tuple[int, ...]  # after each of LENGTHS tokens

    @property
    def grows(self) -> bool:
        return self.bytes[-1] > self.bytes[0]


def layers_of(config: ModelConfig) -> list[HybridLayer]:
    """Shapes alone: no weight is allocated."""
    cost = costs(config)
    sizes = zip(*(cost.layer_state_bytes(length) for length in LENGTHS), strict=True)
    zeros = lambda key: LanguageModel.init(config, key).init_state(1, LENGTHS[-1])  # noqa: E731
    states = jax.eval_shape(zeros, jax.random.key(0)).layers
    return [
        HybridLayer(config_name(type(config.block(layer).mixer)), _arrays(state), size)
        for layer, (state, size) in enumerate(zip(states, sizes, strict=True))
    ]


def _arrays(state: Any) -> str:
    """`keys 4 x 8192 x 32` and so on, a line each."""
    if isinstance(state, tuple):  # of a mixer and its channel mixer
        return "\n".join(map(_arrays, state))
    values = (
        state.whole()
        if isinstance(state, Cache)
        else {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    )
    shapes = (
        (name, [" x ".join(map(str, array.shape[1:])) for array in jax.tree.leaves(part)])
        for name, part in values.items()
    )
    return "\n".join(f"{WORDS.get(name, name)} {' + '.join(sizes)}" for name, sizes in shapes if sizes)


def explain(name: str, config: ModelConfig) -> Explanation:
    found = layers_of(config)
    lines = [
        (str(number), layer.mixer, layer.keeps, *(bytes_text(size) for size in layer.bytes))
        for number, layer in enumerate(found, 1)
    ]
    totals = [sum(layer.bytes[place] for layer in found) for place in range(len(LENGTHS))]
    lines.append(("", "all", "", *(bytes_text(total) for total in totals)))
    columns = ("layer", "mixer", "keeps", *(f"at {length:,}" for length in LENGTHS))
    told = table(f"{name}: what each layer keeps of a text of so many tokens", columns, lines, left=3)
    growing = [layer for layer in found if layer.grows]
    share = sum(layer.bytes[-1] for layer in growing) / totals[-1]
    all_growing = max((layer.bytes[-1] for layer in growing), default=0) * len(found)
    summary = f"{len(growing)} of {len(found)} layers grow with the text and hold {share:.1%} of the bytes at the end."
    if 0 < len(growing) < len(found):
        summary += f" Were all {len(found)} like them: {bytes_text(all_growing)} instead of {bytes_text(totals[-1])}."
    return Explanation((told, summary), _picture(name, found))


def _picture(name: str, found: list[HybridLayer]) -> Picture:
    lines = []
    for number, layer in enumerate(found, 1):
        colour = COLOURS[1] if layer.grows else COLOURS[0]
        box = Box(layer.bytes[-1] / 1024, "", colour)
        lines.append(Row(f"{number} {layer.mixer}", [box], bytes_text(layer.bytes[-1])))
    legend = {COLOURS[1]: "grows with the text", COLOURS[0]: "the same for every text"}
    subtitle = f"What each layer remembers of one text of {LENGTHS[-1]:,} tokens."
    return rows(f"The layers of {name}", subtitle, lines, f"KiB kept after {LENGTHS[-1]:,} tokens", legend)
