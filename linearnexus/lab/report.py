"""The table and the plot of a comparison.

    rows (one a run)  ->  `Best` (one a model: its best learning rate, over the seeds)  ->  text, Markdown, CSV, PNG

Look first at: `best_of`.
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from linearnexus.core.paths import write_atomic

Row = dict[str, Any]
EDGE = "* the best of the rates tried is the smallest or largest of them: a better one may lie beyond."


@dataclass(frozen=True)
class Best:
    """The runs of a model at the learning rate with the lowest mean loss over its seeds."""

    mixer: str
    rows: tuple[Row, ...]
    at_edge: bool  # of the rates that were tried

    def mean(self, key: str) -> float:
        return statistics.fmean(row[key] for row in self.rows)

    def span(self, key: str) -> tuple[float, float]:
        values = [row[key] for row in self.rows]
        return min(values), max(values)

    def at(self, length: str) -> float:
        """Mean accuracy at another length; NaN where a run has none, as it diverged."""
        return statistics.fmean(row["accuracy_at"].get(length, math.nan) for row in self.rows)


def best_of(rows: Sequence[Row]) -> list[Best]:
    """One for each model, in their order. A rate that diverges with any seed is worse than all that do not."""
    found = []
    for mixer in dict.fromkeys(row["mixer"] for row in rows):
        rates: dict[float, list[Row]] = {}
        for row in rows:
            if row["mixer"] == mixer:
                rates.setdefault(row["learning_rate"], []).append(row)

        def rank(rate: float, rates: dict[float, list[Row]] = rates) -> tuple[bool, float]:
            return any(row["diverged"] for row in rates[rate]), statistics.fmean(row["loss"] for row in rates[rate])

        best = min(rates, key=rank)
        found.append(Best(mixer, tuple(rates[best]), len(rates) > 1 and best in (min(rates), max(rates))))
    return found


def cells(best: Sequence[Best]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of the table; of a task with accuracies."""
    asks = all(row["accuracy"] is not None for one in best for row in one.rows)
    lengths = sorted({length for one in best for row in one.rows for length in row["accuracy_at"]}, key=int)
    heads = ["model", "parameters", "state, bytes", "rate", *(["right"] if asks else []), "loss"]
    lines = []
    for one in best:
        line = [one.mixer, f"{one.rows[0]['parameters']:,}", f"{one.rows[0]['state_bytes']:,}"]
        line.append(f"{one.rows[0]['learning_rate']:g}{'*' if one.at_edge else ''}")
        if asks:
            low, high = one.span("accuracy")
            line.append(f"{one.mean('accuracy'):.1%}" + (f" ({low:.1%} to {high:.1%})" if len(one.rows) > 1 else ""))
        diverged = any(row["diverged"] for row in one.rows)
        line.append("diverged" if diverged else f"{one.mean('loss'):.3f}")
        line += [f"{one.at(length):.1%}" for length in lengths]
        lines.append([*line, f"{one.mean('tokens_per_second'):,.0f}"])
    return [*heads, *(f"right at {length}" for length in lengths), "tokens/s"], lines


def table(best: Sequence[Best]) -> str:
    """For a terminal."""
    heads, lines = cells(best)
    drawn = Table(*heads, box=box.SIMPLE)
    for column in drawn.columns[1:]:
        column.justify = "right"
    for line in lines:
        drawn.add_row(*line)
    console = Console(file=io.StringIO(), width=200, no_color=True)
    console.print(drawn)
    text: str = console.file.getvalue().rstrip()  # type: ignore[attr-defined]
    return text + (f"\n{EDGE}" if any(one.at_edge for one in best) else "")


def markdown(data: str, best: Sequence[Best], rows: Sequence[Row]) -> str:
    """results.md: the table, and below it every run."""
    heads, lines = cells(best)
    asks = "right" in heads
    text = [f"# {data}", "", *_markdown_table(heads, lines), "", *([EDGE, ""] if any(b.at_edge for b in best) else [])]
    heads = ["model", "rate", "seed", "steps", "seconds", "loss", *(["right"] if asks else [])]
    every = []
    for row in rows:
        right = [f"{row['accuracy']:.1%}"] if asks else []
        loss = "diverged" if row["diverged"] else f"{row['loss']:.3f}"
        numbers = (f"{row['learning_rate']:g}", str(row["seed"]), f"{row['steps']:,}", f"{row['seconds']:.0f}")
        every.append([row["mixer"], *numbers, loss, *right])
    return "\n".join([*text, "Every run:", "", *_markdown_table(heads, every), ""])


def _markdown_table(heads: list[str], lines: list[list[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(heads) - 1)
    names = [[f"`{line[0]}`", *line[1:]] for line in lines]
    return [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(line)} |" for line in names)]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """A line a run."""
    flat = []
    for row in rows:
        other = {f"accuracy_at_{length}": value for length, value in row["accuracy_at"].items()}
        flat.append({key: value for key, value in row.items() if key != "accuracy_at"} | other)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_atomic(path, text.getvalue())


def write_plot(path: Path, data: str, best: Sequence[Best]) -> str | None:
    """Accuracy (of a text: loss) against state bytes; the bar of a point spans its seeds. Without matplotlib, the
    sentence that says so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"There is no {path.name}: drawing it takes matplotlib (pip install 'linearnexus[plot]')."
    asks = all(row["accuracy"] is not None for one in best for row in one.rows)
    key = "accuracy" if asks else "loss"
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for one in best:
        (low, high), mean = one.span(key), one.mean(key)
        x = one.rows[0]["state_bytes"]
        axes.errorbar(x, mean, [[mean - low], [high - mean]], fmt="o", capsize=3, label=one.mixer)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("state of one sequence, bytes")
    axes.set_ylabel("share of right answers" if asks else "validation loss, nats per token")
    if asks:
        axes.set_ylim(-0.03, 1.03)
    axes.set_title(data)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomic(path, picture.getvalue())
    return None
