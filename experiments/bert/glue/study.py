"""Fine-tuning as a whole: read, plan, run, tabulate, export."""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.bert.configuration import FineTuning
from experiments.bert.glue import results
from experiments.bert.glue.examples import TaskData
from experiments.bert.glue.export import export
from experiments.bert.glue.finetune import finetune, plan, steps
from experiments.bert.glue.generated import write_generated
from experiments.bert.glue.hub import load_task
from experiments.bert.glue.models import find_models
from experiments.bert.glue.progress import run_bar
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS, GlueTask
from experiments.bert.preparation.progress import without_other_bars
from experiments.bert.runs import finished
from experiments.configuration import ConfigurationError
from taskrobust._files import write_atomically

__all__ = ["described", "fine_tune_all", "read_all"]

GENERATED = "generated"
"""Source of data of our own making."""


def fine_tune_all(
    how: FineTuning,
    models: Sequence[str],
    data: Path | None,
    out: Path,
    *,
    console: Console,
    command: str = "",
) -> list[dict[str, Any]]:
    """Fine-tune every model on every task with every seed; finished runs are read back.

    All data and models are read and checked first. Afterwards `out` has ``dev.md``,
    ``results.json`` and, if the data has test files, ``submissions/``.

    Args:
        how: the configuration.
        models: see `find_models`.
        data: folder or zip of GLUE's files; None: what the configuration says.
        out: where results go.
        console: what a person sees; a quiet one in all processes but the first.
        command: what was typed, recorded with the results.

    Returns:
        The results of all runs; in all processes but the first, empty ones.

    Raises:
        ConfigurationError: data, models or configuration cannot be used.
    """
    found = find_models(models)
    read = read_all(how, data, out)
    for each in read:
        console.print(described(each), highlight=False, markup=False, soft_wrap=True)
    runs = plan(how, found, read, out)
    made = []
    total = sum(steps(how, run.data) for run in runs)
    with _quick_collections(), run_bar(console, total) as bar:
        for run in runs:
            bar.title(run.title)
            known = finished(run.folder, run.configuration) is not None
            result = finetune(run, how, command=command, callbacks=[bar])
            if known:
                bar.skip(steps(how, run.data))
            if result:
                bar.line(f"{run.title}: {_line(result)}{' (done before)' if known else ''}")
            made.append(result)
    if console.quiet:
        return made
    table = results.rows(made)
    console.print(results.table(table, "GLUE, dev (× 100)"))
    content = {"command": command, "rows": results.to_data(table)}
    write_atomically(out / "results.json", json.dumps(content, indent=1) + "\n")
    write_atomically(out / "dev.md", results.markdown(table) + _about(how, read, command))
    for folder in export(runs, made, out / "submissions"):
        console.print(f"test predictions in {folder}", highlight=False, soft_wrap=True)
    return made


def read_all(how: FineTuning, data: Path | None, out: Path) -> list[TaskData]:
    """All tasks of a configuration, read and checked.

    Args:
        how: the configuration.
        data: folder or zip of GLUE's files; None: what `how.source` says.
        out: generated files are written to ``out/data``.

    Raises:
        ConfigurationError: something is missing, or cannot be used.
    """
    tasks = [TASKS[name] for name in dict.fromkeys(how.tasks)]
    if data is None and how.source == "generated":
        folder = write_generated(out / "data", [task.name for task in tasks])
        return [replace(read_task(task, folder), source=GENERATED) for task in tasks]
    if data is not None:
        return [read_task(task, data) for task in tasks]
    if how.source == "local":
        raise ConfigurationError(
            "--data is needed: a folder with GLUE's files, TASK/train.tsv … or TASK.zip; or --set "
            "fine_tuning.source=hub"
        )
    with without_other_bars():
        return [load_task(task, how.hub, how.revision) for task in tasks]


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Spare what is loaded by now: else the Trainer collects garbage for a second at each start."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _about(how: FineTuning, data: Sequence[TaskData], command: str) -> str:
    """What the scores of a table are from, as Markdown."""
    lines = [f"- {described(each, test=False)}" for each in data]
    if how.max_train_examples is not None:
        lines.append(f"- of training examples, the first {how.max_train_examples:,} at most")
    return "\n".join(["", *lines, *([f"- `{command}`"] if command else [])]) + "\n"


def described(data: TaskData, *, test: bool = True) -> str:
    """What was read of a task, and of how many rows that GLUE has, in words.

    Args:
        data: from `read_all`.
        test: whether to tell of the test split.
    """
    parts = []
    shown = {name: part for name, part in data.splits().items() if test or "test" not in name}
    for name, split in shown.items():
        whole = None if data.source == GENERATED else _rows_of(data.task, name)
        of = f" of {whole:,}" if whole and len(split) < whole else ""
        left_out = f" ({split.skipped} broken rows left out)" if split.skipped else ""
        parts.append(f"{name} {len(split):,}{of}{left_out}")
    title = f"{data.task.title} (generated)" if data.source == GENERATED else data.task.title
    return f"{title}: {', '.join(parts)}"


def _rows_of(task: GlueTask, split: str) -> int | None:
    """Rows of GLUE's own train or dev split."""
    return None if split.startswith("test") else task.rows[split.removeprefix("dev").strip()]


def _line(result: dict[str, Any]) -> str:
    """Dev scores of a run, and how long it took."""
    texts = []
    for part, found in result["dev"].items():
        texts += [f"{part} {metric} {100 * value:.1f}".strip() for metric, value in found.items()]
    return f"{', '.join(texts)} ({result['seconds']:.0f} s)"
