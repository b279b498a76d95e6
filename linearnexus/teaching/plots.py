"""The three kinds of picture that the topics need: maps of tokens by tokens, curves over lengths, rows of boxes.

Look first at: `maps`, `curves`, `rows`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linearnexus.teaching.picture import GRID, INK, MONO_WIDTH, SOFT, Label, Line, Picture, Rect
from linearnexus.training.chart import ticks

# Light enough for dark letters, and apart for colour-blind eyes (Okabe and Ito's, mixed with white).
COLOURS = ("#9ecae9", "#ffcf8f", "#9fdcc4", "#f0b3d0", "#fff2a0", "#c9c3e6", "#f4b8a0", "#d5d9de")
LINES = ("#0b6fb3", "#b94a00", "#2f8f5b", "#7a4fb5")
BLUE, ORANGE = (11, 79, 138), (196, 78, 0)  # the dark ends of the scales
UNSEEN = "#e3e0da"
CELL, LABEL, MARGIN = 20, 11, 18  # pixels of a cell, of a token's letters, of the border


@dataclass(frozen=True)
class Map:
    """A value from 0 to 1 for each pair of tokens; NaN: the pair does not exist."""

    title: str
    tokens: Sequence[str]
    values: np.ndarray  # [T, T]


@dataclass(frozen=True)
class Box:
    size: float  # in the units of the axis
    label: str
    colour: str
    strong: bool = False  # with a frame: the one that was chosen


@dataclass(frozen=True)
class Row:
    label: str
    boxes: Sequence[Box]
    note: str = ""  # behind the last box


def shade(value: float, dark: tuple[int, int, int] = BLUE) -> str:
    """White for 0, the dark colour for 1."""
    share = min(max(value, 0.0), 1.0)
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in dark)


def on(value: float) -> str:
    """The colour of letters on `shade(value)`."""
    return INK if value < 0.5 else "#ffffff"


def maps(title: str, subtitle: str, panels: Sequence[Map], across: str, down: str, scale: str) -> Picture:
    """Squares of tokens (down) by tokens (across), up to three side by side, and the colours' scale below."""
    count = len(panels[0].tokens)
    side = CELL * count
    letters = max(len(token) for token in panels[0].tokens) * LABEL * MONO_WIDTH + 10
    left, top = letters + 26, letters + 48  # from a panel's corner to its cells
    wide, high = left + side + 24, top + side + 30
    columns = min(len(panels), 3, max(1, round(1500 / wide)))
    width = max(MARGIN * 2 + columns * wide, _least_width(title, subtitle))
    shapes: list[Rect | Line | Label] = _heading(title, subtitle)
    for number, panel in enumerate(panels):
        x, y = MARGIN + number % columns * wide + left, 58 + number // columns * high + top
        shapes.append(Label(x, y - letters - 28, panel.title, 13, bold=True))
        shapes.append(Label(x, y - letters - 12, across, 11, SOFT))
        shapes.append(Label(x - letters - 8, y + side, down, 11, SOFT, angle=-90))
        for row, token in enumerate(panel.tokens):
            place = row * CELL + CELL / 2 + LABEL * 0.35
            shapes.append(Label(x - 6, y + place, token, LABEL, anchor="end", mono=True))
            shapes.append(Label(x + place, y - 6, token, LABEL, mono=True, angle=-90))
            for column, value in enumerate(panel.values[row].tolist()):
                fill = UNSEEN if math.isnan(value) else shade(value)
                tip = "" if math.isnan(value) else f"{token} / {panel.tokens[column]}: {value:.1%}"
                shapes.append(Rect(x + column * CELL, y + row * CELL, CELL - 1, CELL - 1, fill, tip=tip))
    y = 58 + math.ceil(len(panels) / columns) * high + 8
    shapes += [Rect(MARGIN + step * CELL, y, CELL, 14, shade(step / 10), GRID) for step in range(11)]
    shapes.append(Label(MARGIN, y + 28, "0%", 11, SOFT))
    shapes.append(Label(MARGIN + 11 * CELL, y + 28, "100%", 11, SOFT, "end"))
    shapes.append(Label(MARGIN + 12 * CELL, y + 12, scale, 12))
    shapes.append(Rect(MARGIN + 12 * CELL, y + 19, 12, 12, UNSEEN))
    shapes.append(Label(MARGIN + 12 * CELL + 18, y + 29, "grey: a token that comes later cannot be seen", 11, SOFT))
    return Picture(title, width, y + 48, tuple(shapes))


def curves(
    title: str, subtitle: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], across: str
) -> Picture:
    """Curves on logarithmic axes: {panel's title with its unit: {name: (x, y) pairs}}, panels side by side."""
    wide, high, left = 440, 300, 78
    shapes: list[Rect | Line | Label] = _heading(title, subtitle)
    for number, (name, series) in enumerate(panels.items()):
        x0, y0 = MARGIN + number * (left + wide + 30) + left, 100
        points = [point for line in series.values() for point in line]
        low_x, high_x = (math.log(end(x for x, _ in points)) for end in (min, max))
        low, top = (math.log10(end(y for _, y in points)) for end in (min, max))
        low, top = math.floor(low), math.ceil(top + 1e-9)

        def place(x: float, y: float, x0: float = x0, y0: float = y0, ends: tuple = (low_x, high_x, low, top)) -> tuple:
            across, up = (math.log(x) - ends[0]) / (ends[1] - ends[0]), (math.log10(y) - ends[2]) / (ends[3] - ends[2])
            return x0 + wide * across, y0 + high * (1 - up)

        shapes.append(Label(x0 - left + 14, y0 - 18, name, 13, bold=True))
        for power in range(low, top + 1):
            _, y = place(math.exp(low_x), 10.0**power)
            shapes.append(Line(((x0, y), (x0 + wide, y)), GRID))
            shapes.append(Label(x0 - 8, y + 4, f"{10.0**power:,.12g}", 12, SOFT, "end"))
        for x in sorted({x for x, _ in points}):
            at, _ = place(x, 10.0**low)
            shapes.append(Line(((at, y0 + high), (at, y0 + high + 5)), SOFT))
            shapes.append(Label(at, y0 + high + 20, f"{x:,g}", 12, SOFT, "middle"))
        shapes.append(Label(x0 + wide / 2, y0 + high + 42, across, 12, SOFT, "middle"))
        for place_in_legend, (line, pairs) in enumerate(series.items()):
            colour = LINES[place_in_legend % len(LINES)]
            shapes.append(Line(tuple(place(x, y) for x, y in pairs), colour, 2, dots=True))
            y = y0 + high + 66 + 18 * place_in_legend
            shapes.append(Line(((x0, y - 4), (x0 + 26, y - 4)), colour, 2.5))
            shapes.append(Label(x0 + 34, y, line, 12))
    lines = max(len(series) for series in panels.values())
    width = max(MARGIN * 2 + len(panels) * (left + wide + 30), _least_width(title, subtitle))
    return Picture(title, width, 100 + high + 66 + 18 * lines + 6, tuple(shapes))


def rows(
    title: str, subtitle: str, found: Sequence[Row], axis: str, legend: Mapping[str, str] | None = None
) -> Picture:
    """Boxes one behind another on each row, along one axis from 0 (without ticks where `axis` is empty); `legend` names
    colours."""
    wide, high = 640.0, 30
    high_end = max(sum(box.size for box in row.boxes) for row in found) or 1.0
    left = MARGIN + max(len(row.label) for row in found) * 12 * MONO_WIDTH + 12
    right = max(len(row.note) for row in found) * 12 * MONO_WIDTH + 20
    shapes: list[Rect | Line | Label] = _heading(title, subtitle)
    top = 70.0
    scale = ticks(high_end, 6) if axis else []
    bottom = top + len(found) * high
    for value, label in scale:
        x = left + wide * value / high_end
        shapes.append(Line(((x, top), (x, bottom + 5)), GRID))
        shapes.append(Label(x, bottom + 20, label, 12, SOFT, "middle"))
    for number, row in enumerate(found):
        x, y = left, top + number * high
        shapes.append(Label(left - 10, y + 19, row.label, 12, anchor="end", mono=True))
        for box in row.boxes:
            width = wide * box.size / high_end
            tip = f"{box.label} {box.size:,.4g} {axis}".strip() if axis else box.label
            shapes.append(Rect(x, y + 3, max(width - 1, 0.5), high - 7, box.colour, INK if box.strong else "none", tip))
            if len(box.label) * 11 * MONO_WIDTH <= width - 2:
                shapes.append(Label(x + width / 2, y + 18, box.label, 11, on_box(box), "middle", box.strong, mono=True))
            x += width
        shapes.append(Label(x + 8, y + 18, row.note, 12, SOFT))
    y = bottom + 24
    if axis:
        y += 18
        shapes.append(Label(left + wide / 2, y, axis, 12, SOFT, "middle"))
    x = left
    for colour, words in (legend or {}).items():
        shapes.append(Rect(x, y + 14, 13, 13, colour, GRID))
        shapes.append(Label(x + 19, y + 25, words, 12))
        x += 19 + len(words) * 12 * MONO_WIDTH + 14
    width = max(left + wide + right + MARGIN, x + MARGIN, _least_width(title, subtitle))
    return Picture(title, width, y + (40 if legend else 14), tuple(shapes))


def on_box(box: Box) -> str:
    """Dark letters on a light box."""
    red, green, blue = (int(box.colour[start : start + 2], 16) for start in (1, 3, 5))
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else "#ffffff"


def _least_width(title: str, subtitle: str) -> float:
    """Of a picture that the heading fits into."""
    return max(640.0, 2 * MARGIN + MONO_WIDTH * max(17 * len(title), 12 * len(subtitle)))


def _heading(title: str, subtitle: str) -> list[Rect | Line | Label]:
    return [Label(MARGIN, 28, title, 17, bold=True), Label(MARGIN, 48, subtitle, 12, SOFT)]
