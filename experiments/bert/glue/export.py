"""Test predictions in the files that GLUE's server wants.

For each model, and each task with test files, the predictions of one run: that whose dev score is
the median of the seeds (the lower one of two in the middle). So the choice favours no seed, and
test scores, known to the server alone, never enter a table of ours. For a submission the server
also wants WNLI.tsv and AX.tsv; take those of its sample.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from experiments.bert.glue.finetune import PREDICTIONS, Run
from experiments.bert.glue.metrics import predictions
from experiments.bert.glue.results import headline
from experiments.bert.glue.tasks import GlueTask
from experiments.records import RecordError
from taskrobust._files import write_atomically

__all__ = ["answers", "export", "kept_outputs", "median_run"]

ABOUT = (
    "By task, the fine-tuning seed whose run the predictions are of: the run with the median dev "
    "score (the lower of two in the middle). Nothing else is chosen."
)
"""In ``seeds.json``, why these."""


def export(runs: Sequence[Run], results: Sequence[dict[str, Any]], out: Path) -> list[Path]:
    """Write ``out/ARM[/seed-N]/*.tsv``, and ``seeds.json``: which run each file is of, and why.

    Args:
        runs: finished ones, with their data.
        results: theirs, in the same order.
        out: folder of all submissions.

    Returns:
        The folders written; none without test files.

    Raises:
        RecordError: the predictions of a run are missing or damaged.
    """
    groups: dict[tuple[Path, str], list[tuple[Run, dict[str, Any]]]] = {}
    for run, result in zip(runs, results, strict=True):
        if run.data.test:
            key = (run.model.folder(out), run.data.task.name)
            groups.setdefault(key, []).append((run, result))
    exported: dict[Path, dict[str, int]] = {}
    for (folder, name), members in groups.items():
        number = median_run([headline(result) for _, result in members])
        run = members[number][0]
        folder.mkdir(parents=True, exist_ok=True)
        _write(run, folder)
        exported.setdefault(folder, {})[name] = run.seed
    for folder, seeds in exported.items():
        content = json.dumps({"about": ABOUT, "seeds": seeds}, indent=1, ensure_ascii=False)
        write_atomically(folder / "seeds.json", content + "\n")
    return list(exported)


def median_run(values: Sequence[float]) -> int:
    """Index of the median; of the lower one of two in the middle, the first among equals."""
    order = sorted(range(len(values)), key=lambda number: (values[number], number))
    return order[(len(order) - 1) // 2]


def answers(task: GlueTask, outputs: NDArray[np.floating], index: Sequence[str]) -> str:
    """The content of a file for the server: index and prediction.

    Args:
        task: one of `TASKS`.
        outputs: of the classifier ``[n, task.outputs]``.
        index: of the test examples.
    """
    found = predictions(task, outputs)
    if task.is_regression:
        texts = [f"{value:.3f}" for value in found.clip(0.0, 5.0)]
    else:
        texts = [task.labels[int(value)] for value in found]
    lines = [f"{place}\t{text}" for place, text in zip(index, texts, strict=True)]
    return "\n".join(["index\tprediction", *lines]) + "\n"


def kept_outputs(run: Run, split: str) -> dict[str, NDArray[np.floating]]:
    """Outputs of the classifier ``[n, task.outputs]`` that a finished run kept, by part.

    Args:
        run: a finished one, with its data.
        split: "dev" or "test".

    Raises:
        RecordError: the file is missing, damaged, or of other examples.
    """
    path = run.folder / PREDICTIONS
    parts = run.data.dev if split == "dev" else run.data.test
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            found = {name: kept[f"{split} {name}".strip()] for name in parts}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RecordError(f"{path} cannot be read ({reason}); {_anew(run)}") from error
    for name, part in parts.items():
        shape = (len(part), run.data.task.outputs)
        if found[name].shape != shape:
            raise RecordError(
                f"{path} should hold outputs of shape {shape} of {split} {name}".rstrip()
                + f"; found {found[name].shape}; {_anew(run)}"
            )
    return found


def _anew(run: Run) -> str:
    return f"remove {run.folder} to run it anew"


def _write(run: Run, folder: Path) -> None:
    outputs = kept_outputs(run, "test")
    task = run.data.task
    for part in task.parts:
        if part.name in outputs:
            text = answers(task, outputs[part.name], run.data.test[part.name].index)
            write_atomically(folder / f"{part.answers}.tsv", text)
