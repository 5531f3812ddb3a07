"""What a person sees of a preparation: a bar with words a second and the time left, then a line."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import datasets
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

__all__ = ["Stages", "rate", "without_other_bars"]

Advance = Callable[[int, bool], None]
"""Told an amount, and whether it was done before this run."""


class Stages:
    """Shows the stages of a preparation, one after the other, on standard error.

    Args:
        console: where to write; standard error if None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def stage(self, title: str, unit: str, total: int | None = None) -> Iterator[Advance]:
        """A stage with a bar while it lasts, and a line about it afterwards.

        Args:
            title: what is done.
            unit: of the amounts.
            total: of the amounts; None if unknown.

        Yields:
            A function to be told of each amount.
        """
        # No thread refreshes the bar: workers are forked while it is shown.
        bar = Progress(
            *_columns(),
            console=self.console,
            transient=True,
            auto_refresh=False,
            disable=not self.console.is_terminal,
        )
        with bar:
            task = bar.add_task(title, total=total, unit=unit, earlier=0, began=time.monotonic())
            shown = bar.tasks[task]

            def advance(amount: int, earlier: bool) -> None:
                shown.fields["earlier"] += amount if earlier else 0
                bar.update(task, advance=amount, refresh=True)

            bar.refresh()
            yield advance
            line = _line(shown)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Amount, speed and time left; what was done before this run does not count for the speed."""

    def render(self, task: Task) -> Text:
        speed = _speed(task)
        done = f"{task.completed:,.0f}" + ("" if task.total is None else f"/{task.total:,.0f}")
        text = f"{done} {task.fields['unit']} {rate(speed)}/s"
        if task.total is not None and speed > 0:
            left = int((task.total - task.completed) / speed)
            text += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        return Text(text)


def rate(speed: float) -> str:
    """A speed as people read it: slow ones with a decimal."""
    return f"{speed:,.1f}" if speed < 10 else f"{speed:,.0f}"


def _columns() -> tuple[ProgressColumn, ...]:
    return SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None), _Rate()


def _speed(task: Task) -> float:
    new: float = task.completed - task.fields["earlier"]
    seconds: float = time.monotonic() - task.fields["began"]
    return new / max(seconds, 1e-9)


def _line(task: Task) -> str:
    seconds = time.monotonic() - task.fields["began"]
    unit, earlier = task.fields["unit"], task.fields["earlier"]
    line = f"{task.description}: {task.completed:,.0f} {unit} in {seconds:.1f} s"
    new = task.completed - earlier
    line += f" ({rate(_speed(task))} {unit}/s)" if new else ""
    return line + (f", {earlier:,.0f} of them done before" if earlier else "")


@contextmanager
def without_other_bars() -> Iterator[None]:
    """Silence the bars of ``datasets``, which would be drawn over ours."""
    silent = datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not silent:
            datasets.enable_progress_bars()
