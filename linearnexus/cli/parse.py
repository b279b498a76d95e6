"""Command lines from dataclasses, by tyro: each field is an option, its comment is what --help says of it."""

from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(cls: type[T], arguments: list[str], verb: str, description: str, **default: Any) -> T:
    """The options of a verb; `default=` an object with other defaults than the class's. Ends the program with a message
    for an unknown option, naming the nearest one."""
    return tyro.cli(
        cls,
        args=arguments,
        prog=f"linearnexus {verb}",
        description=description,
        **default,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes),
    )
