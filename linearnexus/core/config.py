"""Configs: frozen dataclasses that name every choice of a model or a run, written to JSON and read back.

Config classes import without JAX, so that the command line answers at once. The *type* of a config decides what it
builds (`config.build()` in its own class); the name given to `@config` serves JSON and the command line, and nothing
else.

Look first at: `config`, `to_json`, `from_json`, `config_class`.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.renames import CONFIG_FIELDS, accepts_old_names, moved_fields, rename_fields
from linearnexus.core.resolve import resolve

T = TypeVar("T")
_TYPES: dict[str, type] = {}
# Where the configs are that JSON may name. A module is imported when a name is met that is not known yet.
_MODULES = (
    "linearnexus.mixers.configs",
    "linearnexus.models.config",
    "linearnexus.generation.config",
    "linearnexus.training.config",
    "linearnexus.posttraining.config",
)


@dataclass_transform(frozen_default=True)
def config(name: str) -> Callable[[type[T]], type[T]]:
    """Makes a class a frozen dataclass that JSON knows as `name`."""

    def register(cls: type[T]) -> type[T]:
        old = _TYPES.get(name, cls)
        if (old.__module__, old.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"Two config classes are named '{name}': {_TYPES[name]} and {cls}; rename one.")
        made = dataclasses.dataclass(frozen=True)(cls)
        if name in CONFIG_FIELDS:
            accepts_old_names(made, name)
        _TYPES[name] = made
        return made

    return register


def config_class(name: str) -> type[Any]:
    """The config class that JSON knows as `name`. Raises UserError where there is none."""
    for module in _MODULES:
        if name in _TYPES:
            break
        resolve(f"{module}:__name__")
    if name not in _TYPES:
        resolve("linearnexus.core.plugins:load_plugins")()
    if name not in _TYPES:
        raise unknown("config type", name, _TYPES)
    return _TYPES[name]


def config_types(base: type) -> dict[str, type[Any]]:
    """The registered config classes below `base`, by name."""
    return {name: cls for name, cls in _TYPES.items() if issubclass(cls, base)}


def config_name(cls: type) -> str:
    """The registered name of a config class."""
    return next(name for name, known in _TYPES.items() if known is cls)


def to_json(value: Any) -> Any:
    """A config as plain JSON values; every config object carries its registered name under "type"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": config_name(type(value)), **fields}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """The config that `to_json` wrote. Raises UserError for an unknown type or field, or a value of the wrong type."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    name = str(fields.pop("type", None))
    cls = config_class(name)
    fields = rename_fields(name, fields, tell=False)  # a file of an earlier version is nobody's mistake
    fields = moved_fields(name, cls, fields, tell=False)
    return make(cls, {key: from_json(item) for key, item in fields.items()})


def make(cls: type[T], values: dict[str, Any]) -> T:
    """`cls(**values)`, with a sentence instead of a traceback for an unknown field or a value of the wrong type."""
    values = rename_fields(next((name for name, known in _TYPES.items() if known is cls), ""), values)
    hints = typing.get_type_hints(cls)
    allowed = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key, item in values.items():
        if key not in allowed:
            raise unknown(f"option of {cls.__name__}", key, allowed)
        if not fits(item, allowed[key]):
            raise UserError(f"{key} is {item!r}, which is not {describe(allowed[key])}; give {key} such a value.")
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{cls.__name__} has no {field.name}; give it one.")
    return cls(**values)


def replaced(value: T, **changes: Any) -> T:
    """A config with fields changed together, their types checked as in `make`."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]
    return make(type(value), {**fields, **changes})


def fits(value: Any, annotation: Any) -> bool:
    """Is the value of that type?"""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(annotation, type) or isinstance(value, annotation)


def describe(annotation: Any) -> str:
    """A type in words: "a whole number or none"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(option) for option in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "none"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
