"""A picture: rectangles, lines and words at pixels, written as SVG by ourselves or drawn as PNG by matplotlib.

Everything is placed once, in pixels from the upper left corner, so both files show the same.

Look first at: `Picture`, `save`, `check`.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.core.paths import write_atomic
from linearnexus.training.chart import xml

INK, SOFT, GRID, PAPER = "#1c2128", "#5b6570", "#dfe2e6", "#ffffff"
SANS, MONO = "'DejaVu Sans',system-ui,sans-serif", "'DejaVu Sans Mono',ui-monospace,monospace"
MONO_WIDTH = 0.61  # of a character, in sizes of the font
PNG_SCALE = 2  # pixels of the file for one of the picture


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    fill: str
    edge: str = "none"
    tip: str = ""  # what a browser shows under the mouse


@dataclass(frozen=True)
class Line:
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dots: bool = False


@dataclass(frozen=True)
class Label:
    x: float
    y: float  # of the line that letters stand on
    text: str
    size: float = 13
    colour: str = INK
    anchor: str = "start"  # or middle, end
    bold: bool = False
    mono: bool = False  # a typewriter's letters, for tokens
    angle: float = 0.0  # degrees, clockwise


@dataclass(frozen=True)
class Picture:
    title: str
    width: float
    height: float
    shapes: tuple[Rect | Line | Label, ...]


def check(path: str) -> None:
    """Raises UserError where no picture can be saved under that name, before anything is computed for it."""
    file = Path(path)
    if file.suffix.lower() not in (".svg", ".png"):
        raise UserError(f"save is '{path}'; give a name that ends in .svg or .png.")
    if not file.parent.is_dir():
        raise UserError(f"There is no folder {file.parent} to save {file.name} in; make it, or choose another one.")
    if file.exists():
        raise UserError(f"{path} exists; choose another --save, or delete it.")
    if file.suffix.lower() == ".png":
        try:
            import matplotlib as mpl  # noqa: F401
        except ImportError:
            raise UserError(
                f'{path} needs matplotlib; install it (pip install "linearnexus[plot]"), or save as {file.stem}.svg.'
            ) from None


def save(picture: Picture, path: str) -> None:
    """Writes the picture, as its name ends."""
    write_atomic(path, png(picture) if path.lower().endswith(".png") else svg(picture))


def svg(picture: Picture) -> str:
    """One self-contained `<svg>`, without a script."""
    title = xml(picture.title)
    body = "".join(_element(shape) for shape in picture.shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width:g} {picture.height:g}" '
        f'width="{picture.width:g}" height="{picture.height:g}" role="img" aria-label="{title}"><title>{title}</title>'
        f"<style>text{{font-family:{SANS};white-space:pre}}.mono{{font-family:{MONO}}}</style>"
        f'<rect width="{picture.width:g}" height="{picture.height:g}" fill="{PAPER}"/>{body}</svg>\n'
    )


def _element(shape: Rect | Line | Label) -> str:
    if isinstance(shape, Rect):
        inside = f"<title>{xml(shape.tip)}</title>" if shape.tip else ""
        return (
            f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}" '
            f'fill="{shape.fill}" stroke="{shape.edge}">{inside}</rect>'
        )
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{shape.colour}"/>' for x, y in shape.points)
        return (
            f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'
            f"{dots if shape.dots else ''}"
        )
    turn = f' transform="rotate({shape.angle:g} {shape.x:.1f} {shape.y:.1f})"' if shape.angle else ""
    kind = (' class="mono"' if shape.mono else "") + (' font-weight="600"' if shape.bold else "")
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" fill="{shape.colour}" '
        f'text-anchor="{shape.anchor}"{kind}{turn}>{xml(shape.text)}</text>'
    )


def png(picture: Picture) -> bytes:
    """The same shapes, drawn by matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    inch = 100  # pixels
    figure = Figure(figsize=(picture.width / inch, picture.height / inch), facecolor=PAPER)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, picture.width), ylim=(picture.height, 0))
    axis.axis("off")
    for order, shape in enumerate(picture.shapes):
        if isinstance(shape, Rect):
            corner = (shape.x, shape.y)
            axis.add_patch(
                Rectangle(corner, shape.width, shape.height, facecolor=shape.fill, edgecolor=shape.edge, zorder=order)
            )
        elif isinstance(shape, Line):
            marker = "o" if shape.dots else None
            xs, ys = zip(*shape.points, strict=True)
            axis.plot(
                xs, ys, color=shape.colour, linewidth=shape.width * 72 / inch, marker=marker, markersize=5, zorder=order
            )
        else:
            axis.text(
                shape.x,
                shape.y,
                shape.text,
                parse_math=False,  # two dollars are no formula
                fontsize=shape.size * 72 / inch,
                color=shape.colour,
                horizontalalignment={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                verticalalignment="baseline",
                rotation=-shape.angle,
                rotation_mode="anchor",
                fontweight="bold" if shape.bold else "normal",
                family="DejaVu Sans Mono" if shape.mono else "DejaVu Sans",
                zorder=order,
            )
    drawn = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(drawn, dpi=inch * PNG_SCALE, format="png", metadata={"Title": picture.title})
    return drawn.getvalue()
