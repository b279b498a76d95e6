"""Stops a run whose loss or weights have gone wrong, before anything of it is saved."""

import math

import jax
import numpy as np

from linearnexus.core.config import config_name
from linearnexus.core.errors import UserError
from linearnexus.training.checkpoint import all_finite
from linearnexus.training.config import TrainConfig
from linearnexus.training.fit import Hook, Loop
from linearnexus.training.hooks.cadence import Cadence


class Diverged(UserError):
    """The loss, or a weight, went wrong."""


class DivergenceGuard(Hook):
    """Stands before every hook that writes. limit: the loss from which on a run counts as diverged; None: any finite
    loss is fine (an objective that is not a cross-entropy)."""

    def __init__(self, config: TrainConfig, cadence: Cadence, limit: float | None) -> None:
        self.config, self.cadence, self.limit = config, cadence, limit
        self._checked = -1  # the last step whose weights were looked at

    def start(self, loop: Loop) -> None:
        self._checked = loop.done

    def after_step(self, loop: Loop) -> None:
        evaluates = self.cadence.evaluates(loop)
        if evaluates or self.cadence.logs(loop):
            self._check(loop, evaluates)

    def finish(self, loop: Loop) -> None:
        if self._checked != loop.done:
            self._check(loop, weights=True)

    def _check(self, loop: Loop, weights: bool) -> None:
        losses = [float(metrics["loss"]) for metrics in jax.device_get(loop.metrics)]
        loss = float(np.mean(losses or [0.0]))
        if not math.isfinite(loss) or (weights and not all_finite(loop.state.model)):
            what = "is not a number"
        elif self.limit is not None and loss > self.limit:
            what = f"has risen to {loss:.3g}, more than twice that of guessing,"
        else:
            self._checked = loop.done if weights else self._checked
            return
        good = loop.best[1] if loop.best else 0
        optimizer = self.config.optimizer
        raise Diverged(
            f"The loss {what} at step {loop.done}, so the run stopped; its checkpoint of step {good}, the best, is "
            f"good. Try a third of the learning rate: --learning-rate {self.config.peak_rate / 3:.1g}"
            + ("" if self.config.gradient_clip else ", and --gradient-clip 1")
            + f" (the usual one for {config_name(type(optimizer))} is {optimizer.usual_rate:g})."
        )
