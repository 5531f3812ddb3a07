"""Numbers of a table with links to what is behind them: cells, and the same seed by seed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from experiments.report.collect import TableOf
from experiments.report.text import Links, anchor, table
from experiments.report.verdicts import difference_text
from experiments.tables.grid import Column, GridRow
from experiments.tables.printed_values import AVERAGE, printed_average_is_wrong
from experiments.tables.store import Key

__all__ = ["differences", "main_table", "plain_table", "row_heading", "seed_by_seed"]

NOTHING = "–"
UNKNOWN = "·"
"""A printed cell that was not taken down, or that the paper does not have."""
_WRONG = "†"


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
        cells = [linked(row, _mean(row, column)) for column in grid.columns]
        rows.append([row.name, *cells, _seeds(row)])
        if row.name in grid.printed:
            rows.append(["*printed*", *_printed(made, row.name), ""])
    present = {row.name for row in grid.rows}
    only = (name for name in grid.printed if name not in present)
    rows += [[f"*{name}, printed*", *_printed(made, name), ""] for name in only]
    yield from table(head, rows)


def differences(made: TableOf, rows: list[GridRow]) -> Iterator[str]:
    """Rows less the reference row, paired by seed, with intervals.

    Args:
        made: the table.
        rows: those that can be compared.

    Yields:
        Lines of Markdown.
    """
    grid = made.grid
    lines = []
    for row in rows:
        cells = []
        for column in grid.columns:
            found = grid.difference(row, column)
            cells.append(NOTHING if found is None else difference_text(column, found))
        lines.append([row.name, *(_linked(made, row, cell) for cell in cells)])
    yield from table(["", *(column.title for column in grid.columns)], lines)


def seed_by_seed(made: TableOf, row: GridRow, links: Links) -> Iterator[str]:
    """A line a column, a number a seed, each linked to its records.

    Args:
        made: the table.
        row: of the table.
        links: from the report to files.

    Yields:
        Lines of Markdown.
    """
    parts: dict[int, dict[str, Mapping[str, Any]]] = {}
    for key, record in made.grid.records.items():
        if key.arm == row.arm:
            parts.setdefault(key.seed, {})[key.part] = record
    seeds = sorted(parts)
    lines = []
    for column in made.grid.columns:
        cells = []
        for seed in seeds:
            value = row.values[column.title].get(seed)
            shown = NOTHING if value is None else column.text(value)
            behind = _behind(column, parts[seed]) if value is not None else []
            keys = [_key(made, row, seed, part) for part in behind]
            cells.append(_with_records(shown, made, keys, links))
        lines.append([f"{column.title} ({column.metric})", *cells])
    yield from table(["", *(f"seed {seed}" for seed in seeds)], lines)


def _behind(column: Column, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Parts that a number is made of: those that give one alone, or all that were fine-tuned."""
    alone = [part for part, record in parts.items() if column.value({part: record}) is not None]
    return alone or [part for part, record in parts.items() if "task" in record]


def _key(made: TableOf, row: GridRow, seed: int, part: str) -> Key:
    return next(
        key for key in made.grid.records if (key.arm, key.seed, key.part) == (row.arm, seed, part)
    )


def _with_records(shown: str, made: TableOf, keys: list[Key], links: Links) -> str:
    """A number that is a link to its record; of several records, with a link to each behind it."""
    paths = [made.store.path(key) for key in keys]
    if len(paths) == 1:
        return links.link(shown, paths[0])
    each = (links.link(key.part, path) for key, path in zip(keys, paths, strict=True))
    return " ".join([shown, *each])


def _mean(row: GridRow, column: Column) -> str:
    found = row.estimate(column)
    if found is None:
        return NOTHING
    text = column.text(found.value)
    return text if found.deviation is None else f"{text} ± {column.text(found.deviation)}"


def _linked(made: TableOf, row: GridRow, cell: str) -> str:
    return cell if cell == NOTHING else f"[{cell}](#{anchor(row_heading(made, row))})"


def _printed(made: TableOf, name: str) -> list[str]:
    row = made.grid.printed.get(name, {})
    cells = []
    for column in made.grid.columns:
        cell = None if column.upstream else row.get(column.title)
        wrong = column.title == AVERAGE and printed_average_is_wrong(row)
        text = UNKNOWN if cell is None else cell.text.replace("*", r"\*")
        cells.append(text + (_WRONG if wrong else ""))
    return cells


def _seeds(row: GridRow) -> str:
    counts = sorted({len(values) for values in row.values.values()} or {0})
    return "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
