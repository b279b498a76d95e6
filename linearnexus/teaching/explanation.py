"""What a topic gives: what the terminal shows, one part below another, and a picture.

In a terminal, cells and tokens are coloured; elsewhere the same numbers and words stand without colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from linearnexus.teaching.picture import Picture
from linearnexus.teaching.plots import BLUE, on, shade

SHOWN = 15  # tokens of a map in a terminal of 80 columns


@dataclass(frozen=True)
class Explanation:
    parts: tuple[RenderableType, ...]
    picture: Picture


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[RenderableType]], left: int = 1) -> Table:
    """A table: the first `left` columns hold words, the others numbers."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right")
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))  # text is no markup
    return made


def token_map(title: str, tokens: Sequence[str], values: np.ndarray) -> Text:
    """[T, T] values from 0 to 1 as percents on their colours; NaN: nothing. Columns have the rows' numbers."""
    shown = min(len(tokens), SHOWN)
    letters = min(14, max(cell_len(token) for token in tokens[:shown]))
    text = Text().append(title, "bold")
    text.append("\n" + " " * (letters + 4) + "".join(f"{number + 1:4}" for number in range(shown)), "dim")
    for row in range(shown):
        label = Text(tokens[row])
        label.truncate(letters, pad=True)
        text.append(f"\n{row + 1:2} ", "dim").append_text(label).append(" ")
        for value in values[row, :shown].tolist():
            percent = "    " if math.isnan(value) else f"{round(100 * value):4}"
            text.append(percent, "" if math.isnan(value) else style(value))
    if shown < len(tokens):
        text.append(f"\nThe first {shown} of {len(tokens)} tokens.", "dim")
    return text


def style(value: float, dark: tuple[int, int, int] = BLUE) -> str:
    """The colours of a value from 0 to 1, as rich names them."""
    return f"{on(value)} on {shade(value, dark)}"


def plain(token: str) -> str:
    """A token as a label of a picture: without the space before a word; in quotes where nothing could be seen."""
    return token.strip() if token.strip() and "\n" not in token else repr(token)


def shown(token: str) -> str:
    """A token as it is written in a table: in quotes, so that spaces and new lines can be seen."""
    return repr(token)


def bytes_text(value: float) -> str:
    """1536 -> 1.5 KiB"""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.4g} {unit}"
        value /= 1024
    raise AssertionError
