"""Seconds that a run has taken, over all its starts, and those in which it did not train."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from linearnexus.core.machine import return_free_memory
from linearnexus.training.fit import Hook, Loop


class Clock(Hook):
    def __init__(self) -> None:
        self.before = 0.0  # seconds of earlier starts
        self.paused = 0.0  # seconds of evaluations, samples and checkpoints
        self.began = time.monotonic()

    def start(self, loop: Loop) -> None:
        self.began = time.monotonic()

    def after_step(self, loop: Loop) -> None:
        if loop.done == loop.first + 1:  # compiling needed memory that nothing needs again
            return_free_memory()

    def elapsed(self) -> float:
        """Seconds of the run so far."""
        return round(self.before + time.monotonic() - self.began, 3)

    @contextmanager
    def pause(self, loop: Loop) -> Iterator[None]:
        """Time in here does not count in the speed of training."""
        jax.block_until_ready(loop.state)
        began = time.monotonic()
        yield
        self.paused += time.monotonic() - began

    def saved(self) -> dict[str, Any]:
        return {"seconds": self.elapsed()}

    def restore(self, saved: Mapping[str, Any], folder: Path) -> None:
        self.before = saved["seconds"]
