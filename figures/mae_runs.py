"""Finished runs of Multi-Modal Mask MAE as figures read them: checked, in one order.

A run is the ``result.json`` that ``python -m experiments mae pretrain`` leaves, or `table2` in its
folder of work. Reading needs no torch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.records import RESULT, RecordError, collect, require, run_folder
from figures import style
from figures.arms import in_order
from figures.data import DataError, NothingToDrawError
from figures.traces import weighted_tasks

FOLDER = Path("runs/mae/pretrained")
"""Where they are left."""

HOW = "python -m experiments mae pretrain --preset cpu"
"""What makes runs."""

_LOOKS = {"rgb": style.VERMILLION, "depth": style.BLUE, "semseg": style.GREEN}
_SPARE = (style.ORANGE, style.PURPLE, style.SKY, style.VIOLET, style.BLACK)


@dataclass(frozen=True)
class Run:
    """One arm and seed."""

    path: Path
    arm: str
    seed: int
    history: Sequence[Mapping[str, float]]
    """Logs of training and evaluation, and the held-out risks in the end as the last."""
    tasks: Sequence[str]
    """Modalities in their order, which logs of a resumed run do not keep."""
    made: Mapping[str, Any]
    """Date, command and versions."""


def read_runs(folder: Path) -> list[Run]:
    """All finished runs, in the order of `figures.arms.ARMS` (then by name) and of seeds.

    Args:
        folder: the ``--out`` of pre-training.

    Raises:
        NothingToDrawError: there is none.
        DataError: a file is damaged, or two are of different studies.
    """
    from experiments.comparable import check_comparable  # needs YAML, as only runs do

    try:
        results = collect(folder)
        if results and not any("held_out" in result for result in results):
            raise NothingToDrawError(f"{folder} holds runs of PoS-BERT, none of the MAE")
        for result in results:
            require(result, "held_out", "history", "configuration")
        check_comparable(results)
    except RecordError as error:
        raise DataError(f"{folder}: {error}") from error
    if not results:
        raise NothingToDrawError(
            f"{folder} holds no finished run (ARM/seed-N/{RESULT}); make some: {HOW} --out {folder}"
        )
    runs = [_run(run_folder(folder, r["arm"], r["seed"]) / RESULT, r) for r in results]
    order = in_order([run.arm for run in runs])
    return sorted(runs, key=lambda run: order.index(run.arm))


def provenance(runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    """Which files the numbers are from, and how those were made."""
    return {
        "runs": [
            {
                "file": run.path.relative_to(folder).as_posix(),
                "sha256": hashlib.sha256(run.path.read_bytes()).hexdigest(),
                **run.made,
            }
            for run in runs
        ]
    }


def task_look(task: str) -> tuple[str, str]:
    """Colour and line of a modality."""
    color = _LOOKS.get(task) or _SPARE[sum(task.encode()) % len(_SPARE)]
    return color, "-"


def _run(path: Path, result: Mapping[str, Any]) -> Run:
    history = result["history"]
    if not isinstance(history, list) or not all(
        isinstance(log, dict) and isinstance(log.get("step"), int) for log in history
    ):
        raise DataError(f"{path}: `history` should be a list of logs with a step")
    try:
        risks = {name: float(each["value"]) for name, each in result["held_out"]["risks"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: `held_out` should have risks with values: {error!r}") from error
    if sorted(weighted_tasks(history)) != sorted(risks):
        raise DataError(
            f"{path}: `history` should have weights of {', '.join(risks)}; found "
            f"{', '.join(weighted_tasks(history)) or 'none'}"
        )
    end = {f"eval_risk/{name}": value for name, value in risks.items()}
    end["step"] = max(log["step"] for log in history)
    made = {key: result[key] for key in ("date", "command", "versions") if key in result}
    return Run(path, result["arm"], result["seed"], [*history, end], list(risks), made)
