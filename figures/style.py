"""One place for what figures look like: colours, sizes, lines, and how a picture is written.

Figures are ten inches wide: shown full width on a slide their smallest text is about 11 points, on
a text width of seven inches about 6. The colours are those of Okabe and Ito, distinguishable with
every common colour-vision deficiency; every series has its own marker too.
"""

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
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

BLACK, GREY, PALE = "#1a1a1a", "#6e6e6e", "#f1f1f1"
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


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """This style on top of matplotlib's defaults, for as long as the context lasts."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield
