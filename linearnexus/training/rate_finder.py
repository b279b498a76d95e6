"""A learning rate for a model and its data, from one short run: the learning-rate range test (Smith 2017, section 3.3).

The rate rises from step to step by the same factor, from far too low to far too high. Plotted over the logarithm of the
rate, the loss is flat at first, falls where the rate suits, and then rises. The suggestion is the rate at which the
smoothed loss was lowest, divided by 10: at the lowest point itself training is at the edge of diverging.

Look first at: `find_rate`, `RateFinding`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from linearnexus.core.errors import UserError
from linearnexus.core.paths import write_atomic
from linearnexus.training import run_folder
from linearnexus.training.chart import rate_svg
from linearnexus.training.config import TrainConfig
from linearnexus.training.fit import Hook, Loop, fit
from linearnexus.training.job import Job, first_state, open_job
from linearnexus.training.launch import completed
from linearnexus.training.optimizer import check_patterns
from linearnexus.training.parent import ParentRun
from linearnexus.training.step import Update

STEPS = 100
SPAN = 1000.0  # the sweep goes from the usual rate / SPAN to the usual rate * SPAN ** 0.7
SMOOTHING = 0.9  # decay of the mean of losses
DIVERGED = 1.5  # times the lowest smoothed loss: the sweep ends
LEAST_FALL = 1e-3  # of the first loss; a mean of equal losses differs by its rounding


@dataclass(frozen=True)
class RateFinding:
    """What the sweep found. `rates` and `losses` (smoothed, in nats) have an entry a step."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    usual: float  # the rate that is used unless another one is chosen
    plot: Path

    def __str__(self) -> str:
        lowest = min(self.losses)
        at = self.rates[self.losses.index(lowest)]
        return (
            f"The loss was lowest ({lowest:.3f}) at learning rate {at:.2g} after {len(self.rates)} steps of rising "
            f"rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}.\n"
            f"Suggested: --learning-rate {self.suggestion:.2g} (the usual one is {self.usual:g}). The plot is "
            f"{self.plot}."
        )


class RateSweep(Hook):
    """Keeps the smoothed losses, and stops the loop once they have risen far above the lowest."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._mean = 0.0

    def after_step(self, loop: Loop) -> None:
        loss = float(jax.device_get(loop.metrics[-1]["loss"]))
        loop.metrics.clear()
        if not math.isfinite(loss):
            loop.stop = "diverged"
            return
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        self.rates.append(loop.rate)
        self.losses.append(self._mean / (1 - SMOOTHING**loop.done))
        if self.losses[-1] > DIVERGED * min(self.losses):
            loop.stop = "diverged"


@dataclass(frozen=True)
class RisingRates:
    """The step of the sweep, as `fit` calls it: each at its own rate."""

    update: Update
    rates: tuple[float, ...]

    def __call__(self, state: Any, batch: Any, loop: Loop) -> tuple[Any, Mapping[str, Any], float]:
        rate = self.rates[loop.done]
        return (*self.update.at_rate(state, batch, rate), rate)


def find_rate(config: TrainConfig, base: ParentRun | None = None) -> RateFinding:
    """Sweeps the learning rate of a run and writes a plot into runs/. Nothing of the training is kept.

    base: the run whose weights it would begin with. Raises UserError for what `launch.train` refuses, and where the
    loss never falls.
    """
    job: Job = completed(open_job(config, None if base is None else base.tokenizer), base)
    config = job.config
    model = None if base is None else base.to_train(config).model
    usual = config.optimizer.usual_rate if base is None else config.peak_rate
    low, high = usual / SPAN, usual * SPAN**0.7
    rates = tuple(low * (high / low) ** (step / (STEPS - 1)) for step in range(STEPS))
    sweep, stream = RateSweep(), job.stream()
    update = Update(config, job.objective(), model if config.freezes_base else None)
    state = first_state(config, model)
    check_patterns(config, state.model)
    try:
        fit(Loop(state, total=STEPS), RisingRates(update, rates), stream, [sweep])
    finally:
        stream.close()
    best = min(range(len(sweep.losses)), key=sweep.losses.__getitem__, default=0)
    if best == 0 or sweep.losses[0] - sweep.losses[best] < LEAST_FALL * abs(sweep.losses[0]):
        raise UserError(
            f"The loss of {config.preset} on {config.data} never fell in {len(sweep.losses)} steps of rising learning "
            f"rates from {low:.2g}; check the data, or choose another --optimizer."
        )
    suggestion = float(f"{sweep.rates[best] / 10:.1g}")
    path = _free(run_folder.RUNS, f"rates-{config.preset}-{Path(config.data).stem or 'data'}")
    title = f"Learning rates of {config.preset} on {config.data}"
    write_atomic(path, rate_svg(sweep.rates, sweep.losses, suggestion, title))
    return RateFinding(tuple(sweep.rates), tuple(sweep.losses), suggestion, usual, path)


def _free(folder: Path, stem: str) -> Path:
    """The first of STEM-1.svg, STEM-2.svg, ... that is not there yet."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}); change to a folder that you can write to."
        ) from error
    stem = "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in stem)
    number = 1
    while (folder / f"{stem}-{number}.svg").exists():
        number += 1
    return folder / f"{stem}-{number}.svg"
