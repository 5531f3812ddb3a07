"""One place for what figures look like: colours, sizes, lines, and how a picture is written.

Figures are ten inches wide: shown full width on a slide their smallest text is about 11 points, on
a text width of seven inches about 6. The colours are those of Okabe and Ito, distinguishable with
every common colour-vision deficiency; every series has its own marker too.
"""

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.data import FigureData

FORMATS = ("png", "svg", "pdf")
"""Formats a picture can be written in."""

WIDTH = 10.0
"""Width of every figure, inches."""

BLACK, GREY, RULE, PALE = "#1a1a1a", "#6e6e6e", "#dddddd", "#f1f1f1"
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
PURPLE, VERMILLION, ORANGE = "#CC79A7", "#D55E00", "#E69F00"
VIOLET = "#4B2C83"

SMALL, NORMAL, LARGE = 8.5, 9.5, 12.5
"""Sizes of annotations, labels and the title, points."""

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "mathtext.fontset": "dejavusans",
    "text.color": BLACK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.labelsize": NORMAL,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": NORMAL,
    "axes.titleweight": "bold",
    "axes.titlepad": 6.0,
    "figure.facecolor": "white",
    "legend.fontsize": NORMAL,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "savefig.dpi": 200,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "svg.hashsalt": "figures",  # the same picture is the same file
}

Draw = Callable[[FigureData], Figure]


def styled(draw: Draw) -> Draw:
    """Make a drawing function use this style, and no setting of the caller."""

    @functools.wraps(draw)
    def wrapper(data: FigureData) -> Figure:
        with applied():
            return draw(data)

    return wrapper


def picture(figure: Figure, file_format: str) -> bytes:
    """The figure as a file of one of `FORMATS`, byte for byte reproducible."""
    buffer = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format)
    with applied():
        figure.savefig(buffer, format=file_format, metadata=undated)
    return buffer.getvalue()


def title(figure: Figure, finding: str, measured: str) -> None:
    """Head the figure with what it shows and, smaller, what was measured."""
    left, top = 0.012, 1 - 0.08 / figure.get_figheight()
    figure.text(left, top, finding, fontsize=LARGE, fontweight="bold", va="top")
    line = 0.27 / figure.get_figheight()
    figure.text(left, top - line, measured, fontsize=NORMAL, color=GREY, va="top")


def label(axes: Axes, text: str, at: tuple[float, float], **options: Any) -> None:
    """Write on the axes at data coordinates, with a white halo that keeps lines from the text.

    Args:
        axes: where.
        text: what.
        at: data coordinates, or those of ``xycoords``.
        options: of `Axes.annotate`, such as an offset ``xytext`` in points.
    """
    defaults: dict[str, Any] = {
        "fontsize": SMALL,
        "xytext": (0, 0),
        "textcoords": "offset points",
        "path_effects": [patheffects.withStroke(linewidth=2.5, foreground="white")],
    }
    axes.annotate(text, at, **{**defaults, **options})


def signed(value: float) -> str:
    """A difference with two digits and a typographic sign."""
    return f"{value:+.2f}".replace("-", "−")


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str, bool]]) -> None:
    """Name curves right of the axes, each at its end; names that would overlap are moved apart.

    Args:
        axes: with its final limits.
        ends: of each curve the last ordinate (data coordinates), name, colour, and whether bold.
    """
    axes.get_ylim()  # limits that are still to be found are found now
    points = 72 * axes.bbox.height / axes.figure.dpi
    ordered = sorted(ends)
    at = [axes.transData.transform((0.0, end))[1] for end, *_ in ordered]
    heights = [float(axes.transAxes.inverted().transform((0.0, y))[1]) for y in at]
    places = apart(heights, 1.2 * SMALL / points)
    for height, place, (_, text, color, bold) in zip(heights, places, ordered, strict=True):
        axes.annotate(
            text, (1.0, height), (1.05, place), xycoords="axes fraction",
            textcoords="axes fraction", fontsize=SMALL, color=color, va="center",
            fontweight="bold" if bold else "normal",
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 1, "shrinkB": 1,
                        "relpos": (0.0, 0.5)},
        )  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights, in least squares, that are a gap apart and between 0 and 1.

    Args:
        heights: ascending.
        gap: least distance; it is reduced if so many heights do not fit.

    Returns:
        As many heights, ascending.
    """
    count = len(heights)
    gap = min(gap, 1 / max(1, count - 1))
    blocks: list[tuple[float, int]] = []  # isotonic regression by pooling: mean and size
    for index, height in enumerate(heights):
        mean, size = height - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, size = (mean * size + before * many) / (size + many), size + many
        blocks.append((mean, size))
    level = [mean for mean, size in blocks for _ in range(size)]
    room = 1 - (count - 1) * gap
    return [min(max(mean, 0.0), room) + index * gap for index, mean in enumerate(level)]


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """This style on top of matplotlib's defaults, for as long as the context lasts."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield
