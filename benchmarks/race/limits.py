"""What the machine itself can do: the rate of float32 matrix products, and of reading a large matrix once."""

import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

SIZES = (1024, 1536, 2048)
ROWS, COLUMNS = 8192, 12_288  # 384 MiB: no cache holds it
SECONDS = 1.5


def rate(function: Callable[[Any, Any], Any], a: Any, b: Any, work: float) -> float:
    """The best of the work a second."""
    function = jax.jit(function)
    jax.block_until_ready(function(a, b))
    best, end = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        jax.block_until_ready(function(a, b))
        best = max(best, work / (time.perf_counter() - begin))
    return best


def main() -> None:
    squares = {n: jnp.ones((n, n)) for n in SIZES}
    matrix = jnp.ones((ROWS, COLUMNS))
    found = {
        "products": max(rate(jnp.matmul, a, a, 2 * n**3) for n, a in squares.items()),
        "reading": rate(lambda matrix, row: row @ matrix, matrix, jnp.ones((1, ROWS)), matrix.nbytes),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
