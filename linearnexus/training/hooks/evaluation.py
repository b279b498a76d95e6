"""The loss on data held out, written and shown; the lowest one so far decides which checkpoint is the best."""

import math

from linearnexus.training.display import Display
from linearnexus.training.fit import Loop
from linearnexus.training.hooks.average import WeightAverage
from linearnexus.training.hooks.cadence import AtEvaluations, Cadence
from linearnexus.training.hooks.clock import Clock
from linearnexus.training.job import Job
from linearnexus.training.objective import validate
from linearnexus.training.run_folder import Log
from linearnexus.training.step import Update


class Evaluation(AtEvaluations):
    def __init__(
        self,
        job: Job,
        update: Update,
        cadence: Cadence,
        clock: Clock,
        log: Log,
        display: Display,
        average: WeightAverage,
    ) -> None:
        self.job, self.update, self.cadence, self.clock = job, update, cadence, clock
        self.log, self.display, self.average = log, display, average

    def act(self, loop: Loop) -> None:
        with self.clock.pause(loop):
            found = self._validate(loop.state.model)
            if self.average.weights is not None:
                found["loss_ema"] = self._validate(self.average.weights)["loss"]
            loop.validation = found
            row = {f"validation_{name}": value for name, value in found.items()}
            self.log.row({"step": loop.done, **row, "seconds": self.clock.elapsed()})
            self.display.evaluation(loop.done, found)
            loss = found["loss"]
            if math.isfinite(loss) and (loop.best is None or loss < loop.best[0]):
                loop.best = (loss, loop.done)

    def _validate(self, trained: object) -> dict[str, float]:
        parts = ((part.share, part.batches) for part in self.job.evaluation())
        return validate(self.update.objective, trained, self.update.frozen, parts)
