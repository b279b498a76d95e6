"""From the place of a class, as a config names it, to the class."""

from importlib import import_module
from typing import Any


def resolve(place: str) -> Any:
    """What "MODULE:NAME" stands for. The module is imported now: a config's own module need not import JAX."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
