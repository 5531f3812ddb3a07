"""A table of results for the terminal, as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Iterator, Sequence

from rich.table import Table

from experiments.estimates import Estimate
from experiments.tables.cells import (
    NOTHING,
    UNKNOWN,
    difference_text,
    mean_text,
    only_printed,
    printed_text,
    seeds_text,
)
from experiments.tables.grid import REFERENCE, Column, Grid, GridRow

__all__ = ["differences_table", "notes", "to_csv", "to_latex", "to_markdown", "to_terminal"]

PRINTED = "printed"
_GENERATED = "Generated data and models trained for seconds: no evidence for or against the paper."
_SEEDS = """\
Mean ± sample standard deviation over seeds of pre-training; the best mean of a metric is bold, if \
all rows have as many seeds."""
_DIFFERENCES = """\
Differences to the row None are paired by seed, with Student's 95 % interval; ‡ marks those \
whose interval leaves out 0. Many cells are looked at: where there is no difference at all, one \
interval in twenty leaves 0 out by chance."""


def to_terminal(grid: Grid) -> Table:
    """For rich: a line a metric, a column a row of the paper."""
    shown = Table(title=grid.title, caption=_caption(grid))
    shown.add_column("")
    for row in grid.rows:
        shown.add_column(row.name, justify="right")
    last = max((i for i, column in enumerate(grid.columns) if not column.upstream), default=None)
    for number, column in enumerate(grid.columns):
        cells = [_cell(grid, row, column, "[bold]{}[/bold]") for row in grid.rows]
        printed = [printed_text(grid, row.name, column) for row in grid.rows]
        lines = [f"{cell}\n[dim]{text}[/dim]" for cell, text in zip(cells, printed, strict=True)]
        known = any(text != UNKNOWN for text in printed)
        title = f"{column.title} [dim]{column.metric}[/dim]"
        shown.add_row(
            f"{title}\n[dim]  printed[/dim]" if known else title,
            *(lines if known else cells),
            end_section=number == last,
        )
    return shown


def differences_table(grid: Grid) -> Table | None:
    """Rows less the reference row, for rich; None if there is nothing to compare."""
    rows = _compared(grid)
    if not rows:
        return None
    shown = Table(title=f"Less {REFERENCE}, paired by seed")
    shown.add_column("")
    for row in rows:
        shown.add_column(row.name, justify="right")
    for column in grid.columns:
        shown.add_row(column.title, *(_difference(grid, row, column, "\n") for row in rows))
    return shown


def _caption(grid: Grid) -> str:
    seeds = f"seeds: {', '.join(sorted({seeds_text(row) for row in grid.rows}))}"
    return f"± sample standard deviation; {seeds}" if grid.seeds > 1 else seeds


def notes(grid: Grid, *, generated: bool = False) -> list[str]:
    """What is to be said below a table.

    Args:
        grid: the table.
        generated: whether its data were.
    """
    return [
        *([_GENERATED] if generated else []),
        _SEEDS,
        *([_DIFFERENCES] if _compared(grid) else []),
        *grid.notes,
    ]


def to_markdown(grid: Grid) -> str:
    """The table, the differences, and notes."""
    head = ["", *(f"{c.title} ({c.metric})" for c in grid.columns), "seeds"]
    lines = [f"## {grid.title}", "", *_markdown_head(head)]
    for row in grid.rows:
        cells = [_cell(grid, row, column, "**{}**") for column in grid.columns]
        lines.append(_markdown_line([row.name, *cells, seeds_text(row)]))
        if row.name in grid.printed:
            lines.append(_markdown_line([f"*{PRINTED}*", *_printed(grid, row.name), ""]))
    lines += [
        _markdown_line([f"*{name}, {PRINTED}*", *_printed(grid, name), ""])
        for name in only_printed(grid)
    ]
    rows = _compared(grid)
    if rows:
        lines += ["", f"Less the row {REFERENCE}:", ""]
        lines += _markdown_head(["", *(c.title for c in grid.columns)])
        for row in rows:
            cells = [_difference(grid, row, column, " ") for column in grid.columns]
            lines.append(_markdown_line([row.name, *cells]))
    return "\n".join([*lines, "", *(f"- {_starred(note)}" for note in notes(grid))]) + "\n"


def to_csv(grid: Grid) -> str:
    """A line a cell, with everything behind it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    writer.writerows(_csv_lines(grid))
    return out.getvalue()


def to_latex(grid: Grid) -> str:
    """A tabular for booktabs."""
    head = " & ".join(["", *(_escaped(c.title) for c in grid.columns)])
    lines = [r"\begin{tabular}{l" + "r" * len(grid.columns) + "}", r"\toprule", rf"{head} \\"]
    lines.append(r"\midrule")
    for row in grid.rows:
        cells = [_bold(_escaped(_cell(grid, row, column, "<{}>"))) for column in grid.columns]
        lines.append(" & ".join([_escaped(row.name), *cells]) + r" \\")
        if row.name in grid.printed:
            cells = [
                rf"\textit{{{_escaped(cell)}}}" for cell in _printed(grid, row.name, starred=False)
            ]
            lines.append(" & ".join([rf"\quad {PRINTED}", *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


_CSV_HEAD = (
    "table", "preset", "row", "arm", "column", "metric", "seeds", "values", "mean", "deviation",
    "lower", "upper", "difference", "difference_lower", "difference_upper", "printed",
)  # fmt: skip


def _csv_lines(grid: Grid) -> Iterator[list[object]]:
    for row in grid.rows:
        for column in grid.columns:
            numbers = row.values.get(column.title, {})
            printed = grid.printed.get(row.name, {}).get(column.title)
            yield [
                *(grid.name, grid.preset, row.name, row.arm, column.title, column.metric),
                " ".join(map(str, numbers)),
                " ".join(map(repr, numbers.values())),
                *_numbers(row.estimate(column), deviation=True),
                *_numbers(grid.difference(row, column)),
                "" if printed is None else printed.value,
            ]


def _numbers(found: Estimate | None, *, deviation: bool = False) -> list[object]:
    if found is None:
        return [""] * (4 if deviation else 3)
    spread = [_or_empty(found.deviation)] if deviation else []
    return [found.value, *spread, *(map(_or_empty, found.interval or (None, None)))]


def _or_empty(value: float | None) -> object:
    return "" if value is None else value


def _cell(grid: Grid, row: GridRow, column: Column, mark: str) -> str:
    """Mean ± standard deviation; marked if no other row's is better as it is shown."""
    found = row.estimate(column)
    others = [e for each in grid.rows if (e := each.estimate(column)) is not None]
    means = [each.value for each in others]
    shown = {column.text(each) for each in means}
    if found is None or len(shown) < 2 or len({each.count for each in others}) > 1:
        return mean_text(row, column)
    best = max(means) if column.more_is_better else min(means)
    is_best = column.text(found.value) == column.text(best)
    return mean_text(row, column, mark if is_best else "{}")


def _difference(grid: Grid, row: GridRow, column: Column, between: str) -> str:
    found = grid.difference(row, column)
    if found is None:
        return NOTHING
    return difference_text(column, found, "‡" if found.sign else "", between)


def _printed(grid: Grid, name: str, *, starred: bool = True) -> list[str]:
    cells = (printed_text(grid, name, column) for column in grid.columns)
    return [_starred(cell) if starred else cell for cell in cells]


def _compared(grid: Grid) -> list[GridRow]:
    return [
        row
        for row in grid.rows
        if any(grid.difference(row, column) is not None for column in grid.columns)
    ]


def _starred(text: str) -> str:
    """Stars that are no mark of Markdown."""
    return text.replace("*", r"\*")


def _markdown_head(cells: Sequence[str]) -> list[str]:
    return [_markdown_line(cells), "|---|" + "---:|" * (len(cells) - 1)]


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _bold(text: str) -> str:
    """What is in angle brackets."""
    return text.replace("<", r"\textbf{").replace(">", "}")


_LATEX = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "−": "$-$", "α": r"$\alpha$", "δ": r"$\delta$", "†": r"$\dagger$",
    "‡": r"$\ddagger$", "·": r"$\cdot$", "–": "--",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
