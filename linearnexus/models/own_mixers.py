"""Mixers of one's own: Python files, named by LINEARNEXUS_MIXERS, that are run when they are first needed.

Each mixer M of such a file has presets M-nano and M-micro of the size of the GPT of that name.

Look first at: `load_own_mixers`, `add_mixers`.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from functools import partial

from linearnexus.core.config import config_types
from linearnexus.core.errors import UserError
from linearnexus.core.plugins import run_files
from linearnexus.core.resolve import resolve
from linearnexus.mixers.configs import MixerConfig
from linearnexus.models.architectures import SIZES, gpt, small
from linearnexus.models.config import ModelConfig

VARIABLE = "LINEARNEXUS_MIXERS"
_MODULES: set[str] = set()  # those that files became
_LOADED: set[str] = set()  # values of LINEARNEXUS_MIXERS whose files were run


def load_own_mixers() -> None:
    """Runs the files that LINEARNEXUS_MIXERS names, unless they were run before. Raises UserError as `add_mixers`
    does."""
    paths = os.environ.get(VARIABLE, "")
    if paths and paths not in _LOADED:
        add_mixers(paths)
        _LOADED.add(paths)


def own_presets() -> dict[str, Callable[[], ModelConfig]]:
    """M-nano and M-micro of each own mixer M that is known by now: the GPT of that size with the mixer in place of
    attention, and an MLP of the width that keeps the number of parameters."""
    own = {name: cls for name, cls in config_types(MixerConfig).items() if cls.__module__ in _MODULES}
    return {
        f"{name.replace('_', '-')}-{size}": partial(_fitted, cls, size) for name, cls in own.items() for size in SIZES
    }


def add_mixers(paths: str) -> None:
    """Runs Python files (a text of paths with `os.pathsep` between) that define mixers. Raises UserError for a missing
    file, an error in one, or one that defines no whole mixer."""
    for module in run_files(VARIABLE, paths):
        path = str(module.__file__)
        new = {name: cls for name, cls in config_types(MixerConfig).items() if cls.__module__ == module.__name__}
        if not new:
            raise UserError(f'{path} defines no mixer; put @config("NAME") above a subclass of MixerConfig.')
        for name, cls in new.items():
            _check_own(path, name, cls)
        _MODULES.add(module.__name__)


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
    costs = resolve("linearnexus.models.costs:costs")  # it imports JAX, which a list of presets does not need
    n_layer, hidden_size, n_head = SIZES[size]
    has_heads = "n_head" in {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    mixer = cls(**({"n_head": n_head} if has_heads else {}))
    more = costs(small(mixer, n_layer, hidden_size, 4.0)).parameters - costs(gpt(*SIZES[size])).parameters
    return small(mixer, n_layer, hidden_size, max(4.0 - more / (2 * n_layer * hidden_size**2), 0.25))
