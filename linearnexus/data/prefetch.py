"""The batches of the next step, made while the current one runs.

Look first at: `Prefetcher.get`.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from linearnexus.data.batches import Batch, Batches


class Prefetcher:
    """Makes each step's batches [A, B, T], those of the next step in a thread while this one is used."""

    def __init__(self, batches: Batches, accumulate: int) -> None:
        self._batches, self._accumulate = batches, accumulate
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Batch] | None] = (0, None)

    def get(self, step: int) -> Batch:
        number, future = self._next
        batch = self._make(step) if future is None or number != step else future.result()
        self._next = (step + 1, self._pool.submit(self._make, step + 1))
        return batch

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _make(self, step: int) -> Batch:
        parts = [self._batches.batch(step * self._accumulate + n) for n in range(self._accumulate)]
        return Batch._make(None if field[0] is None else np.stack(field) for field in zip(*parts, strict=True))
