"""Times and memory of compiled programs on this machine."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax

from linearnexus.core.tokens import count_tokens
from linearnexus.mixers.contract import Context

Name = TypeVar("Name")


def least_seconds(functions: Mapping[Name, Callable[[], Any]], rounds: int, turn: float = 0.02) -> dict[Name, float]:
    """The least seconds of each in so many rounds through all of them: other programs can only make one slower. A
    quick function is called again and again until its turn of so many seconds is over."""
    found = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(rounds):
        for name, function in functions.items():
            end = time.perf_counter() + turn
            while True:
                begin = time.perf_counter()
                jax.block_until_ready(function())
                found[name] = min(found[name], time.perf_counter() - begin)
                if time.perf_counter() > end:
                    break
    return found


def nbytes(tree: Any) -> int:
    """Bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def context(length: int) -> Context:
    """What a mixer is told of one text from its beginning."""
    return Context(count_tokens((1, length), None, None, None, None)[0])
