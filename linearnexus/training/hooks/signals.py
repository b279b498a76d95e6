"""Ctrl-C and SIGTERM ask a run to stop after the step it is in; a second Ctrl-C stops it at once."""

import signal
import threading
from typing import Any

from linearnexus.training.fit import Hook, Loop


class Interrupted(Exception):
    """The run was asked to stop by a signal, and has saved."""

    def __init__(self, number: int) -> None:
        self.number = number


class StopSignals(Hook):
    """A context in which the signals are caught, and the hook that stops the loop; `received` is the number of the
    signal that came, or None."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # Python allows no other thread to set handlers
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def start(self, loop: Loop) -> None:
        self.after_step(loop)

    def after_step(self, loop: Loop) -> None:
        if self.received is not None:
            loop.stop = "signal"
