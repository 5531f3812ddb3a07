"""Traces of PoS-BERT pre-training: risk and weight of every class, pieces a step, held-out risks.

Each arm has a column with the risks of its training steps and the weights it gave; the last row has
what arms share (how many pieces of a class are masked in a step) and what they are judged by, the
worst and the mean held-out risk, both without the interjection. Several seeds are averaged.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from figures import panels, style
from figures.arms import REFERENCE
from figures.data import Column, DataError, FigureData
from figures.pos_bert_runs import (
    CLASSES,
    INTERJECTION,
    Run,
    classes_of,
    of_parts_of_speech,
    provenance,
    read_runs,
    task_look,
)
from figures.traces import held_out, log_rows, smoothed, weighted_tasks

NAME = "pos_bert_curves"
SUMMARY = "PoS-BERT runs: risks, weights and counts of the classes in training, arm by arm"

IN_A_ROW = 3
"""Arms side by side."""

COLUMNS: Mapping[str, Column] = {
    "arm": Column("text", "how the risks are combined: name of the arm"),
    "seed": Column("integer", "seed of the run"),
    "step": Column("integer", "optimiser steps done"),
    "task": Column("text", "part of speech (or another task of the run)"),
    "risk": Column(
        "number",
        "cross-entropy of the task's masked pieces in training, nats: mean over the steps since "
        "the last log that had one; empty if none had, or at a step without a training log",
    ),
    "weight": Column("number", "weight of the task, mean over the same steps; weights sum to 1"),
    "count": Column("number", "masked pieces of the task a step, mean over the same steps"),
    "held_out": Column("number", "held-out cross-entropy, split valid, nats; empty between"),
}
QUANTITIES = {"risk": "risk/", "weight": "weight/", "count": "count/", "held_out": "eval_risk/"}
"""Columns of numbers, and the prefix of each in the logs."""


def read(folder: Path) -> FigureData:
    """Collect the logs of all finished runs whose tasks are parts of speech.

    Args:
        folder: the ``--out`` of pre-training.

    Returns:
        One row for each run, logged step and task.

    Raises:
        DataError: no runs, a damaged one, or runs of different tasks.
    """
    runs = of_parts_of_speech(read_runs(folder), folder)
    tasks = _tasks(runs[0])
    for run in runs:
        if _tasks(run) != tasks:
            raise DataError(
                f"{run.path} and {runs[0].path} should have the same tasks; "
                f"found {', '.join(_tasks(run))} and {', '.join(tasks)}"
            )
    rows = [row for run in runs for row in _rows(run, tasks)]
    parameters = {"arms": list(dict.fromkeys(run.arm for run in runs)), "tasks": tasks}
    made = FigureData.of(NAME, COLUMNS, rows, parameters)
    return replace(made, provenance=provenance(runs, folder))


def _tasks(run: Run) -> list[str]:
    """The classes, then tasks beside them, as logged."""
    logged = weighted_tasks(run.history)
    if not logged:
        raise DataError(f"{run.path}: `history` should have weights of tasks; found none")
    classes = classes_of(run)
    return [*[c for c in classes if c in logged], *[t for t in logged if t not in classes]]


def _rows(run: Run, tasks: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for row in log_rows(run.history, tasks, list(QUANTITIES.values())):
        yield run.arm, run.seed, *row


def _starred(tasks: Sequence[str]) -> list[str]:
    """Tasks that the starred numbers are about."""
    return [task for task in CLASSES if task != INTERJECTION and task in tasks]


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw risks over weights for each arm, and below what they share and what they end at.

    Args:
        data: as `read` returns them.

    Returns:
        The figure.
    """
    arms = data.parameters["arms"]
    bands = math.ceil(len(arms) / IN_A_ROW)
    heights = [4.1] * bands + [2.3]
    tall = 0.55 + sum(heights)
    figure = Figure(figsize=(style.WIDTH, tall))
    seeds = len(np.unique(data["seed"]))
    style.title(
        figure,
        finding(data),
        "Training: means between logs"
        + (f", over {seeds} seeds" if seeds > 1 else "")
        + "; held out: split valid; grey band: the worst class; * leaves the interjection out",
    )
    grid = figure.add_gridspec(
        bands + 1, IN_A_ROW, height_ratios=heights, left=0.055, right=0.872,
        top=1 - 0.78 / tall, bottom=0.42 / tall, wspace=0.86, hspace=0.2,
    )  # fmt: skip
    first: Axes | None = None
    for index, arm in enumerate(arms):
        cell = grid[divmod(index, IN_A_ROW)].subgridspec(2, 1, height_ratios=(1.4, 1), hspace=0.07)
        first = panels.draw_arm(figure, cell, data.where(arm=arm), task_look, first)
        if index % IN_A_ROW == 0:
            panels.label_arm(figure.axes[-2:], "training risk (nats)")
    for axes in figure.axes[::2]:
        panels.name_risks(axes)
    last = [figure.add_subplot(grid[bands, column]) for column in range(IN_A_ROW)]
    _draw_counts(last[0], data)
    classes = _starred(data.parameters["tasks"])
    panels.draw_held_out(last[1], data, classes, np.nanmax, "worst* held-out risk (nats)")
    panels.draw_held_out(last[2], data, classes, np.nanmean, "mean* held-out risk (nats)")
    for axes in last:
        axes.set_xlabel("step")
    return figure


def finding(data: FigureData) -> str:
    """The title: which arm ends with the lowest worst class, and what it puts its weight on."""
    ends = {}
    for arm in data.parameters["arms"]:
        _, values = held_out(data.where(arm=arm), _starred(data.parameters["tasks"]), np.nanmax)
        if len(values):
            ends[arm] = float(values[-1])
    if not ends:
        return "Risks and weights in training, arm by arm"
    best = min(ends, key=lambda arm: ends[arm])
    worst = worst_class(data.where(arm=best))
    share = 100 * smoothed(data.where(arm=best, task=worst), "weight")[1][-1]
    text = f"{best}: {'lowest ' if len(ends) > 1 else ''}worst class*, {ends[best]:.2f} nats"
    text += f" ({worst}, {share:.0f} % of the weight)"
    if best != REFERENCE and REFERENCE in ends:
        text += f"; {REFERENCE} {ends[REFERENCE]:.2f}"
    return text


def worst_class(rows: FigureData) -> str:
    """The class of an arm with the highest last held-out risk, the interjection left out."""
    ends = {}
    for task in _starred(rows.parameters["tasks"]):
        _, values = smoothed(rows.where(task=task), "held_out")
        if len(values):
            ends[task] = float(values[-1])
    return max(ends, key=lambda task: ends[task])


def _draw_counts(axes: Axes, data: FigureData) -> None:
    """Masked pieces a step, the same for all arms: mean over runs."""
    axes.set_title("masked pieces a step")
    ends = []
    for task in data.parameters["tasks"]:
        color, line = task_look(task)
        rows = data.where(task=task)
        steps, values = smoothed(rows, "count")
        steps, values = steps[values > 0], values[values > 0]
        if len(values):
            axes.plot(steps, values, color=color, ls=line, lw=1.3)
            mean = float(np.nanmean(rows["count"]))
            number = f"{mean:.0f}" if mean >= 10 else f"{mean:.2g}"
            ends.append((float(values[-1]), f"{task} {number}", color, False))
    axes.set(yscale="log", ylabel="pieces")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    style.name_ends(axes, ends)
