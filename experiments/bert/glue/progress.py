"""What a person sees while models are fine-tuned: a bar over all runs, and a line for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback

__all__ = ["RunBar", "run_bar"]


class RunBar(TrainerCallback):  # type: ignore[misc]
    """A bar over the training steps of all runs, told by the Trainer."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def title(self, text: str) -> None:
        """Say what is trained now."""
        self._bar.update(self._task, description=text)

    def skip(self, steps: int) -> None:
        """Count steps that were done before."""
        self._bar.update(self._task, advance=steps)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the Trainer."""
        self._bar.update(self._task, advance=1)


@contextmanager
def run_bar(console: Console, total: int) -> Iterator[RunBar]:
    """Show a bar of so many steps while it lasts, if there is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
    )
    hidden = console.quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        yield RunBar(bar, total)
