"""config.json of a published model, setting by setting: each with its type, and what cannot be represented is refused
by its name. And the same in the other direction: is our config one that a family can say?

Look first at: `PublishedSettings`, `Family`, `difference`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from linearnexus.core.config import describe, fits, replaced, to_json
from linearnexus.core.errors import UserError
from linearnexus.interop.layouts import Entry
from linearnexus.mixers.configs import (
    AttentionConfig,
    GatedDeltaNetConfig,
    MambaConfig,
    MLPConfig,
    MoEConfig,
    RWKV7Config,
    RWKVMLPConfig,
)
from linearnexus.models.config import BlockConfig, ModelConfig

MOST = 10_000  # layers or experts


class PublishedSettings:
    """Reads settings. Raises UserError, which names file and setting, for one that is missing, of a wrong type, or has
    a value that cannot be represented. A null counts as missing."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self._values, self._where = values, where

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        value = self._values.get(name)
        if value is None:
            return default
        if not fits(value, kind):
            raise UserError(f"{self._where}: {name} is {value!r:.60}, which is not {describe(kind)}; correct the file.")
        return value

    def whole(self, name: str, default: int | None = None, most: int = 2**31 - 1) -> int:
        """A count of 1 or more."""
        value = self.get(name, int, default)
        if value is None or not 1 <= value <= most:
            given = "is missing" if value is None else f"is {value}"
            raise UserError(f"{self._where}: {name} {given}; it needs a whole number from 1 to {most:,}.")
        return value

    def layers(self, name: str = "num_hidden_layers") -> int:
        return self.whole(name, most=MOST)

    def number(self, name: str, default: float) -> float:
        value = float(self.get(name, float, default))
        if not math.isfinite(value):
            raise UserError(f"{self._where}: {name} is {value}; it needs a finite number.")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        return self.get(name, bool, default)

    def only(self, name: str, *allowed: Any) -> None:
        """The setting, where it is given, must be one of these."""
        value = self._values.get(name, allowed[0])
        if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            raise self.refusal(name, value, " or ".join(map(str, allowed)))

    def refusal(self, name: str, value: Any, allowed: str) -> UserError:
        return UserError(
            f"{self._where}: {name} is {value!r:.80}, which LinearNexus cannot represent; it knows {allowed}."
        )

    def below(self, name: str) -> "PublishedSettings":
        """The settings of an object inside; without any where there is none."""
        value = self.get(name, dict, {})
        return PublishedSettings(value, f"{self._where}: {name}")


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of published models: their settings and their tensors' names beside ours."""

    name: str
    model_types: tuple[str, ...]  # in config.json
    read: Callable[[PublishedSettings], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any] | None]  # None: a model with other parts than the family's
    table: Callable[[ModelConfig], list[Entry]]
    prefix: str = ""  # of names, which some files leave out
    ignored: str = r"(?!)"  # a pattern of names that are no weights: masks, tables that follow from the config
    seen: Callable[[ModelConfig], ModelConfig] = lambda config: config  # our config without what its table makes up for


def patterned(blocks: Sequence[BlockConfig]) -> tuple[BlockConfig, ...]:
    """The shortest period of the layers."""
    return next(
        tuple(blocks[:period])
        for period in range(1, len(blocks) + 1)
        if all(block == blocks[layer % period] for layer, block in enumerate(blocks))
    )


def tables(config: ModelConfig, embedding: str, norm: str, head: str = "lm_head.weight") -> list[Entry]:
    """The entries of what is not in a layer."""
    found = [Entry("embedding", f"{embedding}.weight"), Entry("norm.scale", f"{norm}.weight")]
    return found if config.tie_embeddings else [*found, Entry("head", head)]


def difference(ours: ModelConfig, theirs: ModelConfig) -> str | None:
    """The first setting in which two models differ, in words; None: they compute the same."""
    return _difference(to_json(_spelt_out(ours)), to_json(_spelt_out(theirs)), "")


def _difference(ours: Any, theirs: Any, name: str) -> str | None:
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours["type"] == theirs["type"]:
        pairs = [(ours[key], theirs[key], key) for key in ours if key != "type"]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(*pair, name) for pair in zip(ours, theirs, strict=True)]
    else:
        told = [value["type"] if isinstance(value, dict) else value for value in (ours, theirs)]
        close = isinstance(ours, float) and isinstance(theirs, float) and math.isclose(ours, theirs)
        return None if ours == theirs or close else f"{name} {told[1]} where this model has {told[0]}"
    return next((found for pair in pairs if (found := _difference(*pair)) is not None), None)


def _spelt_out(config: ModelConfig) -> ModelConfig:
    """The same model with nothing left open, layer by layer, and without what only training reads."""
    size = config.hidden_size
    blocks = (config.block(layer) for layer in range(config.n_layer))
    pattern = tuple(BlockConfig(_mixer(block.mixer, size), _channel(block.channel_mixer, size)) for block in blocks)
    return dataclasses.replace(config, pattern=pattern, dropout=0.0, embedding_std=0.02, dtype="float32")


def _mixer(mixer: Any, size: int) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(mixer, AttentionConfig):
        changes = {"n_kv_head": mixer.kv_heads, "head_size": mixer.size(size)}
        changes["rope_size"] = None if mixer.rope_theta is None else mixer.rope_size or mixer.size(size)
        changes |= {} if mixer.qk_norm else {"norm_eps": 1e-5, "norm_offset": 0.0}
    elif isinstance(mixer, MambaConfig):
        changes = {"dt_rank": mixer.rank(size)} | ({} if mixer.select_norm else {"norm_eps": 1e-5})
    elif isinstance(mixer, GatedDeltaNetConfig):
        key, value = mixer.sizes(size)
        changes = {"n_key_head": mixer.key_heads, "key_size": key, "value_size": value}
    elif isinstance(mixer, RWKV7Config):
        names = ("decay_rank", "a_rank", "v_rank", "gate_rank")
        changes = dict(zip(names, mixer.ranks(size), strict=True))
    return dataclasses.replace(mixer, **changes)


def _channel(channel: Any, size: int) -> Any:
    if isinstance(channel, MoEConfig):
        channel = dataclasses.replace(channel, aux_loss_weight=0.0)
    if isinstance(channel, MLPConfig | MoEConfig | RWKVMLPConfig):
        return replaced(channel, width=round(channel.width * size) / size)
    return channel
