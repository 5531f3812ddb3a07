"""Prints how loose (13) is: ``python -m theory.sampling``; killed, it resumes where it was."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from taskrobust._command_line import writable_directory
from theory.sampling.table import Row, measure_rows, points
from theory.testbed import EFFORTS

_WIDTH = 132
_COLUMNS = ("family", "T", "d", "ε", "δ", "f_λ(θ_0)", "N", "(13)", "(13)/N", "B5 (i)", "(ii) σ²")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the points of an effort and print the table.

    Args:
        arguments: command-line words; None for those of the process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m theory.sampling",
        description="Measure sample complexities and print how loose bound (13) is; if killed, the "
        "same command goes on.",
    )
    parser.add_argument("--effort", choices=list(EFFORTS), default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/sampling"),
        help="where finished points are kept (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    writable_directory(parser, options.out)
    chosen = points(EFFORTS[options.effort], options.seed)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    progress = Progress(
        TextColumn("sample complexities"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with progress:
        bar = progress.add_task("", total=len(chosen))
        rows = measure_rows(chosen, options.out, lambda n: progress.update(bar, completed=n))
    console.print(table(rows))
    return 0


def table(rows: Sequence[Row]) -> Table:
    """The looseness table.

    Args:
        rows: measured points.

    Returns:
        Intervals of N beside its bounds and its limit as epsilon falls.
    """
    found = Table(title="Sample complexity N_λ(θ_0, ε, δ) against its bounds")
    for name in (*_COLUMNS, "(ii) L'", "χ²"):
        found.add_column(name, justify="left" if name == "family" else "right")
    for row in rows:
        point = row.point
        span = f"{row.lower}" if row.lower == row.upper else f"{row.lower}–{row.upper}"
        label = point.family if point.mixture == "hardest" else f"{point.family}, {point.mixture}"
        numbers = (
            row.start_risk,
            row.theorem(),
            row.looseness(),
            row.localised(),
            row.moment(),
            row.tail(),
            row.asymptote(),
        )
        start, *rest = (f"{n:.3g}" for n in numbers)
        found.add_row(
            label,
            str(point.tasks),
            str(point.dim),
            point.epsilon,
            f"{point.delta:g}",
            start,
            span,
            *rest,
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
