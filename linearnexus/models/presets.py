"""Architectures by name: small ones that a laptop trains in minutes, and published ones with their exact parameter
counts.

Every registered mixer M has presets M-nano and M-micro of the size of the GPT of that name, so that they can be
compared.

Look first at: `PRESETS`, `preset`, `override`.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from linearnexus.core.config import config_name, replaced
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.renames import CONFIG_FIELDS, forward
from linearnexus.mixers.configs import (
    AttentionConfig,
    DeltaNetConfig,
    GatedConvConfig,
    GatedDeltaNetConfig,
    GLAConfig,
    KimiDeltaAttentionConfig,
    LatentAttentionConfig,
    LinearAttentionConfig,
    Mamba2Config,
    Mamba3Config,
    MambaConfig,
    MixerConfig,
    MLSTMConfig,
    RetNetConfig,
    RWKV6Config,
    RWKV7Config,
)
from linearnexus.models.architectures import SIZES, gpt, gpt2, jamba, pure, rwkv, small
from linearnexus.models.config import BlockConfig, ModelConfig
from linearnexus.models.own_mixers import load_own_mixers, own_presets

# Widths of the MLP beside a mixer, so that both together have GPT's 12 hidden_size^2 parameters.
FAMILY: dict[str, tuple[Callable[[int], MixerConfig], float]] = {
    "sliding-window": (lambda n_head: AttentionConfig(n_head=n_head, qk_norm=True, window=32), 4.0),
    "latent-attention": (lambda n_head: LatentAttentionConfig(n_head=n_head), 4.0),
    "linear-attention": (lambda n_head: LinearAttentionConfig(n_head=n_head), 4.0),
    "retnet": (lambda n_head: RetNetConfig(n_head=n_head), 2.0),
    "gla": (lambda n_head: GLAConfig(n_head=n_head), 4.0),
    "mlstm": (lambda n_head: MLSTMConfig(n_head=n_head), 4.0),
    "deltanet": (lambda n_head: DeltaNetConfig(n_head=n_head), 4.0),
    "gated-deltanet": (lambda n_head: GatedDeltaNetConfig(n_head=n_head), 3.0),
    "kimi-delta-attention": (lambda n_head: KimiDeltaAttentionConfig(n_head=n_head), 3.5),
    "gated-conv": (lambda n_head: GatedConvConfig(), 4.0),
}


def _family(name: str, size: str) -> ModelConfig:
    n_layer, hidden_size, n_head = SIZES[size]
    mixer, width = FAMILY[name]
    return small(mixer(n_head), n_layer, hidden_size, width)


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "gpt-nano": lambda: gpt(*SIZES["nano"]),
    "gpt-micro": lambda: gpt(*SIZES["micro"]),
    "mamba-nano": lambda: pure(MambaConfig(), n_layer=7, hidden_size=128),
    "mamba-micro": lambda: pure(MambaConfig(), n_layer=11, hidden_size=384),
    "mamba2-nano": lambda: pure(Mamba2Config(state_size=64), n_layer=7, hidden_size=128),
    "mamba2-micro": lambda: pure(Mamba2Config(), n_layer=11, hidden_size=384),
    "mamba3-nano": lambda: pure(Mamba3Config(state_size=32), n_layer=7, hidden_size=128),
    "mamba3-micro": lambda: pure(Mamba3Config(), n_layer=11, hidden_size=384),
    "jamba-nano": lambda: jamba(n_layer=4, hidden_size=128, n_head=4, every=4, width=1.875),
    "jamba-micro": lambda: jamba(n_layer=8, hidden_size=384, n_head=6, every=8, width=1.0),
    "jamba-moe-nano": lambda: jamba(n_layer=4, hidden_size=128, n_head=4, every=4, width=1.875, experts=0.9375),
    "jamba-moe-micro": lambda: jamba(n_layer=8, hidden_size=384, n_head=6, every=8, width=1.0, experts=0.5),
    **{f"{name}-{size}": partial(_family, name, size) for name in FAMILY for size in SIZES},
    "rwkv6-nano": lambda: rwkv(RWKV6Config(n_head=4), n_layer=4, hidden_size=128, width=1.875, gated=True),
    "rwkv6-micro": lambda: rwkv(RWKV6Config(n_head=6), n_layer=6, hidden_size=384, width=2.375, gated=True),
    "rwkv7-nano": lambda: rwkv(RWKV7Config(n_head=4), n_layer=4, hidden_size=128, width=2.5, gated=False),
    "rwkv7-micro": lambda: rwkv(RWKV7Config(n_head=6), n_layer=6, hidden_size=384, width=3.25, gated=False),
    "gpt2-small": lambda: gpt2(n_layer=12, hidden_size=768, n_head=12),
    "gpt2-medium": lambda: gpt2(n_layer=24, hidden_size=1024, n_head=16),
    "gpt2-large": lambda: gpt2(n_layer=36, hidden_size=1280, n_head=20),
    "gpt2-xl": lambda: gpt2(n_layer=48, hidden_size=1600, n_head=25),
    "mamba-130m": lambda: pure(MambaConfig(), 24, 768, vocab_size=50_280, std=0.02),
    "mamba-370m": lambda: pure(MambaConfig(), 48, 1024, vocab_size=50_280, std=0.02),
    "mamba2-130m": lambda: pure(Mamba2Config(), 24, 768, vocab_size=50_288, std=0.02),
    "mamba2-370m": lambda: pure(Mamba2Config(), 48, 1024, vocab_size=50_288, std=0.02),
}


def presets() -> dict[str, Callable[[], ModelConfig]]:
    """All architectures by name: PRESETS, and those of one's own mixers. Raises UserError for a file of mixers that
    fails, or whose preset has the name of another."""
    load_own_mixers()
    own = own_presets()
    for name in own.keys() & PRESETS.keys():
        raise UserError(f"A mixer of your own would have the preset {name}, which there is already; rename the mixer.")
    return PRESETS | own


def preset(name: str) -> ModelConfig:
    """The architecture of that name. Raises UserError that names the nearest one."""
    known = PRESETS if name in PRESETS else presets()
    if name not in known:
        raise unknown("preset", name, known)
    return known[name]()


def override(model: ModelConfig, **changes: object) -> ModelConfig:
    """The model with fields changed: its own, and those of every block's mixer or channel mixer that has them
    (`n_head`, `window`, ...). None leaves a field as it is. Raises UserError where no part of the model has the
    field."""
    given = {name: value for name, value in changes.items() if value is not None}
    own = {name: value for name, value in given.items() if name in _fields(model)}
    inner = {name: value for name, value in given.items() if name not in own}
    for name in inner:
        if not any(name in _parts_fields(block) for block in model.pattern):
            raise UserError(
                f"No layer of this model has a {name}; leave it out, or choose a preset whose layers have one."
            )
    # all at once: a width may fit the new heads and not the old ones
    return replaced(model, **own, pattern=tuple(_override_block(block, inner) for block in model.pattern))


def _override_block(block: BlockConfig, changes: dict[str, object]) -> BlockConfig:
    parts = {}
    for name in ("mixer", "channel_mixer"):
        part = getattr(block, name)
        fitting = {field: value for field, value in changes.items() if field in _fields(part)}
        if fitting:
            parts[name] = replaced(part, **fitting)
    return dataclasses.replace(block, **parts)


def _parts_fields(block: BlockConfig) -> set[str]:
    return _fields(block.mixer) | _fields(block.channel_mixer)


def _fields(config: object) -> set[str]:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return set()
    return {field.name for field in dataclasses.fields(config)} | CONFIG_FIELDS.get(
        config_name(type(config)), {}
    ).keys()


if not TYPE_CHECKING:  # a type checker would take every name for known
    __getattr__ = forward(__name__)
