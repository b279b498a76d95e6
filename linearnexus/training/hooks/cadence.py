"""When a run is logged, and when it is evaluated, sampled and saved: pure functions of the step."""

from dataclasses import dataclass

from linearnexus.training.fit import Hook, Loop


@dataclass(frozen=True)
class Cadence:
    log_interval: int
    eval_interval: int | None  # None: at each tenth of the run

    def logs(self, loop: Loop) -> bool:
        """Every log_interval steps, and after the last one."""
        return loop.done % self.log_interval == 0 or loop.done == loop.total

    def evaluates(self, loop: Loop) -> bool:
        """Every eval_interval steps or at each tenth of the run, and after the last step."""
        if loop.total is None:
            return False
        if self.eval_interval is not None:
            return loop.done % self.eval_interval == 0 or loop.done == loop.total
        return loop.done * 10 // loop.total > (loop.done - 1) * 10 // loop.total


class AtEvaluations(Hook):
    """A hook that acts before the first step of a new run, and whenever the run is evaluated."""

    cadence: Cadence

    def start(self, loop: Loop) -> None:
        if loop.new:
            self.act(loop)

    def after_step(self, loop: Loop) -> None:
        if self.cadence.evaluates(loop):
            self.act(loop)

    def act(self, loop: Loop) -> None:
        raise NotImplementedError
