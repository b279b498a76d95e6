"""Architectures by name: small ones that a laptop trains in minutes, and published ones with their exact parameter
counts.

Look first at: `PRESETS`, `preset`, `override`.
"""

import dataclasses
from collections.abc import Callable

from linearnexus.core.config import replaced
from linearnexus.core.errors import UserError, unknown
from linearnexus.mixers.config import AttentionConfig, MambaConfig, MLPConfig
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig


SMALL_STD = 0.01  # at 0.02 a tied head starts up to 11% above ln(vocab): it favours the token that was just read


def gpt(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """A GPT of today's make: RMSNorm, also on queries and keys, rotary positions, squared ReLU, no biases. Its count of
    parameters is GPT-2's, 12 n_layer hidden_size^2 beside the embedding."""
    block = BlockConfig(AttentionConfig(n_head=n_head, qk_norm=True), MLPConfig(activation="relu2"))
    return ModelConfig((block,), n_layer, hidden_size, embedding_std=SMALL_STD)


def gpt2(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """GPT-2 (Radford et al. 2019): LayerNorm and biases everywhere, learned positions, GELU."""
    block = BlockConfig(AttentionConfig(n_head=n_head, rope_theta=None, bias=True), MLPConfig(bias=True))
    return ModelConfig(
        (block,), n_layer, hidden_size, vocab_size=50_257, norm=LayerNormConfig(), learned_positions=1024
    )


def mamba(n_layer: int, hidden_size: int, vocab_size: int = 256, embedding_std: float = SMALL_STD) -> ModelConfig:
    """Mamba (Gu and Dao 2023): Mamba blocks and nothing else."""
    return ModelConfig((BlockConfig(MambaConfig()),), n_layer, hidden_size, vocab_size, embedding_std=embedding_std)


def jamba(n_layer: int, hidden_size: int, n_head: int, every: int, width: float) -> ModelConfig:
    """Jamba's layout (Lieber et al. 2024): one attention layer, without positions, closes each run of `every` layers,
    the others are Mamba; each mixer is followed by an MLP."""
    mlp = MLPConfig(width, activation="silu", gated=True)
    attention = AttentionConfig(n_head=n_head, rope_theta=None)
    pattern = (BlockConfig(MambaConfig(), mlp),) * (every - 1) + (BlockConfig(attention, mlp),)
    return ModelConfig(pattern, n_layer, hidden_size, embedding_std=SMALL_STD)


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "gpt-nano": lambda: gpt(n_layer=4, hidden_size=128, n_head=4),
    "gpt-micro": lambda: gpt(n_layer=6, hidden_size=384, n_head=6),
    "mamba-nano": lambda: mamba(n_layer=7, hidden_size=128),
    "mamba-micro": lambda: mamba(n_layer=11, hidden_size=384),
    "jamba-nano": lambda: jamba(n_layer=4, hidden_size=128, n_head=4, every=4, width=1.875),
    "jamba-micro": lambda: jamba(n_layer=8, hidden_size=384, n_head=6, every=8, width=1.0),
    "gpt2-small": lambda: gpt2(n_layer=12, hidden_size=768, n_head=12),
    "gpt2-medium": lambda: gpt2(n_layer=24, hidden_size=1024, n_head=16),
    "gpt2-large": lambda: gpt2(n_layer=36, hidden_size=1280, n_head=20),
    "gpt2-xl": lambda: gpt2(n_layer=48, hidden_size=1600, n_head=25),
    "mamba-130m": lambda: mamba(n_layer=24, hidden_size=768, vocab_size=50_280, embedding_std=0.02),
    "mamba-370m": lambda: mamba(n_layer=48, hidden_size=1024, vocab_size=50_280, embedding_std=0.02),
}


def preset(name: str) -> ModelConfig:
    """The architecture of that name. Raises UserError that names the nearest one."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()


def override(model: ModelConfig, **changes: object) -> ModelConfig:
    """The model with fields changed: its own, and those of every block's mixer or channel mixer that has them
    (`n_head`, `window`, ...). None leaves a field as it is. Raises UserError where no part of the model has the
    field."""
    for name, value in changes.items():
        if value is None:
            continue
        if name in _fields(model):
            model = replaced(model, name, value)
            continue
        pattern = tuple(_override_block(block, name, value) for block in model.pattern)
        if pattern == model.pattern and not any(name in _parts_fields(block) for block in pattern):
            raise UserError(
                f"No layer of this model has a {name}; leave it out, or choose a preset whose layers have one."
            )
        model = dataclasses.replace(model, pattern=pattern)
    return model


def _override_block(block: BlockConfig, name: str, value: object) -> BlockConfig:
    parts = {
        part: replaced(getattr(block, part), name, value)
        for part in ("mixer", "channel_mixer")
        if name in _fields(getattr(block, part))
    }
    return dataclasses.replace(block, **parts)


def _parts_fields(block: BlockConfig) -> set[str]:
    return _fields(block.mixer) | _fields(block.channel_mixer)


def _fields(config: object) -> set[str]:
    return {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
