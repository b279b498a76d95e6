"""The charts of a run as SVG, in plain Python: no plotting library, no script.

A chart is one self-contained `<svg>`: it draws its own background and follows the reader's light or dark setting, so
the same text stands in the report and, as an image file, in a README.

Look first at: `curve_svg` (the loss curve), `small_svg` (one quantity), `Plane` (from values to pixels).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Row = Mapping[str, Any]  # of metrics.jsonl
Points = list[tuple[int, float]]  # (step, value); NaN where the value is not a finite number

# Blue and orange stay apart for colour-blind eyes; as text, each has a contrast of at least 4.5 to its paper.
LIGHT = (
    "--paper:#fff;--edge:#dfe2e6;--grid:#eceef0;--ink:#1c2128;--soft:#5b6570;--training:#0b6fb3;--validation:#b94a00"
)
DARK = (
    "--paper:#161b22;--edge:#2f3640;--grid:#262c35;--ink:#e8ebef;--soft:#9aa4b0;--training:#58b0f0;--validation:#ff9d52"
)
STYLE = (
    f".chart{{{LIGHT}}}@media(prefers-color-scheme:dark){{.chart{{{DARK}}}}}"
    ".chart rect{fill:var(--paper);stroke:var(--edge)}"
    ".chart text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;font-variant-numeric:tabular-nums;"
    "fill:var(--soft);stroke:var(--paper);stroke-width:4px;stroke-linejoin:round;paint-order:stroke}"
    ".chart .title,.chart .value{font-size:15px;font-weight:600}.chart .title,.chart .ink{fill:var(--ink)}"
    ".chart path{fill:none;stroke:var(--soft);stroke-linejoin:round;stroke-linecap:round}"
    ".chart path.grid{stroke:var(--grid)}.chart path.guess{stroke-dasharray:1 6;stroke-width:2}"
    ".chart path.training{stroke:var(--training);stroke-width:1.2}.chart text.training{fill:var(--training)}"
    ".chart path.validation{stroke:var(--validation);stroke-width:1.8}.chart text.validation{fill:var(--validation)}"
    ".chart path.band{fill:var(--validation);stroke:none;opacity:.16}"
    ".chart circle{fill:var(--validation);stroke:var(--paper)}"
    ".chart circle.best{fill:none;stroke:var(--validation);stroke-width:1.6}"
)


def points(rows: Iterable[Row], key: str) -> Points:
    """(step, value) of every row that has the key, in the order of the rows."""
    return [(row["step"], _number(row[key])) for row in rows if key in row]


def finite(line: Points) -> Points:
    return [(step, value) for step, value in line if math.isfinite(value)]


def curve_svg(
    rows: Sequence[Row],
    vocab_size: int | None,
    title: str,
    *,
    unit: str = "token",
    band: Sequence[tuple[int, float, float]] | None = None,
    width: int = 760,
    height: int = 400,
) -> str:
    """The loss curve of the rows of metrics.jsonl: training as a thin line, validation with dots, the best one marked.

    The dotted line is ln(vocab_size), the loss of blind guessing; what is over 1.5 times that lies on the upper edge.
    band: (step, least, most) of usual validation losses, drawn as an area.
    """
    lines = {"training": thin(points(rows, "loss")), "validation": points(rows, "validation_loss")}
    known = {name: finite(line) for name, line in lines.items()}
    ends = [point for line in known.values() for point in line]
    guess = math.log(vocab_size) if vocab_size and vocab_size > 1 else None
    most = max([value for _, value in ends] + [guess or 0.0])
    high = 1.12 * min(most, 1.5 * guess if guess else most) or 1.0
    plane = Plane(44, 66, width - 84, height - 48, max((step for step, _ in ends), default=0) or 1, high)

    more = (" (cut off)" if most > high else "") + ("; shaded: usual" if band else "")
    subtitle = f"loss in nats per {unit}, lower is better{more}"
    body = [plane.area(band)] if band else []
    body += plane.axes(columns=width // 90, rows=5)
    if guess:
        body.append(f'<path class="guess" d="M{plane.left} {plane.y(guess):.1f}H{plane.right}"/>')
        words = f"guessing among {vocab_size:,} {unit}s: {guess:.2f}"
        body.append(_text(plane.right, plane.y(guess) - 7, words, anchor="end"))
    if not ends:
        body.append(_text(plane.x(plane.last / 2), height / 2, "no loss measured yet", "ink", "middle"))
    body += [plane.line(line, name) for name, line in lines.items()]
    body += _dots(plane, known, unit) if known["validation"] else []
    return _svg(width, height, title, subtitle, body + _end_labels(plane, known))


def small_svg(line: Points, title: str, subtitle: str, *, width: int = 374, height: int = 210) -> str:
    """One quantity over the steps, from zero up."""
    high = 1.12 * max((value for _, value in finite(line)), default=0.0) or 1.0
    plane = Plane(62, 64, width - 24, height - 48, max((step for step, _ in line), default=0) or 1, high)
    return _svg(width, height, title, subtitle, [*plane.axes(columns=4, rows=4), plane.line(thin(line), "training")])


def rate_svg(rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> str:
    """The smoothed losses of a sweep over the logarithm of the learning rate, the suggested rate marked."""
    width, height, scale = 760, 400, 1000  # pixels; parts of the axis
    low, high = math.log10(rates[0]), math.log10(rates[-1])

    def place(rate: float) -> int:
        return round(scale * (math.log10(rate) - low) / (high - low)) if high > low else 0

    plane = Plane(62, 66, width - 40, height - 48, scale, 1.12 * max(losses))
    body = plane.rows(5)
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = plane.x(place(10.0**power))
        body += [f'<path d="M{x:.1f} {plane.bottom}v5"/>', _text(x, plane.bottom + 19, f"1e{power}", anchor="middle")]
    body.append(_text((plane.left + plane.right) / 2, plane.bottom + 36, "learning rate", anchor="middle"))
    body.append(plane.line([(place(rate), loss) for rate, loss in zip(rates, losses, strict=True)], "training"))
    x = plane.x(place(max(suggestion, rates[0])))
    body.append(f'<path class="guess" d="M{x:.1f} {plane.top}V{plane.bottom}"/>')
    body.append(_text(x + 6, plane.top + 14, f"suggested: {suggestion:.2g}", "validation"))
    return _svg(width, height, title, "smoothed loss in nats, while the rate rises from step to step", body)


def thin(line: Points, most: int = 500) -> Points:
    """At most that many points: each is the mean of the finite values since the one before."""
    size = max(1, math.ceil(len(line) / most))
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    values = [[value for _, value in finite(group)] for group in groups]
    return [(group[-1][0], sum(v) / len(v) if v else math.nan) for group, v in zip(groups, values, strict=True)]


@dataclass(frozen=True)
class Plane:
    """Steps 0 to `last` and values 0 to `high`, in a box of pixels."""

    left: float
    top: float
    right: float
    bottom: float
    last: int
    high: float

    def x(self, step: float) -> float:
        return self.left + (self.right - self.left) * step / self.last

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * min(value / self.high, 1.0)

    def line(self, line: Points, name: str) -> str:
        """The line through the points, broken where a value is NaN; a point without neighbours is a dash."""
        path, pen = "", "M"
        for step, value in line:
            path += f"{pen}{self.x(step):.1f} {self.y(value):.1f}" if math.isfinite(value) else ""
            pen = "L" if math.isfinite(value) else "M"
        path = re.sub(r"M(\S+ \S+?)(?=M|$)", r"M\1m-2 0h4", path)
        return f'<path class="{name}" d="{path}"/>'

    def area(self, band: Sequence[tuple[int, float, float]]) -> str:
        """What lies between least and most."""
        low = [f"{self.x(step):.1f} {self.y(least):.1f}" for step, least, _ in band]
        high = [f"{self.x(step):.1f} {self.y(most):.1f}" for step, _, most in band]
        words = "the usual validation losses of this recipe"
        return f'<path class="band" d="M{"L".join([*high, *low[::-1]])}Z"><title>{words}</title></path>'

    def axes(self, columns: int, rows: int) -> list[str]:
        """Grid lines and numbers at about so many round steps and values."""
        parts = self.rows(rows)
        for value, label in ticks(self.last, columns, smallest=1):
            parts.append(f'<path d="M{self.x(value):.1f} {self.bottom}v5"/>')
            parts.append(_text(self.x(value), self.bottom + 19, label, anchor="middle"))
        parts.append(_text((self.left + self.right) / 2, self.bottom + 36, "training steps", anchor="middle"))
        return parts

    def rows(self, count: int) -> list[str]:
        """The grid lines and numbers of the values, and the line at the bottom."""
        parts = []
        for value, label in ticks(self.high, count):
            parts.append(f'<path class="grid" d="M{self.left} {self.y(value):.1f}H{self.right}"/>')
            parts.append(_text(self.left - 8, self.y(value) + 4, label, anchor="end"))
        return [*parts, f'<path d="M{self.left} {self.bottom}H{self.right}"/>']


def ticks(high: float, most: int, smallest: float = 0.0) -> list[tuple[float, str]]:
    """Round numbers from 0 to high, at most `most` beside 0, and how to write them."""
    raw = max(high / most, smallest)
    power = math.floor(math.log10(raw) + 1e-9)
    size = next(size for factor in (1, 2, 5, 10) if (size := factor * 10.0**power) >= 0.999 * raw)
    decimals = max(0, -math.floor(math.log10(size) + 1e-9))
    numbers = [index * size for index in range(int(high / size + 1e-9) + 1)]
    return [(value, f"{value:,.{decimals}f}" if value else "0") for value in numbers]


def _dots(plane: Plane, known: Mapping[str, Points], unit: str) -> list[str]:
    """The validation dots, each with a tooltip; a ring around the best one, and words clear of both curves."""
    validation = known["validation"]
    parts = [
        f'<circle cx="{plane.x(step):.1f}" cy="{plane.y(value):.1f}" r="{3.5 if len(validation) <= 40 else 2}">'
        f"<title>step {step:,}: validation loss {value:.3f} nats per {unit}</title></circle>"
        for step, value in validation
    ]
    step, value = min(validation, key=lambda point: point[1])
    x, y = plane.x(step), plane.y(value)
    words = f"best: {value:.2f} at step {step:,}"
    half = 3.2 * len(words)  # of its width in pixels
    center = min(max(x, plane.left + half), plane.right - half)
    near = [plane.y(v) for line in known.values() for s, v in line if abs(plane.x(s) - center) <= half]
    text_y = max(min([*near, y]) - 20, plane.top + 12)
    parts.append(
        f'<path d="M{x:.1f} {y - 7:.1f}V{text_y + 5:.1f}"/><circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
    )
    return [*parts, _text(center, text_y, words, "validation", "middle")]


def _end_labels(plane: Plane, known: Mapping[str, Points]) -> list[str]:
    """Name and last value of each line at its right end, pushed apart where they would overlap."""
    ends = sorted((plane.y(line[-1][1]), line[-1][1], name) for name, line in known.items() if line)
    heights = [y for y, _, _ in ends]
    if len(ends) == 2:
        apart = max(0.0, 36 - (heights[1] - heights[0])) / 2
        heights = [heights[0] - apart, heights[1] + apart]
    above = max([0.0, *(y - (plane.bottom - 17) for y in heights)])  # clear of the last number of the axis
    x, parts = plane.right + 13, []
    for y, (_, value, name) in zip(heights, ends, strict=True):
        loss = f"{value:.2f}" if value < 1000 else f"{value:.0e}"
        parts += [_text(x, y - above, loss, f"{name} value"), _text(x, y - above + 15, name, name)]
    return parts


def _text(x: float, y: float, words: str, name: str = "", anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{xml(words)}</text>'


def xml(words: str) -> str:
    """Escaped, and without the characters that XML forbids."""
    return escape(re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _svg(width: int, height: int, title: str, subtitle: str, body: Sequence[str]) -> str:
    room = (width - 32) // 9  # characters that fit
    heading = title if len(title) <= room else title[: room - 3] + "..."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{xml(title)}"><style>{STYLE}</style>'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>'
        f"{_text(16, 28, heading, 'title')}{_text(16, 49, subtitle)}{''.join(body)}</svg>\n"
    )
