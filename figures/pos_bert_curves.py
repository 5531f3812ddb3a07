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

from figures import style
from figures.data import Column, DataError, FigureData
from figures.pos_bert_runs import (
    REFERENCE,
    Run,
    arm_look,
    classes_of,
    of_parts_of_speech,
    provenance,
    read_runs,
    task_look,
)
from figures.pos_bert_traces import held_out, smoothed, starred

NAME = "pos_bert_curves"
SUMMARY = "PoS-BERT runs: risks, weights and counts of the classes in training, arm by arm"

IN_A_ROW = 3
"""Arms side by side."""

NAMED_SHARE = 0.07
"""A class is named in a panel of weights if its band is at least this high somewhere."""

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
    logged = {
        key.removeprefix("weight/"): None
        for log in run.history
        for key in log
        if key.startswith("weight/")
    }
    if not logged:
        raise DataError(f"{run.path}: `history` should have weights of tasks; found none")
    classes = classes_of(run)
    return [*[c for c in classes if c in logged], *[t for t in logged if t not in classes]]


def _rows(run: Run, tasks: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Logs of one step together, evaluation and training being separate logs."""
    steps: dict[int, dict[str, float]] = {}
    for log in run.history:
        steps.setdefault(int(log["step"]), {}).update(log)
    for step, log in sorted(steps.items()):
        for task in tasks:
            numbers = [log.get(prefix + task, math.nan) for prefix in QUANTITIES.values()]
            if not all(math.isnan(number) for number in numbers):
                yield run.arm, run.seed, step, task, *numbers


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
        upper = figure.add_subplot(cell[0], sharey=first)
        first = first or upper
        lower = figure.add_subplot(cell[1], sharex=upper)
        upper.set_title(arm)
        _draw_risks(upper, data.where(arm=arm))
        _draw_weights(lower, data.where(arm=arm))
        upper.tick_params(labelbottom=False, labelleft=index % IN_A_ROW == 0)
        lower.tick_params(labelleft=index % IN_A_ROW == 0)
        if index % IN_A_ROW == 0:
            upper.set_ylabel("training risk (nats)")
            lower.set_ylabel("weight")
    for axes in figure.axes[::2]:
        _name_risks(axes)
    last = [figure.add_subplot(grid[bands, column]) for column in range(IN_A_ROW)]
    _draw_counts(last[0], data)
    _draw_arms(last[1], data, "worst* held-out risk (nats)", np.nanmax)
    _draw_arms(last[2], data, "mean* held-out risk (nats)", np.nanmean)
    for axes in last:
        axes.set_xlabel("step")
    return figure


def finding(data: FigureData) -> str:
    """The title: which arm ends with the lowest worst class, and what it puts its weight on."""
    ends = {}
    for arm in data.parameters["arms"]:
        _, values = held_out(data.where(arm=arm), np.nanmax)
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
    for task in starred(rows):
        _, values = smoothed(rows.where(task=task), "held_out")
        if len(values):
            ends[task] = float(values[-1])
    return max(ends, key=lambda task: ends[task])


def _draw_risks(axes: Axes, rows: FigureData) -> None:
    """Training risks; the worst of all at each point underlaid."""
    curves = {task: smoothed(rows.where(task=task), "risk") for task in rows.parameters["tasks"]}
    points: dict[float, float] = {}
    for steps, values in curves.values():
        for step, value in zip(steps, values, strict=True):
            points[step] = max(points.get(step, -math.inf), value)
    axes.plot(list(points), list(points.values()), color=style.GREY, lw=5.5, alpha=0.3)
    for task, (steps, values) in curves.items():
        color, line = task_look(task)
        axes.plot(steps, values, color=color, ls=line, lw=1.3, label=task)


def _name_risks(axes: Axes) -> None:
    """Names at the ends of the curves, the worst in bold; once the limits are shared by all."""
    ends = [
        (float(values[-1]), str(line.get_label()), line.get_color())
        for line in axes.lines[1:]
        if len(values := np.asarray(line.get_ydata()))
    ]
    worst = max(ends)[0]
    style.name_ends(axes, [(end, name, color, end == worst) for end, name, color in ends])


def _draw_weights(axes: Axes, rows: FigureData) -> None:
    """Shares of the weight as bands on top of each other, the first task on top."""
    tasks = list(reversed(rows.parameters["tasks"]))
    steps, _ = smoothed(rows.where(task=tasks[0]), "weight")
    bands = np.array([smoothed(rows.where(task=task), "weight")[1] for task in tasks])
    colors = [task_look(task)[0] for task in tasks]
    axes.stackplot(steps, bands, colors=colors, edgecolor="white", linewidth=0.6)
    middles = np.cumsum(bands[:, -1]) - bands[:, -1] / 2
    axes.set(xlim=(steps[0], steps[-1]), ylim=(0, 1), yticks=(0, 0.5, 1))
    style.name_ends(
        axes,
        [
            (middle, f"{task} {100 * share:.0f} %", color, False)
            for middle, task, share, color in zip(middles, tasks, bands[:, -1], colors, strict=True)
            if share >= NAMED_SHARE
        ],
    )


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


def _draw_arms(axes: Axes, data: FigureData, title: str, over: Any) -> None:
    """One held-out number of every arm."""
    axes.set_title(title)
    arms, ends = data.parameters["arms"], []
    for arm in arms:
        color, marker = arm_look(arm, arms)
        steps, values = held_out(data.where(arm=arm), over)
        if len(values):
            axes.plot(steps, values, color=color, marker=marker)
            ends.append((float(values[-1]), f"{arm} {values[-1]:.2f}", color, False))
    style.name_ends(axes, ends)
