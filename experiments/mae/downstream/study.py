"""Fine-tuning as a whole: read, plan, run, tabulate, draw."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import ModelSize
from experiments.mae.data.build import MANIFEST
from experiments.mae.data.manifest import read_manifest
from experiments.mae.downstream import results
from experiments.mae.downstream.configuration import Depth, FineTuning
from experiments.mae.downstream.evaluation import read_pictured
from experiments.mae.downstream.models import find_models
from experiments.mae.downstream.pictures import draw
from experiments.mae.downstream.plan import Run, plan
from experiments.mae.downstream.run import finetune
from experiments.mae.downstream.task_data import TaskData, depth_statistics
from experiments.quiet import quick_collections
from experiments.run_bar import run_bar
from experiments.runs import finished
from taskrobust._files import write_atomically

__all__ = ["fine_tune_all", "read_data"]

TITLES = {"cls": "Classification", "semseg": "Semantic segmentation", "depth": "Depth"}


def fine_tune_all(
    how: FineTuning,
    models: Sequence[str],
    data: Path,
    out: Path,
    *,
    fresh: ModelSize,
    console: Console,
    command: str = "",
) -> list[dict[str, Any]]:
    """Fine-tune every model with every seed on a task; finished runs are read back.

    Data and models are read and checked first. Afterwards `out` has ``TASK.md``, ``TASK.json`` and
    ``TASK.png``, beside the folders of the runs.

    Args:
        how: the recipe of the task.
        models: see `experiments.mae.downstream.models.find_models`.
        data: folder with ``manifest.jsonl``, or a manifest.
        out: an existing folder, where results go.
        fresh: size of a model that has learned nothing.
        console: what a person sees; a quiet one in all processes but the first.
        command: what was typed, recorded with the results.

    Returns:
        The results of all runs; in all processes but the first, empty ones.

    Raises:
        ConfigurationError: data, models or recipe cannot be used.
        RecordError: the record of a finished run is damaged.
    """
    found = find_models(models)
    read = read_data(how, data)
    statistics = None
    if isinstance(how, Depth):
        statistics = how.standardisation or depth_statistics(read)
    runs = plan(found, read, fresh, statistics, out)
    console.print(_described(read, runs), highlight=False, markup=False, soft_wrap=True)
    made = _run_all(runs, console, command)
    if console.quiet:
        return made
    rows = results.rows(how.task, made)
    title = f"{TITLES[how.task]}, {read.test_split} ({len(read.test):,} images)"
    console.print(results.table(how.task, rows, title))
    content = {"command": command, "data": read.describe(), "rows": results.to_data(rows)}
    write_atomically(out / f"{how.task}.json", json.dumps(content, indent=1) + "\n")
    page = results.markdown(how.task, rows) + _about(read, made, command)
    write_atomically(out / f"{how.task}.md", page)
    _draw(runs, out / f"{how.task}.png", console)
    return made


def read_data(how: FineTuning, data: Path) -> TaskData:
    """The manifest of a folder, checked for a task.

    Args:
        how: the recipe.
        data: folder with ``manifest.jsonl``, or a manifest.

    Raises:
        ConfigurationError: there is none, or it lacks something.
    """
    path = data / MANIFEST if data.is_dir() else data
    if not path.is_file():
        raise ConfigurationError(
            f"--data {data}: should be a folder with {MANIFEST}, or a manifest; make it by "
            "`python -m experiments mae prepare`"
        )
    return TaskData(how=how, manifest=read_manifest(path))


def _run_all(runs: Sequence[Run], console: Console, command: str) -> list[dict[str, Any]]:
    made = []
    with quick_collections(), run_bar(console, sum(run.images for run in runs), "images") as bar:
        for run in runs:
            bar.run(run.title, run.how.batch_size)
            known = finished(run.folder, run.configuration) is not None
            result = finetune(run, command=command, callbacks=[bar])
            if known:
                bar.skip(run.images)
            if result:
                bar.line(f"{run.title}: {_line(run, result)}{' (done before)' if known else ''}")
            made.append(result)
    return made


def _draw(runs: Sequence[Run], path: Path, console: Console) -> None:
    """A column an arm, by its first run of which pictures were kept."""
    arms = {}
    for run in runs:
        kept = read_pictured(run.folder)
        if kept is not None and run.model.arm not in arms:
            arms[run.model.arm] = kept
    if arms:
        draw(path, runs[0].how.task, arms, runs[0].data.class_names)
        console.print(f"predictions in {path}", highlight=False, soft_wrap=True)


def _described(data: TaskData, runs: Sequence[Run]) -> str:
    how, first = data.how, runs[0]
    text = (
        f"{TITLES[how.task]} from {', '.join(how.inputs)} at "
        f"{how.image_size[0]}×{how.image_size[1]}: {data.train_images:,} images in "
        f"{first.steps:,} steps of {how.batch_size}, evaluated on {len(data.test):,}"
    )
    if first.statistics is not None:
        text += f"; depth {first.statistics[0]:.2f} ± {first.statistics[1]:.2f} m"
    return text


def _about(data: TaskData, made: Sequence[dict[str, Any]], command: str) -> str:
    """What the numbers of a table are of, as Markdown."""
    split = data.describe()
    what = (
        f"All {split['test']['images']:,} images of `{split['test']['split']}`, trained on "
        f"{split['train']['images']:,} of `{split['train']['split']}`: mean ± sample standard "
        "deviation over the runs of a row, which differ in the seeds of pre-training and of "
        "fine-tuning. No run and no checkpoint was chosen on the test split."
    )
    lines = [
        "",
        what,
        "",
        f"- data: `{split['manifest']}`, SHA-256 {split['digest'][:12]}",
        f"- {', '.join(f'{name} {number}' for name, number in made[0]['versions'].items())}",
        *([f"- `{command}`"] if command else []),
    ]
    return "\n".join(lines) + "\n"


def _line(run: Run, result: dict[str, Any]) -> str:
    """Numbers of a run, and how long it took."""
    shown = results.METRICS[run.how.task]
    texts = [
        f"{metric.title.removesuffix(', %')} {metric.text(result['test'][name])}"
        for name, metric in shown.items()
        if name in result["test"]
    ]
    return f"{', '.join(texts)} ({result['seconds']:.0f} s)"
