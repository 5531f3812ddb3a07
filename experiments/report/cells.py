"""Numbers of a table with links to what is behind them: cells, and the same seed by seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.report.collect import TableOf
from experiments.report.text import Links, anchor, table
from experiments.tables.cells import (
    NOTHING,
    difference_text,
    mean_text,
    only_printed,
    printed_text,
    seeds_text,
)
from experiments.tables.grid import GridRow

if TYPE_CHECKING:
    from experiments.tables.store import Key

__all__ = ["differences", "main_table", "plain_table", "row_heading", "seed_by_seed"]


def row_heading(made: TableOf, row: GridRow) -> str:
    """Heading of the records of a row; main cells link to it."""
    return f"{made.label}, row {row.name}"


def main_table(made: TableOf) -> Iterator[str]:
    """Mean ± sample standard deviation over seeds, above what the paper prints.

    Args:
        made: the table.

    Yields:
        Lines of Markdown.
    """
    yield from _means(made, lambda row, cell: _linked(made, row, cell))


def plain_table(made: TableOf) -> Iterator[str]:
    """`main_table` without links.

    Args:
        made: the table.

    Yields:
        Lines of Markdown.
    """
    yield from _means(made, lambda _, cell: cell)


def _means(made: TableOf, linked: Callable[[GridRow, str], str]) -> Iterator[str]:
    grid = made.grid
    head = ["", *(f"{column.title} ({column.metric})" for column in grid.columns), "seeds"]
    rows = []
    for row in grid.rows:
        cells = [linked(row, mean_text(row, column)) for column in grid.columns]
        rows.append([row.name, *cells, seeds_text(row)])
        if row.name in grid.printed:
            rows.append(["*printed*", *_printed(made, row.name), ""])
    only = only_printed(grid)
    rows += [[f"*{name}, printed*", *_printed(made, name), ""] for name in only]
    yield from table(head, rows)


def differences(made: TableOf, rows: list[GridRow]) -> Iterator[str]:
    """Rows less the reference row, paired by seed, with intervals; a line a column of the table.

    Args:
        made: the table.
        rows: those that can be compared.

    Yields:
        Lines of Markdown.
    """
    lines = []
    for column in made.grid.columns:
        cells = []
        for row in rows:
            found = made.grid.difference(row, column)
            text = NOTHING if found is None else difference_text(column, found)
            cells.append(_linked(made, row, text))
        lines.append([f"{column.title} ({column.metric})", *cells])
    yield from table(["", *(row.name for row in rows)], lines)


def seed_by_seed(made: TableOf, row: GridRow, links: Links) -> Iterator[str]:
    """A line a column, a number a seed, each linked to its records.

    Args:
        made: the table.
        row: of the table.
        links: from the report to files.

    Yields:
        Lines of Markdown.
    """
    parts: dict[int, dict[Key, Mapping[str, Any]]] = {}
    for key, record in made.grid.records.items():
        if key.arm == row.arm:
            parts.setdefault(key.seed, {})[key] = record
    seeds = sorted(parts)
    lines = []
    for column in made.grid.columns:
        cells = []
        for seed in seeds:
            value = row.values[column.title].get(seed)
            if value is None:
                cells.append(NOTHING)
                continue
            behind = [key for key in parts[seed] if key.part in column.parts]
            paths = [made.store.path(key) for key in behind]
            any_of_seed = made.store.path(next(iter(parts[seed])))
            cells.append(_with_records(column.text(value), paths, any_of_seed.parent, links))
        lines.append([f"{column.title} ({column.metric})", *cells])
    yield from table(["", *(f"seed {seed}" for seed in seeds)], lines)


def _with_records(shown: str, paths: Sequence[Path], folder: Path, links: Links) -> str:
    """A number with its records: of one seed of fine-tuning, of several, or the folder of them all.

    The last is an average over tasks, of which no record has the number by itself.
    """
    if len(paths) <= 1:
        return links.link(shown, paths[0] if paths else folder)
    each = (links.link(path.stem.rpartition("-")[2], path) for path in paths)
    return " ".join([shown, *each])


def _linked(made: TableOf, row: GridRow, cell: str) -> str:
    return cell if cell == NOTHING else f"[{cell}](#{anchor(row_heading(made, row))})"


def _printed(made: TableOf, name: str) -> list[str]:
    cells = (printed_text(made.grid, name, column) for column in made.grid.columns)
    return [cell.replace("*", r"\*") for cell in cells]
