"""What a person sees of a run: a live bar in a terminal, plain lines elsewhere.

Look first at: `Progress`.
"""

import math
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

PLAIN_SECONDS = 10.0  # between two plain lines of training losses


class Progress:
    """Shows the rows of a run. In a terminal a bar stays at the bottom; without one each event is a line."""

    def __init__(self, total: int | None, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        columns = (
            "[bold]step {task.fields[steps]}",
            "{task.fields[loss]}",
            "{task.fields[speed]}",
            "{task.fields[left]}",
        )
        self._bar = Bar(TextColumn(columns[0]), BarColumn(24), *map(TextColumn, columns[1:]), console=self.console)
        self._task = self._bar.add_task("", total=total, steps="0", loss="", speed="", left="compiling ...")
        self._live = self.console.is_terminal and not quiet
        self._validation = math.nan
        self._last_line = -math.inf
        self.total = total

    def __enter__(self) -> "Progress":
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self.console.print(escape(text))

    def row(self, row: dict[str, Any]) -> None:
        """A row of training metrics."""
        speed = f"{row['tokens_per_second']:,.0f} tokens/s"
        left = ""
        if self.total is not None and row["step"]:
            tokens_left = (self.total - row["step"]) * row["tokens_per_step"]
            left = f"{_duration(tokens_left / max(row['tokens_per_second'], 1e-9))} left"
        steps = f"{row['step']:,}/{self.total:,}" if self.total else f"{row['step']:,}"
        loss = f"loss {row['loss']:.3f}"
        if not math.isnan(self._validation):
            loss += f", validation {self._validation:.3f}"
        if self._live:
            self._bar.update(
                self._task, total=self.total, completed=row["step"], steps=steps, loss=loss, speed=speed, left=left
            )
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self.note(f"step {steps}  {loss}  {speed}  {left}")

    def evaluation(self, step: int, loss: float, accuracy: float | None = None) -> None:
        """The validation loss after `step` steps, and of a task the share of right answers."""
        self._validation = loss
        answers = "" if accuracy is None else f", {accuracy:.1%} of the answers right"
        self.console.print(f"[bold]step {step:,}[/bold]: validation loss {loss:.3f}{answers}")

    def sample(self, text: str) -> None:
        """What the model writes now."""
        self.console.print(f"[green]{escape(text.strip())}[/green]\n")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
