"""Command lines from dataclasses, by tyro: each field is an option, its comment is what --help says of it.

Look first at: `parse`, `_explain` (what a beginner hears of a mistake).
"""

import contextlib
import dataclasses
import io
import sys
import typing
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

import tyro

from linearnexus.cli.main import warn
from linearnexus.core.config import describe, fits, make
from linearnexus.core.errors import UserError
from linearnexus.core.renames import rename_options
from linearnexus.training.optimizers.optimizer_config import OptimizerConfig, optimizer_config, spec_of

T = TypeVar("T")
WORDS = {"True": True, "False": False, "None": None}


def parse(cls: type[T], arguments: list[str], verb: str, description: str, **default: Any) -> T:
    """The options of a verb; `default=` an object with other defaults than the class's. Raises UserError for what tyro
    refuses."""
    arguments = rename_options("train", arguments, warn)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                cls,
                args=arguments,
                prog=f"linearnexus {verb}",
                description=description,
                **default,
                registry=REGISTRY,
                config=(
                    tyro.conf.FlagConversionOff,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.PositionalMetavarFromFieldName,
                ),
            )
    except SystemExit as end:
        if end.code:
            _explain(cls, arguments, verb)
        sys.stderr.write(told.getvalue())
        raise


def with_value(arguments: list[str], option: str) -> list[str]:
    """The arguments with an option that may stand without a value, as --yes does, given its value."""
    if option not in arguments:
        return arguments
    place = arguments.index(option)
    given = arguments[place + 1 : place + 2]
    if given and given[0] in WORDS:
        return arguments
    return [*arguments[: place + 1], "True", *arguments[place + 1 :]]


REGISTRY = tyro.constructors.ConstructorRegistry()


@REGISTRY.primitive_rule
def _optional(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """`str | None` is STR in --help, not {None}|STR."""
    kinds = [kind for kind in typing.get_args(info.type) if kind is not type(None)]
    if len(kinds) != 1 or len(typing.get_args(info.type)) != 2:
        return None
    spec = REGISTRY.get_primitive_spec(tyro.constructors.PrimitiveTypeInfo.make(kinds[0], set()))
    if not isinstance(spec, tyro.constructors.PrimitiveConstructorSpec) or spec.nargs != 1 or spec.choices:
        return None
    return dataclasses.replace(
        spec,
        instance_from_str=lambda words: None if words == ["None"] else spec.instance_from_str(words),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: ["None"] if value is None else spec.str_from_instance(value),
    )


@REGISTRY.primitive_rule
def _optimizer(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """An optimizer is its name, or `muon(weight_decay=0.05)`; `with_options` makes a config of the text."""
    if info.type is not OptimizerConfig:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="STR",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str | OptimizerConfig),
        str_from_instance=lambda value: [value if isinstance(value, str) else spec_of(value)],
    )


def changed(value: Any, usual: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from those of another."""
    names = [field.name for field in dataclasses.fields(value)]
    return {name: getattr(value, name) for name in names if getattr(value, name) != getattr(usual, name)}


def _explain(cls: type, arguments: list[str], verb: str) -> None:
    """Raises a sentence for what is wrong with the arguments, where tyro draws a box in a programmer's words."""
    fields = list(_fields(cls))
    options = {
        "--" + name.rstrip("_").replace("_", "-"): (owner, name, kind)
        for owner, name, kind, place in fields
        if not place
    }
    usage = [f"linearnexus {verb}", *(name.upper() for _, name, _, place in fields if place)]
    more = f"linearnexus {verb} --help tells more"
    loose: list[str] = []  # words that belong to no option
    given: dict[type, dict[str, Any]] = {}
    left = list(arguments)
    while left:
        word = left.pop(0)
        if not _is_option(word):
            loose.append(word)
            continue
        option, equals, value = word.partition("=")
        option = option.replace("_", "-")
        if option not in options:
            near = get_close_matches(option, options, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"linearnexus {verb} --help lists them."
            raise UserError(f"There is no option '{word}' of {verb}; {hint}")
        owner, name, kind = options[option]
        many = typing.get_origin(kind) is tuple
        values = [value] if equals else []
        while left and not _is_option(left[0]) and (many or not values):
            values.append(left.pop(0))
        if not values:
            raise UserError(f"{option} has no value after it; give {describe(kind)} ({more}).")
        read = tuple(_value(option, value, typing.get_args(kind)[0] if many else kind) for value in values)
        given.setdefault(owner, {})[name] = read if many else read[0]
    places = usage[1:]
    if len(loose) < len(places):
        raise UserError(f"{places[len(loose)]} is missing; write: {' '.join(usage)} ({more}).")
    if len(loose) > len(places):
        extra = " ".join(loose[len(places) :])
        raise UserError(
            f"'{extra}' is too much after {' '.join(usage)}; put a text of several words in quotes, and options after "
            f"their names ({more})."
        )
    for owner, values_of_owner in given.items():
        values_of_owner.pop("optimizer", None)
        if owner is not cls:
            make(owner, values_of_owner)  # a value out of range says so


def _fields(cls: type) -> Iterator[tuple[type, str, Any, bool]]:
    """(class, name, type, is it a place without a name?) of each field, those of nested classes too. A name that is a
    word of Python's has _ at its end."""
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if dataclasses.is_dataclass(kind):
            yield from _fields(typing.cast(type, kind))
        else:
            options = [option for option in typing.get_args(kind) if option is not type(None)]
            optional = len(options) == 1 and len(typing.get_args(kind)) == 2
            yield cls, name, options[0] if optional else kind, kind is not hint and not name.endswith("_")


def _is_option(word: str) -> bool:
    """tyro's rule: a dash and a letter. -5 is a number, "- a" is text."""
    return word.startswith("-") and word.lstrip("-")[:1].isalpha() and word not in ("-inf", "-nan")


def _value(option: str, word: str, kind: Any) -> Any:
    if kind is OptimizerConfig:
        optimizer_config(word)
        return word
    for read in (int, float, WORDS.__getitem__, str):
        with contextlib.suppress(ValueError, KeyError):
            if fits(value := read(word), kind):
                return value
    raise UserError(f"{option} is '{word}'; give {describe(kind)}.")
