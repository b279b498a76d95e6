"""The rows of metrics.jsonl: every log_interval steps the means of what the steps measured."""

import time
from typing import Any

import jax
import numpy as np

from linearnexus.training.display import Display
from linearnexus.training.fit import Hook, Loop
from linearnexus.training.hooks.cadence import Cadence
from linearnexus.training.hooks.clock import Clock
from linearnexus.training.run_folder import Log


class Metrics(Hook):
    def __init__(self, cadence: Cadence, clock: Clock, log: Log, display: Display, tokens_per_step: int) -> None:
        self.cadence, self.clock, self.log, self.display = cadence, clock, log, display
        self.tokens_per_step = tokens_per_step
        self._since, self._paused = 0.0, 0.0  # when the last row was written, and the clock's pauses until then

    def start(self, loop: Loop) -> None:
        self._since, self._paused = time.monotonic(), self.clock.paused

    def after_step(self, loop: Loop) -> None:
        if not self.cadence.logs(loop):
            return
        # float64: the numbers of a resumed run come from JSON, those of the others from the device
        steps = [{name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(loop.metrics)]
        means = {name: float(np.mean(np.array([step[name] for step in steps], np.float64))) for name in steps[-1]}
        now = time.monotonic()
        seconds = now - self._since - (self.clock.paused - self._paused)
        row = {
            "step": loop.done,
            "loss": means.pop("loss"),
            "learning_rate": loop.rate,
            "grad_norm": means.pop("grad_norm"),
            **means,
            "tokens_per_second": round(len(steps) * self.tokens_per_step / max(seconds, 1e-9), 1),
            "seconds": self.clock.elapsed(),
        }
        loop.metrics, self._since, self._paused = [], now, self.clock.paused
        self.log.row(row)
        self.display.row(row, loop.total, self.tokens_per_step)

    def saved(self) -> dict[str, Any]:
        return {"log_lengths": self.log.lengths()}
