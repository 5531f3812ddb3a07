"""All that finished runs found, on one page: for the terminal and as ``summary.md``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from experiments.comparable import check_recipes
from experiments.mae import results
from experiments.mae.downstream import results as downstream
from experiments.mae.downstream.configuration import TaskName
from experiments.mae.held_out import HELD_OUT_RISKS, TaskRisks, differences
from experiments.page import Page
from experiments.provenance import how_it_was_run
from experiments.records import RESULT, RecordError, collect, read, require, run_folder

__all__ = ["summarise"]

REFERENCE = "average"
"""The arm that the others are compared with: Eq. (4), the paper's None."""

TITLES: dict[TaskName, str] = {
    "cls": "Classification",
    "semseg": "Semantic segmentation",
    "depth": "Depth",
}


def summarise(pretrained: Path, finetuned: Path | None = None) -> Page:
    """Everything found below two folders.

    Args:
        pretrained: of ``mae pretrain``.
        finetuned: of ``mae finetune`` on those models; None, or a folder without runs, if there is
            none.

    Raises:
        RecordError: there is no finished run of pre-training, a record is damaged or lacks a field,
            or the runs are of different studies, recipes or images.
    """
    runs = collect(pretrained)
    if not runs:
        raise RecordError(
            f"{pretrained} holds no finished run; `python -m experiments mae pretrain "
            f"--preset cpu --out {pretrained}` makes them"
        )
    arms = _arms(runs)
    runs.sort(key=lambda run: (arms.index(run["arm"]), run["seed"]))
    made = results.rows(runs, arms)
    title = f"Reconstruction risks, {runs[0].get('held_out_split', 'held out')}"
    tables = [results.table(made, title)]
    text = [
        "# Multi-Modal Mask MAE: results",
        "",
        f"## {title}",
        "",
        results.markdown(made),
        *_differences(pretrained, runs),
        _NOTES,
    ]
    tuned = _fine_tuned(finetuned)
    for task in get_args(TaskName):
        of_task = [run for run in tuned if run["task"] == task]
        if not of_task:
            continue
        check_recipes(of_task)
        of_task.sort(key=lambda run: (*arms, run["arm"]).index(run["arm"]))
        rows = downstream.rows(task, of_task)
        title = _title(task, of_task[0])
        tables.append(downstream.table(task, rows, title))
        text += ["", f"## {title}", "", downstream.markdown(task, rows)]
    text += ["## How it was run", "", *how_it_was_run(runs, tuned)]
    return Page(tuple(tables), "\n".join(text))


_NOTES = """\
Mean squared error of standardised colours, mean absolute error of standardised depth, and
cross-entropy in nats, over masked patches of images that were not trained on, each with one fixed
mask. Means over seeds with standard deviations where there are several; `--seeds` are those of the
initial parameters, while order, windows and masks of the images follow the seeds in the preset."""


def _differences(pretrained: Path, runs: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown lines: risks less those of the reference arm of the same seed."""
    lines: list[str] = []
    for run in runs:
        reference = run_folder(pretrained, REFERENCE, run["seed"]) / HELD_OUT_RISKS
        if run["arm"] == REFERENCE or not reference.is_file():
            continue
        path = run_folder(pretrained, run["arm"], run["seed"]) / HELD_OUT_RISKS
        tasks = list(run["held_out"]["risks"])
        try:
            found = differences(TaskRisks.read(path), TaskRisks.read(reference), tasks)
        except ValueError as error:
            raise RecordError(f"{path} and {reference} are not comparable: {error}") from error
        if not lines:
            lines += [f"Less those of `{REFERENCE}`, with paired standard errors over images:", ""]
            lines += ["| arm | " + " | ".join(tasks) + " |", "|---|" + "---:|" * len(tasks)]
        cells = [
            f"{each['value']:+.4f} ± {each['standard_error'] or math.nan:.4f}".replace("-", "−")
            for each in found.values()
        ]
        lines.append(f"| {run['arm']}, seed {run['seed']} | " + " | ".join(cells) + " |")
    return [*lines, ""] if lines else []


def _arms(runs: Sequence[dict[str, Any]]) -> list[str]:
    """By the date of their first run."""
    return list(dict.fromkeys(r["arm"] for r in sorted(runs, key=lambda r: str(r.get("date", "")))))


def _fine_tuned(folder: Path | None) -> list[dict[str, Any]]:
    """Results of fine-tuning below a folder, by date."""
    if folder is None or not folder.is_dir():
        return []
    found = [read(path) for path in sorted(folder.rglob(RESULT))]
    kept = [run for run in found if "task" in run]
    for run in kept:
        require(run, "arm", "date", "configuration", "data", "test")
    return sorted(kept, key=lambda run: str(run["date"]))


def _title(task: TaskName, run: dict[str, Any]) -> str:
    test = run["data"]["test"]
    return f"{TITLES[task]}, {test['split']} ({test['images']:,} images)"
