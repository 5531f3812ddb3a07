"""Fine-tuning as a whole: read, plan, run, tabulate, export."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.bert.configuration import FineTuning
from experiments.bert.glue import results
from experiments.bert.glue.data_sizes import GENERATED, described, notes
from experiments.bert.glue.examples import TaskData
from experiments.bert.glue.export import export, kept_outputs
from experiments.bert.glue.finetune import Run, finetune, plan, steps
from experiments.bert.glue.generated import write_generated
from experiments.bert.glue.hub import load_task
from experiments.bert.glue.metrics import predictions
from experiments.bert.glue.models import find_models
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError
from experiments.progress import without_other_bars
from experiments.quiet import quick_collections
from experiments.run_bar import run_bar
from experiments.runs import finished
from taskrobust._files import write_atomically

__all__ = ["fine_tune_all", "read_all"]


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
        RecordError: the record or the predictions of a finished run are damaged.
    """
    found = find_models(models)
    read = read_all(how, data, out)
    for each in read:
        text = described(each.task.name, each.describe(), limit=how.max_train_examples)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    runs = plan(how, found, read, out)
    made = []
    total = sum(_examples(how, run) for run in runs)
    with quick_collections(), run_bar(console, total, "examples") as bar:
        for run in runs:
            bar.run(run.title, how.batch_size)
            known = finished(run.folder, run.configuration) is not None
            result = finetune(run, how, command=command, callbacks=[bar])
            if known:
                bar.skip(_examples(how, run))
            if result:
                constant = ", constant prediction" if _is_constant(run) else ""
                before = " (done before)" if known else ""
                bar.line(f"{run.title}: {_line(result)}{constant}{before}")
            made.append(result)
    if console.quiet:
        return made
    table = results.rows(made)
    console.print(results.table(table, "GLUE, dev (× 100)"))
    content = {"command": command, "rows": results.to_data(table)}
    write_atomically(out / "results.json", json.dumps(content, indent=1) + "\n")
    write_atomically(out / "dev.md", results.markdown(table) + _about(made, command))
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


def _examples(how: FineTuning, run: Run) -> int:
    """Examples that a run is trained on, with repetition."""
    return steps(how, run.data) * how.batch_size


def _about(made: Sequence[dict[str, Any]], command: str) -> str:
    """What the scores of a table are from, as Markdown."""
    return "\n".join(["", *notes(made), *([f"- `{command}`"] if command else [])]) + "\n"


def _is_constant(run: Run) -> bool:
    """Whether a run predicts the same for all examples of a dev part, up to 0.001 of a score."""
    parts = kept_outputs(run, "dev")
    return any(np.ptp(predictions(run.data.task, part)) < 1e-3 for part in parts.values())


def _line(result: dict[str, Any]) -> str:
    """Dev scores of a run, and how long it took."""
    texts = []
    for part, found in result["dev"].items():
        texts += [f"{part} {metric} {100 * value:.1f}".strip() for metric, value in found.items()]
    return f"{', '.join(texts)} ({result['seconds']:.0f} s)"
