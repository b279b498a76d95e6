"""Packages that are imported when they are first used, so that the command line answers at once.

For packages of others only (optax, jax): a module of our own that needs another one imports it at its top, where a
circle shows.

Look first at: `LazyPackage`.
"""

import importlib
from typing import Any


class LazyPackage:
    """Stands for a package until one of its attributes is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
