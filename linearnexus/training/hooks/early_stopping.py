"""Stops a run whose validation loss no longer falls."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from linearnexus.training.fit import Hook, Loop
from linearnexus.training.hooks.cadence import Cadence


class EarlyStopping(Hook):
    """Stands behind the evaluation. patience: evaluations in a row without a new lowest validation loss after which the
    run stops; None: never."""

    def __init__(self, patience: int | None, cadence: Cadence, on_message: Callable[[str], None]) -> None:
        self.patience, self.cadence, self.on_message = patience, cadence, on_message
        self.waited = 0

    def start(self, loop: Loop) -> None:
        self._stop_if_due(loop)  # a run that has stopped early is resumed: it stays as it is

    def after_step(self, loop: Loop) -> None:
        if self.cadence.evaluates(loop):
            self.waited = 0 if loop.best is None or loop.best[1] == loop.done else self.waited + 1
            self._stop_if_due(loop)

    def _stop_if_due(self, loop: Loop) -> None:
        if self.patience is not None and self.waited >= self.patience and loop.best is not None:
            loop.stop = "patience"
            self.on_message(
                f"The validation loss has not fallen below {loop.best[0]:.3f}, that of step {loop.best[1]:,}, in "
                f"{self.waited} evaluation{'s' * (self.waited > 1)}: the run ends at step {loop.done:,}."
            )

    def saved(self) -> dict[str, Any]:
        return {"waited": self.waited}

    def restore(self, saved: Mapping[str, Any], folder: Path) -> None:
        self.waited = saved.get("waited", 0)  # checkpoints of version 0.1 have none
