"""What a person sees of a run: a live bar in a terminal, plain lines elsewhere.

Look first at: `Display`.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10.0  # between two plain lines of training losses


class Display:
    """Shows the rows of a run. In a terminal a bar stays at the bottom; without one each event is a line."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        columns = (
            "[bold]step {task.fields[steps]}",
            "{task.fields[loss]}",
            "{task.fields[speed]}",
            "{task.fields[left]}",
        )
        self._bar = Progress(TextColumn(columns[0]), BarColumn(24), *map(TextColumn, columns[1:]), console=self.console)
        self._task = self._bar.add_task("", total=None, steps="0", loss="", speed="", left="compiling ...")
        self._live = self.console.is_terminal and not quiet
        self._validation = math.nan
        self._last_line = -math.inf

    def __enter__(self) -> "Display":
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A sentence for the user."""
        self.console.print(escape(text))

    def row(self, row: Mapping[str, Any], total: int | None, tokens_per_step: int) -> None:
        """A row of training metrics, of a run of `total` steps (None: not known yet)."""
        speed = f"{row['tokens_per_second']:,.0f} tokens/s"
        left = ""
        if total is not None and row["step"]:
            tokens_left = (total - row["step"]) * tokens_per_step
            left = f"{_duration(tokens_left / max(row['tokens_per_second'], 1e-9))} left"
        steps = f"{row['step']:,}/{total:,}" if total else f"{row['step']:,}"
        loss = f"loss {row['loss']:.3f}"
        if not math.isnan(self._validation):
            loss += f", validation {self._validation:.3f}"
        if self._live:
            self._bar.update(
                self._task, total=total, completed=row["step"], steps=steps, loss=loss, speed=speed, left=left
            )
        elif time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self.note(f"step {steps}  {loss}  {speed}  {left}")

    def evaluation(self, step: int, found: Mapping[str, float]) -> None:
        """What an evaluation after `step` steps found: the validation loss, and what else there is."""
        self._validation = found["loss"]
        parts = [f"validation loss {found['loss']:.3f}"]
        if "loss_ema" in found:
            parts.append(f"{found['loss_ema']:.3f} with averaged weights")
        if "accuracy" in found:
            parts.append(f"{found['accuracy']:.1%} of the answers right")
        parts += [
            f"{name.replace('_', ' ')} {value:.3f}"
            for name, value in found.items()
            if name not in ("loss", "loss_ema", "accuracy")
        ]
        self.console.print(f"[bold]step {step:,}[/bold]: {', '.join(parts)}")

    def sample(self, text: str) -> None:
        """What the model writes now."""
        self.console.print(f"[green]{escape(text.strip())}[/green]\n")


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
