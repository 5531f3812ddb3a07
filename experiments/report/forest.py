"""Forest plots: differences to the reference row with intervals, beside the printed gains."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report.collect import TableOf
from experiments.report.verdicts import METHOD, compare
from experiments.tables.grid import REFERENCE, Column, GridRow

__all__ = ["forest_plot"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
"""Of Okabe and Ito, told apart with every common colour-vision deficiency."""
_METHOD_COLOUR = "#D55E00"
_MARKERS = ("s", "^", "v", "P", "X")
_PRINTED_COLOUR = "#1a1a1a"
_WIDTH, _LINE, _HEAD = 10.0, 0.2, 1.45
"""Inches: of the figure, of a difference, of titles and axes."""


def forest_plot(made: TableOf) -> bytes | None:
    """Downstream scores left, held-out upstream risks right; a line a column, a mark a row.

    Args:
        made: the table.

    Returns:
        A PNG, the same for the same numbers; None if there is nothing to compare.
    """
    grid = made.grid
    rows = [r for r in grid.rows if any(grid.difference(r, c) for c in grid.columns)]
    panels = [
        (title, [column for column in grid.columns if column.upstream is upstream])
        for title, upstream in (("downstream", False), ("held-out upstream risks", True))
    ]
    panels = [(t, c) for t, c in panels if any(grid.difference(r, e) for r in rows for e in c)]
    if not panels:
        return None
    most = max(len(columns) for _, columns in panels)
    height = _HEAD + most * (_LINE * len(rows) + 0.12)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, (title, columns) in zip(axes, panels, strict=True):
            _panel(panel, made, title, columns, rows)
        named: dict[str, Any] = {}
        for panel in axes:
            handles, names = panel.get_legend_handles_labels()
            named = dict(zip(names, handles, strict=True)) | named
        figure.legend(
            list(named.values()), list(named), loc="outside upper left", ncols=len(named),
            frameon=False,
        )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _panel(
    axes: Axes, made: TableOf, title: str, columns: Sequence[Column], rows: Sequence[GridRow]
) -> None:
    printed = {
        each.column.title: float(each.printed)
        for each in compare(made)
        if each.printed is not None and each.other == REFERENCE
    }
    apart = 0.8 / (len(rows) + 1)
    for number, row in enumerate(rows):
        _marks(axes, made, columns, row, number, apart * (number + 1) - 0.4)
    known = [(printed[c.title], y) for y, c in enumerate(columns) if c.title in printed]
    if known:
        x, y = np.array(known).T
        axes.plot(x, y, "D", mfc="none", color=_PRINTED_COLOUR, ms=6, label="printed gain")
    axes.axvline(0, color="#6e6e6e", lw=0.8, zorder=0)
    axes.set_yticks(range(len(columns)), [f"{c.title} ({c.metric})" for c in columns])
    axes.set_ylim(len(columns) - 0.5, -0.5)
    for y in range(1, len(columns), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f5f7", zorder=-1)
    better = "better →" if columns[0].more_is_better else "← better"
    axes.set_xlabel(f"difference to {REFERENCE}   ({better})")
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")


def _marks(
    axes: Axes, made: TableOf, columns: Sequence[Column], row: GridRow, number: int, shift: float
) -> None:
    """Differences of one row: filled with an interval, hollow without one."""
    method = row.name == METHOD
    others = [each.name for each in made.grid.rows if each.name not in {METHOD, REFERENCE}]
    index = 0 if method else others.index(row.name) % len(_COLOURS)
    colour = _METHOD_COLOUR if method else _COLOURS[index]
    for y, column in enumerate(columns):
        found = made.grid.difference(row, column)
        if found is None:
            continue
        axes.errorbar(
            found.value,
            y + shift,
            xerr=found.half_width,
            fmt="o" if method else _MARKERS[index],
            color=colour,
            mfc=colour if found.interval else "white",
            ms=5,
            lw=1.4,
            label=f"{row.name} less {REFERENCE}" if y == _first(made, row, columns) else None,
            zorder=3 + number,
        )


def _first(made: TableOf, row: GridRow, columns: Sequence[Column]) -> int | None:
    """The first line with a mark, which names the row in the legend."""
    marked = (y for y, c in enumerate(columns) if made.grid.difference(row, c) is not None)
    return next(marked, None)
