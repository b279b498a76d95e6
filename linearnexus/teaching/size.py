"""`explain size`: where a model's parameters are, and how far off the guide's rough formula is.

Look first at: `parts`.
"""

from linearnexus.models.config import ModelConfig
from linearnexus.models.costs import costs, count
from linearnexus.models.presets import PRESETS, preset
from linearnexus.teaching.explanation import Explanation, table
from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import COLOURS, Box, Row, rows

BESIDE = ("gpt-nano", *(name for name in PRESETS if name.startswith("gpt2-")), "mamba-130m")


def parts(config: ModelConfig) -> dict[str, int]:
    """Parameters by what they are for; all of them together are the model's."""
    model = costs(config).model
    found = {
        "embedding": count(model.embedding),
        "learned positions": count(model.positions),
        "sequence mixers": sum(count(block.mixer) for block in model.blocks),
        "channel mixers (MLP)": sum(count(block.channel_mixer) for block in model.blocks),
        "norms": count((model.input_norm, model.norm, [(block.norm, block.channel_norm) for block in model.blocks])),
        "output head": count(model.head),
    }
    return {name: size for name, size in found.items() if size}


def explain(name: str, config: ModelConfig) -> Explanation:
    found = parts(config)
    total = sum(found.values())
    lines = [(part, f"{size:,}", f"{size / total:.2%}") for part, size in found.items()]
    told = table(f"The parameters of {name}", ("part", "parameters", "share"), [*lines, ("all", f"{total:,}", "100%")])
    beside = {other: preset(other) for other in BESIDE}
    if name not in beside:
        beside = {name: config, **beside}
    compared = []
    for other, its in beside.items():
        cost = costs(its)
        compared.append(
            (
                other,
                str(its.n_layer),
                f"{its.hidden_size:,}",
                f"{cost.rough:,}",
                f"{cost.parameters:,}",
                f"{cost.rough / cost.parameters - 1:+.0%}",
            )
        )
    columns = ("", "n_layer", "hidden_size", "rough", "exact", "off by")
    formula = table("The rough formula, 12 x n_layer x hidden_size^2, beside the exact count", columns, compared)
    return Explanation((told, formula), _picture(name, found, total))


def _picture(name: str, found: dict[str, int], total: int) -> Picture:
    lines = [
        Row(part, [Box(size / 1e6, "", COLOURS[place])], f"{size:,} ({size / total:.2%})")
        for place, (part, size) in enumerate(found.items())
    ]
    return rows(
        f"Where the {total:,} parameters of {name} are",
        "A tied output head is the embedding: it adds none.",
        lines,
        "million parameters",
    )
