"""What the next step needs, made while the current one runs.

Look first at: `Prefetcher.get`.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Prefetcher:
    """Calls `make(step)`, for the step after the one asked for in a thread, ahead of its use."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Any] | None] = (0, None)

    def get(self, step: int) -> Any:
        number, future = self._next
        made = self._make(step) if future is None or number != step else future.result()
        self._next = (step + 1, self._pool.submit(self._make, step + 1))
        return made

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
