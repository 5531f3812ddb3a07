"""Cells of a table as text, the same in every form and in the report."""

from experiments.estimates import Estimate
from experiments.tables.grid import Column, Grid, GridRow
from experiments.tables.printed_values import AVERAGE, printed_average_is_wrong

__all__ = [
    "NOTHING",
    "UNKNOWN",
    "difference_text",
    "mean_text",
    "only_printed",
    "printed_text",
    "seeds_text",
]

NOTHING = "–"
"""Of a cell without a run."""
UNKNOWN = "·"
"""A printed cell that was not taken down, or that the paper does not have."""
_WRONG = "†"
"""After a printed average that is not the mean of its columns."""


def mean_text(row: GridRow, column: Column, mark: str = "{}") -> str:
    """Mean ± sample standard deviation over seeds.

    Args:
        row: of a table.
        column: of it.
        mark: what is put around the mean.
    """
    found = row.estimate(column)
    if found is None:
        return NOTHING
    text = mark.format(column.text(found.value))
    return text if found.deviation is None else f"{text} ± {column.text(found.deviation)}"


def difference_text(column: Column, found: Estimate, after: str = "", between: str = " ") -> str:
    """A difference with its interval.

    Args:
        column: of a table.
        found: the difference.
        after: put after its value.
        between: value and interval.
    """
    text = column.text(found.value, signed=True) + after
    if found.interval is None:
        return text
    lower, upper = (column.text(end, signed=True) for end in found.interval)
    return f"{text}{between}({lower} to {upper})"


def printed_text(grid: Grid, row: str, column: Column) -> str:
    """What the paper prints, with marks that the table's notes explain.

    Args:
        grid: the table.
        row: its printed name.
        column: of the table.
    """
    cells = grid.printed.get(row, {})
    cell = None if column.upstream else cells.get(column.title)
    if cell is None:
        return UNKNOWN
    wrong = column.title == AVERAGE and printed_average_is_wrong(cells)
    return cell.text + (_WRONG if wrong else "")


def only_printed(grid: Grid) -> list[str]:
    """Rows of the paper that are no rows of the table."""
    present = {row.name for row in grid.rows}
    return [name for name in grid.printed if name not in present]


def seeds_text(row: GridRow) -> str:
    """How many seeds are behind the cells of a row: a number, or the least and the most."""
    counts = [len(values) for values in row.values.values()] or [0]
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))
