"""`linearnexus info PRESET|RUN`: the architecture as a tree, what it costs, and the guide's rough formula beside the
exact count.

linearnexus info gpt2-medium
linearnexus info runs/latest
"""

import dataclasses
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import tyro

from linearnexus.cli.parse import parse
from linearnexus.core.config import config_name
from linearnexus.core.errors import unknown
from linearnexus.models.config import ModelConfig
from linearnexus.models.presets import preset, presets

DESCRIPTION = "Tell how a preset or a run is built and what it costs, without allocating a weight."
LENGTHS = (128, 1024, 8192, 65536)


@dataclass(frozen=True)
class InfoOptions:
    model: tyro.conf.Positional[str]  # a preset, a run folder, or the .py file of a recipe
    vocab_size: int | None = None  # size of the vocabulary; default: the preset's or the run's


def main(arguments: list[str]) -> None:
    options = parse(InfoOptions, arguments, "info", DESCRIPTION)
    config = model_config(options.model)
    if options.vocab_size is not None:
        config = dataclasses.replace(config, vocab_size=options.vocab_size)
    show(options.model, config)


def show(name: str, config: ModelConfig) -> None:
    """Prints all that is known of the model."""
    from rich.console import Console
    from rich.table import Table
    from rich.tree import Tree

    from linearnexus.models.costs import costs, count
    from linearnexus.teaching.explanation import bytes_text

    console = Console(highlight=False)
    cost = costs(config)
    model, block_bytes = cost.model, cost.layer_state_bytes(1024)
    tree = Tree(f"[bold]{name}[/bold]: {cost.parameters:,} parameters, hidden size {config.hidden_size}")
    tree.add(f"embedding {_shape(model.embedding)}: {count(model.embedding):,}")
    if model.positions is not None:
        tree.add(f"learned positions {_shape(model.positions)}: {count(model.positions):,}")
    first = 0
    for _, run in groupby(range(config.n_layer), lambda layer: config.block(layer)):
        layers = list(run)
        block = model.blocks[first]
        which = f"layer {first + 1}" if len(layers) == 1 else f"layers {first + 1} to {layers[-1] + 1}"
        branch = tree.add(f"{which}: {count(block):,}" + (" each" if len(layers) > 1 else ""))
        branch.add(
            f"{_describe(config.block(first).mixer)}: {count(block.mixer):,}, "
            f"state {bytes_text(block_bytes[first])} after 1,024 tokens"
        )
        if block.channel_mixer is not None:
            branch.add(f"{_describe(config.block(first).channel_mixer)}: {count(block.channel_mixer):,}")
        branch.add(f"{config_name(type(config.norm))}: {count((block.norm, block.channel_norm)):,}")
        first = layers[-1] + 1
    tree.add(f"{config_name(type(config.norm))}: {count(model.norm):,}")
    head = "the embedding again (tied)" if model.head is None else f"{_shape(model.head)}: {count(model.head):,}"
    tree.add(f"output head: {head}")
    console.print(tree)
    table = Table(title="\nCost of a sequence, by its length in tokens", title_justify="left")
    for column in ("", *(f"{length:,}" for length in LENGTHS)):
        table.add_column(column, justify="right")
    table.add_row("forward FLOPs per token", *(_number(cost.flops(length)) for length in LENGTHS))
    table.add_row("training FLOPs per token", *(_number(3 * cost.flops(length)) for length in LENGTHS))
    table.add_row("cache and state, bytes", *(bytes_text(cost.state_bytes(length)) for length in LENGTHS))
    console.print(table)
    if config.learned_positions:
        console.print(f"Learned positions end at {config.learned_positions:,} tokens.")
    share = cost.parameters / cost.rough - 1
    console.print(
        f"Exact count {cost.parameters:,}; the rough formula 12 x n_layer x hidden_size^2 gives {cost.rough:,} "
        f"({share:+.0%}: it counts Transformer layers, without the embedding)."
    )


def model_config(name: str) -> ModelConfig:
    """The model of a preset, a recipe or a run. Raises UserError where there is none of that name."""
    if name in presets():
        return preset(name)
    if name.endswith(".py"):
        from linearnexus.training.recipes import base_config

        return base_config(name).model
    from linearnexus.training.run_folder import find, known, read_config

    if not Path(name).exists() and "/" not in name and name not in (*known(), "latest"):
        raise unknown("preset or run", name, [*presets(), *known()])
    return read_config(find(name))[0].model


def _describe(config: Any) -> str:
    """`attention (n_head 4, rope_theta 10000.0)`: the name and the settings that are on."""
    settings = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    shown = (f"{name} {_setting(value)}" for name, value in settings if value not in (None, False))
    return f"{config_name(type(config))} ({', '.join(shown)})"


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shape(array: Any) -> str:
    return " x ".join(f"{size:,}" for size in array.shape)


def _number(value: float) -> str:
    for unit in ("", "K", "M", "G", "T"):
        if value < 1000 or unit == "T":
            return f"{value:.3g} {unit}".strip()
        value /= 1000
    raise AssertionError
