"""What a person sees of a table: progress while it is measured, the rows, and the verdicts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from experiments.tables.step_cost.measurement import Row
from experiments.tables.step_cost.printed import READINGS
from experiments.tables.step_cost.shared_trunk import TrunkSizes
from experiments.tables.step_cost.steps import EXECUTIONS
from experiments.tables.table3 import NOTES, Table3, multiples_text, printed_text, wall_text

__all__ = ["WIDTH", "measuring", "print_table3"]

WIDTH = 100
"""Columns when the output is not a terminal."""

_ROUNDS = 5
"""Rounds from which medians and quartiles of times mean something."""

_WIDE = 96
"""Columns from which there is room for the extra FLOPs."""


@contextmanager
def measuring(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar; what it yields advances it by one of `total`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total} rounds"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console(), transient=True) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda: progress.advance(bar)


def print_table3(table: Table3, out: Path) -> None:
    """Print the measurements, the verdicts on the printed entries, and where the files are."""
    console = _console()
    if table.settings.repeats < _ROUNDS:
        console.print(f"Fewer than {_ROUNDS} rounds: the wall ratios are no timing.", style="bold")
    for sizes, tasks, rows in table.sections():
        console.print(_heading(sizes, tasks))
        console.print(_measurements(rows, wide=console.width >= _WIDE))
    console.print(_verdicts(table))
    for reading in READINGS:
        console.print(f"{reading.name}: {reading.statement}", markup=False, highlight=False)
    for note in NOTES:
        console.print(Text(note, style="dim"))
    files = f"{out / 'table3.md'}, {out / 'table3.json'}"
    console.print(f"details: {files}", markup=False, highlight=False, soft_wrap=True)


def _heading(sizes: TrunkSizes, tasks: int) -> Text:
    text = Text(f"\n{sizes.kind}, T = {tasks}", style="bold")
    data = ", ".join(f"{key} {value}" for key, value in asdict(sizes).items())
    return text.append(f"  {data}\n", style="not bold dim")


def _measurements(rows: list[Row], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("method")
    table.add_column("printed", justify="right")
    for name in ("fwd", "heads", "last", "trunk", "FLOPs"):
        table.add_column(name, justify="right")
    if wide:
        table.add_column("extra MFLOPs", justify="right")
    table.add_column("wall (quartiles)")
    for execution in EXECUTIONS:
        found = [row for row in rows if row.execution == execution]
        if found:
            table.add_row(Text(execution, style="italic cyan"))
        for row in found:
            table.add_row(*_cells(row, wide=wide))
    return table


def _cells(row: Row, *, wide: bool) -> list[str]:
    passes = (row.passes.forward, row.passes.heads, row.passes.last_shared, row.passes.trunk)
    extra = [f"{row.extra_flops / 1e6:.1f}"] if wide else []
    ratio = f"{row.flops_ratio:.3f}"
    return [f" {row.label}", printed_text(row), *map(str, passes), ratio, *extra, wall_text(row)]


def _verdicts(table: Table3) -> Padding:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("Table 3", "printed", *(reading.name for reading in READINGS), "verdict"):
        shown.add_column(name)
    for finding in table.findings:
        trials = [f"{multiples_text(trial)} {trial.verdict}" for trial in finding.trials]
        style = "yellow" if finding.summary.startswith("wrong") else "green"
        summary = Text(finding.summary, style=style)
        shown.add_row(finding.entry.method, finding.entry.text, *trials, summary)
    return Padding(shown, (1, 0))


def _console() -> Console:
    """A console at least as wide as the tables when not attached to a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
