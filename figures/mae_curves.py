"""Traces of pre-training Multi-Modal Mask MAE: risk and weight of every modality, arm by arm.

Each arm has a panel with the risks of its training steps over the weights that it gave. The last
row has what arms are judged by: the worst and the mean held-out risk, and what each gains and gives
up in every modality against the average. Several seeds are averaged.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import panels, style
from figures.arms import REFERENCE, arm_look
from figures.data import Column, DataError, FigureData
from figures.mae_runs import Run, provenance, read_runs, task_look
from figures.traces import held_out, log_rows, smoothed

NAME = "mae_curves"
SUMMARY = (
    "MAE runs: risks and weights of the modalities in training, arm by arm, and what arms gain"
)

IN_A_ROW = 3
"""Arms side by side."""

COLUMNS: Mapping[str, Column] = {
    "arm": Column("text", "how the risks are combined: name of the arm"),
    "seed": Column("integer", "seed of the run"),
    "step": Column("integer", "optimiser steps done"),
    "task": Column("text", "modality that is reconstructed"),
    "risk": Column(
        "number",
        "risk in training, in the unit of the modality's loss: mean over the steps since the last "
        "log; empty at a step without a training log",
    ),
    "weight": Column("number", "weight of the task, mean over the same steps; weights sum to 1"),
    "held_out": Column("number", "risk of held-out images, same unit; empty between evaluations"),
}
PREFIXES = ("risk/", "weight/", "eval_risk/")
"""Of the numbers in the logs, in the order of the columns."""


def read(folder: Path) -> FigureData:
    """Collect the logs of all finished runs.

    Args:
        folder: the ``--out`` of pre-training.

    Returns:
        One row for each run, logged step and task.

    Raises:
        DataError: no runs, a damaged one, or runs of different studies.
    """
    runs = read_runs(folder)
    tasks = runs[0].tasks
    for run in runs:
        if run.tasks != tasks:
            raise DataError(
                f"{run.path} and {runs[0].path} should have the same tasks; "
                f"found {', '.join(run.tasks)} and {', '.join(tasks)}"
            )
    rows = [row for run in runs for row in _rows(run)]
    parameters = {"arms": list(dict.fromkeys(run.arm for run in runs)), "tasks": tasks}
    return replace(
        FigureData.of(NAME, COLUMNS, rows, parameters), provenance=provenance(runs, folder)
    )


def _rows(run: Run) -> Iterator[tuple[Any, ...]]:
    for row in log_rows(run.history, run.tasks, PREFIXES):
        yield run.arm, run.seed, *row


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw risks over weights for each arm, and below what they end at.

    Args:
        data: as `read` returns them.

    Returns:
        The figure.
    """
    arms, tasks = data.parameters["arms"], data.parameters["tasks"]
    paired, data = data, of_common_seeds(data)
    bands = math.ceil(len(arms) / IN_A_ROW)
    heights = [3.3] * bands + [2.3]
    tall = 0.55 + sum(heights)
    figure = Figure(figsize=(style.WIDTH, tall))
    style.title(
        figure,
        finding(data),
        "Training: means between logs"
        + _seeds(data)
        + "; grey band: the worst task; units of the losses differ from task to task",
    )
    grid = figure.add_gridspec(
        bands + 1, IN_A_ROW, height_ratios=heights, left=0.055, right=0.882,
        top=1 - 0.78 / tall, bottom=0.42 / tall, wspace=0.72, hspace=0.24,
    )  # fmt: skip
    first: Axes | None = None
    for index, arm in enumerate(arms):
        cell = grid[divmod(index, IN_A_ROW)].subgridspec(2, 1, height_ratios=(1.4, 1), hspace=0.07)
        first = panels.draw_arm(figure, cell, data.where(arm=arm), task_look, first)
        if index % IN_A_ROW == 0:
            panels.label_arm(figure.axes[-2:], "training risk")
    for axes in figure.axes[::2]:
        panels.name_risks(axes)
    bottom = grid[bands, :].subgridspec(1, 3, wspace=0.95)
    last = [figure.add_subplot(bottom[column]) for column in range(3)]
    panels.draw_held_out(last[0], data, tasks, np.nanmax, "worst held-out risk")
    panels.draw_held_out(last[1], data, tasks, np.nanmean, "mean held-out risk")
    for axes in last[:2]:
        axes.set_xlabel("step")
    _draw_gains(last[2], paired)
    return figure


def of_common_seeds(data: FigureData) -> FigureData:
    """The rows of seeds that every arm has, if there are such: seeds differ more than arms."""
    arms = data.parameters["arms"]
    common = set.intersection(*(set(data.where(arm=arm)["seed"].tolist()) for arm in arms))
    if not common:
        return data
    kept = np.isin(data["seed"], list(common))
    return replace(data, values={name: column[kept] for name, column in data.values.items()})


def _seeds(data: FigureData) -> str:
    """How many seeds the means are over."""
    if not _comparable(data):
        return ", of seeds that differ from arm to arm"
    count = len(np.unique(data["seed"]))
    return f", over {count} seeds" if count > 1 else ""


def _comparable(data: FigureData) -> bool:
    """Whether all arms have the same seeds."""
    arms = data.parameters["arms"]
    return len({tuple(np.unique(data.where(arm=arm)["seed"])) for arm in arms}) == 1


def finding(data: FigureData) -> str:
    """The title: which arm ends with the lowest worst risk, and what it puts its weight on.

    Args:
        data: of seeds that all arms have, if there are such; nothing is ranked otherwise.
    """
    if not _comparable(data):
        return "Risks and weights in training, arm by arm"
    tasks, ends = data.parameters["tasks"], {}
    for arm in data.parameters["arms"]:
        _, values = held_out(data.where(arm=arm), tasks, np.nanmax)
        ends[arm] = float(values[-1])
    best = min(ends, key=lambda arm: ends[arm])
    rows = data.where(arm=best)
    worst = max(tasks, key=lambda task: float(smoothed(rows.where(task=task), "held_out")[1][-1]))
    share = 100 * smoothed(rows.where(task=worst), "weight")[1][-1]
    text = f"{best}: {'lowest ' if len(ends) > 1 else ''}worst held-out risk, {ends[best]:.2f}"
    text += f" ({worst}, {share:.0f} % of the weight)"
    if best != REFERENCE and REFERENCE in ends:
        text += f"; {REFERENCE} {ends[REFERENCE]:.2f}"
    return text


def gains(data: FigureData) -> dict[str, dict[str, dict[int, float]]]:
    """Held-out risks in the end less those of the reference of the same seed.

    Args:
        data: as `read` returns them.

    Returns:
        By arm, task and seed; the reference itself is left out, and seeds that it has not.
    """
    tasks = data.parameters["tasks"]
    ends = {arm: _ends(data.where(arm=arm), tasks) for arm in data.parameters["arms"]}
    theirs = ends.pop(REFERENCE, {})
    return {
        arm: {
            task: {
                seed: found[task] - theirs[seed][task]
                for seed, found in of_arm.items()
                if seed in theirs
            }
            for task in tasks
        }
        for arm, of_arm in ends.items()
    }


def _ends(rows: FigureData, tasks: list[str]) -> dict[int, dict[str, float]]:
    """Last held-out risks by seed and task."""
    found = {}
    for seed in np.unique(rows["seed"]):
        run = rows.where(seed=seed)
        evaluated = run.where(step=run["step"][~np.isnan(run["held_out"])].max())
        found[int(seed)] = {t: float(evaluated.where(task=t)["held_out"][0]) for t in tasks}
    return found


def _draw_gains(axes: Axes, data: FigureData) -> None:
    """A line a task, a mark an arm: mean over seeds, and a dot a seed if there are several."""
    found, arms = gains(data), data.parameters["arms"]
    tasks = data.parameters["tasks"]
    axes.set_title(f"held-out risk less {REFERENCE}'s")
    apart = 0.7 / max(1, len(found))
    seeds = {arm: len(next(iter(by_task.values()))) for arm, by_task in found.items()}
    for number, (arm, by_task) in enumerate(found.items()):
        color, marker = arm_look(arm, arms)
        name = arm if len(set(seeds.values())) == 1 else f"{arm}, {seeds[arm]} seeds"
        for y, task in enumerate(tasks):
            values = list(by_task[task].values())
            if not values:
                continue
            at = y + apart * (number + 0.5) - 0.35
            if len(values) > 1:
                axes.plot(values, [at] * len(values), ".", color=color, alpha=0.5, ms=4, zorder=2)
            axes.plot(
                np.mean(values),
                at,
                marker,
                color=color,
                ms=5.5,
                zorder=3,
                label=name if y == 0 else None,
            )
    axes.axvline(0, color=style.GREY, lw=0.8, zorder=1)
    for y in range(1, len(tasks), 2):
        axes.axhspan(y - 0.5, y + 0.5, color=style.PALE, zorder=0)
    axes.set(ylim=(len(tasks) - 0.5, -0.5), yticks=range(len(tasks)), yticklabels=tasks)
    axes.set_xlabel("← better")
    if any(any(by_task.values()) for by_task in found.values()):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=style.SMALL)
