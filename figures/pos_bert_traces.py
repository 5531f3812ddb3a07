"""Curves of PoS-BERT traces: averaged over neighbouring logs and over seeds."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from figures.data import FigureData
from figures.pos_bert_runs import CLASSES, INTERJECTION

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


def held_out(rows: FigureData, over: Any) -> tuple[Values, Values]:
    """A number made of the held-out risks of all classes but the interjection, mean over seeds.

    Args:
        rows: of one arm.
        over: `numpy.nanmax` or `numpy.nanmean`.

    Returns:
        Steps ``[n]`` and values ``[n]``.
    """
    classes = starred(rows)
    steps = np.unique(rows["step"][~np.isnan(rows["held_out"])])
    values = []
    for step in steps:
        there = rows.where(step=step)
        each = [there.where(seed=seed) for seed in np.unique(there["seed"])]
        values.append(
            np.mean([over(part["held_out"][np.isin(part["task"], classes)]) for part in each])
        )
    return steps.astype(float), np.array(values)


def starred(rows: FigureData) -> list[str]:
    """Tasks that the starred numbers are about."""
    return [task for task in CLASSES if task != INTERJECTION and task in rows.parameters["tasks"]]
