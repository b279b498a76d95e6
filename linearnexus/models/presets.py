"""Architectures by name: small ones that a laptop trains in minutes, and published ones with their exact parameter
counts.

Every registered mixer M has presets M-nano and M-micro of the size of the GPT of that name, so that they can be
compared.

Look first at: `PRESETS`, `preset`, `override`.
"""

import dataclasses
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from linearnexus.core.config import config_types, replaced
from linearnexus.core.errors import UserError, unknown
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
    MLPConfig,
    MLSTMConfig,
    MoEConfig,
    RetNetConfig,
    RWKV6Config,
    RWKV7Config,
    RWKVMLPConfig,
)
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig

SMALL_STD = 0.01  # at 0.02 a tied head starts up to 11% above ln(vocab): it favours the token that was just read


def small(mixer: MixerConfig, n_layer: int, hidden_size: int, width: float) -> ModelConfig:
    """Blocks of a mixer and an MLP with squared ReLU that is `width` times as wide as the model."""
    block = BlockConfig(mixer, MLPConfig(width, activation="relu2"))
    return ModelConfig((block,), n_layer, hidden_size, embedding_std=SMALL_STD)


def gpt(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """A GPT of today's make: RMSNorm, also on queries and keys, rotary positions, squared ReLU, no biases. Its count of
    parameters is GPT-2's, 12 n_layer hidden_size^2 beside the embedding."""
    return small(AttentionConfig(n_head=n_head, qk_norm=True), n_layer, hidden_size, 4.0)


def gpt2(n_layer: int, hidden_size: int, n_head: int) -> ModelConfig:
    """GPT-2 (Radford et al. 2019): LayerNorm and biases everywhere, learned positions, GELU."""
    block = BlockConfig(AttentionConfig(n_head=n_head, rope_theta=None, bias=True), MLPConfig(bias=True))
    return ModelConfig(
        (block,), n_layer, hidden_size, vocab_size=50_257, norm=LayerNormConfig(), learned_positions=1024
    )


def pure(
    mixer: MixerConfig, n_layer: int, hidden_size: int, vocab_size: int = 256, std: float = SMALL_STD
) -> ModelConfig:
    """One mixer after another and nothing else: Mamba (Gu and Dao 2023) and Mamba-2 (Dao and Gu 2024)."""
    return ModelConfig((BlockConfig(mixer),), n_layer, hidden_size, vocab_size, embedding_std=std)


def jamba(n_layer: int, hidden_size: int, n_head: int, every: int, width: float, experts: float = 0.0) -> ModelConfig:
    """Jamba's layout (Lieber et al. 2024): one attention layer, without positions, closes each run of `every` layers,
    the others are Mamba; each mixer is followed by an MLP, in every second layer by a mixture of experts of width
    `experts` (0: there is none)."""
    mlp = MLPConfig(width, activation="silu", gated=True)
    moe = MoEConfig(width=experts, normalize=False) if experts else mlp
    mixers = (MambaConfig(select_norm=bool(experts)),) * (every - 1) + (
        AttentionConfig(n_head=n_head, rope_theta=None),
    )
    pattern = tuple(BlockConfig(mixer, moe if layer % 2 else mlp) for layer, mixer in enumerate(mixers))
    return ModelConfig(pattern, n_layer, hidden_size, embedding_std=SMALL_STD)


def rwkv(mixer: MixerConfig, n_layer: int, hidden_size: int, width: float, gated: bool) -> ModelConfig:
    """RWKV's layout (Peng et al. 2024, 2025): LayerNorms, one of them before the first block, a channel mix that also
    sees the token before, and an output head of its own."""
    block = BlockConfig(mixer, RWKVMLPConfig(width, gated))
    return ModelConfig(
        (block,),
        n_layer,
        hidden_size,
        norm=LayerNormConfig(),
        input_norm=True,
        tie_embeddings=False,
        embedding_std=SMALL_STD,
    )


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
SIZES = {"nano": (4, 128, 4), "micro": (6, 384, 6)}  # n_layer, hidden_size, n_head


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


def preset(name: str) -> ModelConfig:
    """The architecture of that name. Raises UserError that names the nearest one."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()


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
    return {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()


def add_mixers(paths: str) -> None:
    """Runs Python files (a text of paths with `os.pathsep` between) that define mixers, and gives each new mixer M the
    presets M-nano and M-micro, their MLP as wide as leaves them the size of the GPT. Raises UserError for a missing
    file, an error in one, or one that defines no whole mixer.
    """
    for path in filter(None, paths.split(os.pathsep)):
        if not Path(path).is_file():
            raise UserError(f"LINEARNEXUS_MIXERS names {path}, which is no file; give the path of a Python file.")
        module = f"linearnexus_mixers_{Path(path).stem}"
        loaded = getattr(sys.modules.get(module), "__file__", path)
        file = Path(path).resolve()
        if Path(loaded).resolve() != file:
            raise UserError(f"LINEARNEXUS_MIXERS names {loaded} and {path}; give the files different names.")
        try:
            spec = importlib.util.spec_from_file_location(module, path)
            assert spec is not None and spec.loader is not None
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file]
            line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
            said = error.msg if isinstance(error, SyntaxError) else str(error).rstrip(".")
            raise UserError(
                f"{path}, which LINEARNEXUS_MIXERS names, failed in line {line} ({type(error).__name__}: {said}); "
                "correct it there."
            ) from error
        new = {name: cls for name, cls in config_types(MixerConfig).items() if cls.__module__ == module}
        if not new:
            raise UserError(f'{path} defines no mixer; put @config("NAME") above a subclass of MixerConfig.')
        for name, cls in new.items():
            _check_own(path, name, cls)
            for size in SIZES:
                small_name = f"{name.replace('_', '-')}-{size}"
                if small_name in PRESETS and getattr(PRESETS[small_name], "func", None) is not _fitted:
                    raise UserError(f"{path} names a mixer '{name}', but {small_name} is another preset; rename it.")
                PRESETS[small_name] = partial(_fitted, cls, size)


def _check_own(path: str, name: str, cls: type[MixerConfig]) -> None:
    """Raises UserError for what a user's mixer lacks."""
    if not name.isidentifier():
        better = re.sub(r"\W", "_", name)
        raise UserError(f"{path} names a mixer '{name}'; write it as a Python name, such as '{better}'.")
    absent = sorted(cls.__abstractmethods__) + [field for field in ("implementation",) if not hasattr(cls, field)]
    if absent:
        raise UserError(
            f"{cls.__name__} in {path} has no {' and no '.join(absent)}; docs/add_a_mixer.md has an example."
        )
    place, _, wanted = cls.implementation.partition(":")
    mixer = getattr(sys.modules.get(place), wanted, None)
    if mixer is None:
        raise UserError(
            f"{cls.__name__} in {path} has the implementation '{cls.implementation}', which is not there; name a class "
            'of the file: f"{__name__}:CLASS".'
        )
    known = {name for base in mixer.__mro__ for name in vars(base)}
    absent = [method for method in ("init", "init_state", "__call__", "step", "look") if method not in known]
    if absent:
        raise UserError(
            f"{wanted} in {path} has no method {' and no '.join(absent)}; docs/add_a_mixer.md tells what each is for."
        )
    if not dataclasses.is_dataclass(mixer):
        raise UserError(f"{wanted} in {path} is no module; put @module above the class.")


def _fitted(cls: type[MixerConfig], size: str) -> ModelConfig:
    """A small model of that mixer with as many parameters as the GPT."""
    from linearnexus.models.costs import costs

    n_layer, hidden_size, n_head = SIZES[size]
    mixer = cls(**({"n_head": n_head} if "n_head" in _fields(cls) else {}))
    more = costs(small(mixer, n_layer, hidden_size, 4.0)).parameters - costs(gpt(*SIZES[size])).parameters
    return small(mixer, n_layer, hidden_size, max(4.0 - more / (2 * n_layer * hidden_size**2), 0.25))


add_mixers(os.environ.get("LINEARNEXUS_MIXERS", ""))
