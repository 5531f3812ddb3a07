"""What a person sees while figures are made: what is being computed, and where the files are."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from figures.registry import FigureEntry

WIDTH = 100
"""Columns when the output is not a terminal."""


class Watch:
    """The live line of one run: which figure, at which stage."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._bar = progress.add_task("starting", total=count)
        self._figure = ""

    def figure(self, name: str) -> None:
        """A new figure is begun."""
        self._figure = name
        self.note("")

    def note(self, stage: str) -> None:
        """The figure has reached a stage."""
        text = f"{self._figure}: {stage}" if stage else self._figure
        self._progress.update(self._bar, description=text)

    def written(self, paths: Sequence[Path]) -> None:
        """The figure is finished: say where its files are."""
        self._progress.advance(self._bar)
        names = ", ".join(str(path) for path in paths)
        self._progress.console.print(f"{self._figure}: {names}", highlight=False, soft_wrap=True)

    def left_out(self, reason: str) -> None:
        """The figure has no data and is not drawn: say why."""
        self._progress.advance(self._bar)
        line = f"{self._figure}: left out: {reason}"
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def watching(count: int) -> Iterator[Watch]:
    """Show progress through a number of figures for as long as the context lasts."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total} figures"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console(), transient=True) as progress:
        yield Watch(progress, count)


def print_figures(entries: Iterable[FigureEntry]) -> None:
    """Print name and summary of every figure."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for entry in entries:
        table.add_row(entry.name, entry.summary)
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
