"""What a person sees while models are fine-tuned: a bar over all runs, and a line for each."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text
from transformers import TrainerCallback

from experiments.progress import rate

__all__ = ["RunBar", "run_bar"]


class RunBar(TrainerCallback):  # type: ignore[misc]
    """A bar over the training examples of all runs, told by the Trainer."""

    def __init__(self, bar: Progress, total: int, unit: str) -> None:
        self._bar = bar
        began = time.monotonic()
        self._task = bar.add_task("", total=total, unit=unit, began=began, earlier=0, loss=math.nan)
        self._batch = 0

    def run(self, title: str, batch: int) -> None:
        """Say what is trained now, and with how many examples a step."""
        self._batch = batch
        self._bar.update(self._task, description=title, loss=math.nan, refresh=True)

    def skip(self, examples: int) -> None:
        """Count examples that were seen before."""
        fields = self._bar.tasks[self._task].fields
        self._bar.update(self._task, advance=examples, earlier=fields["earlier"] + examples)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_train_begin(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
        """Called by the Trainer; a run that goes on has done some steps."""
        self.skip(state.global_step * self._batch)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the Trainer."""
        self._bar.update(self._task, advance=self._batch, refresh=True)

    def on_log(
        self,
        *_: Any,
        logs: dict[str, float] | None = None,
        **__: Any,
    ) -> None:
        """Called by the Trainer with the mean loss since the last time."""
        if logs and "loss" in logs:
            self._bar.update(self._task, loss=logs["loss"], refresh=True)


@contextmanager
def run_bar(console: Console, total: int, unit: str) -> Iterator[RunBar]:
    """Show a bar of so many examples, called `unit`, while it lasts, if there is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        _Rate(),
    )
    hidden = console.quiet or not console.is_terminal
    # No thread refreshes the bar: workers are forked while it is shown.
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=hidden
    ) as bar:
        yield RunBar(bar, total, unit)


class _Rate(ProgressColumn):
    """Loss, examples, speed and time left; those of earlier runs do not count for the speed."""

    def render(self, task: Task) -> Text:
        new = task.completed - task.fields["earlier"]
        speed = new / max(time.monotonic() - task.fields["began"], 1e-9)
        text = f"{task.completed:,.0f}/{task.total:,.0f} {task.fields['unit']}, {rate(speed)}/s"
        if not math.isnan(task.fields["loss"]):
            text = f"loss {task.fields['loss']:.3f}, {text}"
        if speed > 0 and task.total is not None:
            left = int((task.total - task.completed) / speed)
            text += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        return Text(text)
