"""Traces of pre-training: rows from logs, and curves averaged over neighbouring logs and seeds."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from figures.data import FigureData

Values = NDArray[np.float64]

POINTS = 50
"""Points of a curve at most; logs between them are averaged."""


def smoothed(rows: FigureData, column: str) -> tuple[Values, Values]:
    """A curve of at most `POINTS` points: means over neighbouring logs and over seeds.

    Args:
        rows: of one arm and task.
        column: of numbers.

    Returns:
        Steps ``[n]``, each the mean of those that were averaged, and values ``[n]``. The steps are
        those of all tasks, less those at which this one has no number.
    """
    logged = "held_out" if column == "held_out" else "weight"
    steps, values = rows["step"], rows[column]
    every = np.unique(steps[~np.isnan(rows[logged])])
    size = math.ceil(len(every) / POINTS)
    points = []
    for start in range(0, len(every), max(size, 1)):
        group = every[start : start + size]
        found = values[np.isin(steps, group) & ~np.isnan(values)]
        if len(found):
            points.append((np.mean(group), np.mean(found)))
    curve = np.array(points).reshape(-1, 2)
    return curve[:, 0], curve[:, 1]


def held_out(rows: FigureData, tasks: Collection[str], over: Any) -> tuple[Values, Values]:
    """A number made of held-out risks, mean over seeds.

    Args:
        rows: of one arm.
        tasks: whose risks it is made of.
        over: `numpy.nanmax` or `numpy.nanmean`.

    Returns:
        Steps ``[n]`` and values ``[n]``.
    """
    steps = np.unique(rows["step"][~np.isnan(rows["held_out"])])
    values = []
    for step in steps:
        there = rows.where(step=step)
        each = [there.where(seed=seed) for seed in np.unique(there["seed"])]
        values.append(
            np.mean([over(part["held_out"][np.isin(part["task"], list(tasks))]) for part in each])
        )
    return steps.astype(float), np.array(values)


def log_rows(
    history: Sequence[Mapping[str, float]], tasks: Sequence[str], prefixes: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Step, task and numbers of every logged step; evaluation and training are separate logs.

    Args:
        history: of the Trainer.
        tasks: in this order.
        prefixes: of the numbers in the logs, such as ``risk/``; NaN where there is none.
    """
    steps: dict[int, dict[str, float]] = {}
    for log in history:
        steps.setdefault(int(log["step"]), {}).update(log)
    for step, log in sorted(steps.items()):
        for task in tasks:
            numbers = [log.get(prefix + task, math.nan) for prefix in prefixes]
            if not all(math.isnan(number) for number in numbers):
                yield step, task, *numbers


def weighted_tasks(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of the tasks whose weights were logged, in the order of the logs."""
    keys = dict.fromkeys(key for log in history for key in log)
    return [key.removeprefix("weight/") for key in keys if key.startswith("weight/")]
