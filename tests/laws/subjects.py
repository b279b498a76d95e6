"""What the law is tested on: every registered mixer in each of its `examples()`, and every preset. Nothing is listed
here.

A mixer has small odd sizes. A preset has its own width; one larger than the nano ones has one period of its pattern and
a layer more, and a vocabulary of 97. Parameters are moved away from their initial values, which would hide mistakes: a
bias of zero, a scale of one, and attention weights so small that every softmax is flat.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

import linearnexus.models.presets as presets
from linearnexus.core.config import config_types
from linearnexus.core.module import MatrixDims, matrix_dims
from linearnexus.core.tokens import count_tokens
from linearnexus.mixers.configs import MixerConfig
from linearnexus.mixers.contract import Context
from linearnexus.models.config import ModelConfig
from linearnexus.models.language_model import LanguageModel
from linearnexus.models.own_mixers import load_own_mixers
from tests.laws.law import Law, Subject, jit, precision

WIDTHS = (18, 24, 36, 48, 60, 64)  # a mixer gets the first that it accepts
VOCAB = 97
SMALL = 3_000_000  # parameters up to which a preset keeps its depth: the nano ones
HUGE = 1e4  # size of the inputs that do not count


def mixer_examples() -> dict[str, MixerConfig]:
    """Every registered mixer's examples, named by what differs from the defaults."""
    load_own_mixers()
    found = {}
    for name, cls in sorted(config_types(MixerConfig).items()):
        for example in cls.examples():
            fields = {field.name: field.default for field in dataclasses.fields(cls)}
            changed = {
                key: getattr(example, key) for key, default in fields.items() if getattr(example, key) != default
            }
            found[" ".join([name, *(f"{key}={value}" for key, value in changed.items())])] = example
    return found


def first_examples() -> list[str]:
    """The name of each mixer's first example: the others differ from it in options."""
    return list({type(config): name for name, config in reversed(mixer_examples().items())}.values())[::-1]


def accepted_width(config: MixerConfig) -> int:
    """The smallest of the test's widths that the mixer accepts."""
    for width in WIDTHS:
        try:
            config.check(width)
        except ValueError:
            continue
        return width
    raise AssertionError(f"no width of {WIDTHS} suits {config}")


def moved(module: Any, dtype: str, seed: int = 0) -> Any:
    """The module with loud parameters, in the given precision."""
    rng = np.random.default_rng(seed)

    def move(array: Any, dims: Any) -> np.ndarray:
        noise = rng.standard_normal(array.shape)
        if isinstance(dims, MatrixDims):
            return (noise / np.sqrt(dims.matrix(array).shape[-2])).astype(dtype)
        return (np.asarray(array) + 0.3 * noise).astype(dtype)

    return jax.tree.map(move, module, matrix_dims(module))


def mixer(config: MixerConfig, dtype: str, seed: int = 0) -> Subject:
    """A mixer; its state here is its own and the counts that tokens are numbered with."""
    width = accepted_width(config)
    module = moved(config.init(width, jax.random.key(seed)), dtype, seed)

    def call(module: Any, x: Any, valid: Any, starts: Any, state: Any) -> Any:
        inner, position, index = (None, None, None) if state is None else state
        tokens, position, index = count_tokens(x.shape[:2], valid, starts, position, index)
        out = module(x, Context(tokens), inner)
        return out.y, None if state is None else (out.state, position, index)

    def step(module: Any, x: Any, valid: Any, starts: Any, state: Any) -> Any:
        inner, position, index = state
        columns = (None if field is None else field[:, None] for field in (valid, starts))
        tokens, position, index = count_tokens((x.shape[0], 1), *columns, position, index)
        out = module.step(x, Context(jax.tree.map(lambda field: field[:, 0], tokens)), inner)
        return out.y, (out.state, position, index)

    def start(batch: int, max_len: int) -> Any:
        return module.init_state(batch, max_len, dtype), np.zeros(batch, np.int32), np.zeros(batch, np.int32)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.standard_normal((n, width))

    return Subject(repr(config), module, call, step, start, draw, lambda rng, n: HUGE * draw(rng, n))


def shortened(config: ModelConfig, up_to: int) -> ModelConfig:
    """A preset with the law's vocabulary; one of more than `up_to` parameters a period and a layer deep."""
    config = dataclasses.replace(config, vocab_size=VOCAB)
    if parameters(config) <= up_to:
        return config
    return dataclasses.replace(config, n_layer=min(config.n_layer, len(config.pattern) + 1))


def parameters(config: ModelConfig) -> int:
    """Counts without allocating."""
    shapes = LanguageModel.shapes(config)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def model(config: ModelConfig, dtype: str, seed: int = 0) -> Subject:
    """A whole model: ids in, logits out."""
    config = dataclasses.replace(config, dtype=dtype)
    module = moved(LanguageModel.init(config, jax.random.key(seed)), dtype, seed)

    def call(module: Any, ids: Any, valid: Any, starts: Any, state: Any) -> Any:
        out = module(ids, valid, starts, state)
        return out.logits, out.state

    def step(module: Any, ids: Any, valid: Any, starts: Any, state: Any) -> Any:
        return module.step(ids, state, valid, starts)

    def start(batch: int, max_len: int) -> Any:
        return jit(lambda module: module.init_state(batch, max_len))(module)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.integers(config.vocab_size, size=n, dtype=np.int32)

    return Subject(str(config), module, call, step, start, draw, draw)


def mixer_law(config: MixerConfig, dtype: str, **options: Any) -> Law:
    with precision(dtype):
        subject = mixer(config, dtype)
    return Law(subject, dtype, **options)


def ring_law(config: MixerConfig, dtype: str) -> Law | None:
    """The law with a cache shorter than the text, so that it wraps; None where the state has no such size."""
    with precision(dtype):
        subject = mixer(config, dtype)
        short, long = (jax.tree.map(np.shape, subject.start(1, n)) for n in (12, 13))
    return None if short == long else Law(subject, dtype, batch=2, cuts=(16, 1), max_len=12, long=None, exact=False)


def model_law(name: str, dtype: str, up_to: int = SMALL) -> Law:
    """The law for a preset, with arrays always passed and a short text: fewer functions to compile. A large one has the
    shortest text: each step gives a gradient as large as the model."""
    config = presets.preset(name)
    with precision(dtype):
        subject = model(shortened(config, up_to), dtype)
    wide = parameters(dataclasses.replace(config, vocab_size=VOCAB)) > SMALL
    text = {"batch": 2, "cuts": (9, 7, 1)} if wide else {"batch": 3, "cuts": (16, 16, 1)}
    return Law(subject, dtype, **text, long=None, exact=False)
