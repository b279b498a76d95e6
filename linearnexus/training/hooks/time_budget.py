"""`max_minutes` as a number of steps, measured once in the first steps, so that the learning rate knows its course."""

import time
from collections.abc import Callable
from typing import Any

import jax

from linearnexus.training.fit import Hook, Loop
from linearnexus.training.hooks.clock import Clock

MEASURE_FROM, MEASURE_STEPS, MEASURE_SECONDS = 3, 10, 3.0
OVERTIME = 1.15  # times max_minutes: then the run ends, whatever was measured
FOR_STEPS = 0.93  # of the minutes left; the rest goes to evaluations and samples


class TimeBudget(Hook):
    """Sets `loop.total`. Without `max_minutes` it does nothing."""

    def __init__(self, minutes: float | None, clock: Clock, on_message: Callable[[str], None]) -> None:
        self.minutes, self.clock, self.on_message = minutes, clock, on_message
        self._measured_from = 0.0

    def after_step(self, loop: Loop) -> None:
        if self.minutes is None:
            return
        if loop.total is None:
            self._measure(loop, self.minutes)
        over = self.clock.elapsed() > 60 * OVERTIME * self.minutes
        if over and (loop.total is None or loop.done < loop.total):
            self.on_message(f"{self.minutes:g} minutes are over: the run ends at step {loop.done:,}.")
            loop.total = loop.done

    def _measure(self, loop: Loop, minutes: float) -> None:
        steps = loop.done - loop.first - MEASURE_FROM
        if steps < 0:
            return
        jax.block_until_ready(loop.metrics[-1] if loop.metrics else loop.state)
        now = time.monotonic()
        if steps == 0:
            self._measured_from = now
        seconds = now - self._measured_from
        if steps >= MEASURE_STEPS and seconds >= MEASURE_SECONDS:
            left = 60 * minutes - self.clock.elapsed()
            loop.total = loop.done + max(1, int(FOR_STEPS * left * steps / seconds))
            self.on_message(f"{minutes:g} minutes are {loop.total:,} steps on this machine.")

    def saved(self) -> dict[str, Any]:
        return {"max_minutes": self.minutes}
