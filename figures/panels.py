"""Panels of a pre-training: risks over weights of an arm, and held-out risks of all arms."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from figures import style
from figures.arms import arm_look
from figures.data import FigureData
from figures.traces import held_out, smoothed

NAMED_SHARE = 0.07
"""A task is named in a panel of weights if its band is at least this high at the end."""

Look = Callable[[str], tuple[str, str]]
"""Colour and line of a task."""


def draw_arm(
    figure: Figure,
    cell: GridSpecFromSubplotSpec,
    rows: FigureData,
    look: Look,
    first: Axes | None,
) -> Axes:
    """Training risks of an arm over the weights that it gave.

    Args:
        figure: where.
        cell: two rows of it.
        rows: of one arm.
        look: of the tasks.
        first: axes whose risks have the same limits; None: these are the first.

    Returns:
        The first axes of risks.
    """
    upper = figure.add_subplot(cell[0], sharey=first)
    lower = figure.add_subplot(cell[1], sharex=upper)
    upper.set_title(str(rows["arm"][0]))
    _draw_risks(upper, rows, look)
    _draw_weights(lower, rows, look)
    for axes in (upper, lower):
        axes.tick_params(labelleft=False)
    upper.tick_params(labelbottom=False)
    return first or upper


def label_arm(axes: Sequence[Axes], risk: str) -> None:
    """Name the ordinates of an arm's two panels, and number them."""
    for each, text in zip(axes, (risk, "weight"), strict=True):
        each.set_ylabel(text)
        each.tick_params(labelleft=True)


def name_risks(axes: Axes) -> None:
    """Names at the ends of the curves, the worst in bold; once the limits are shared by all."""
    ends = [
        (float(values[-1]), str(line.get_label()), line.get_color())
        for line in axes.lines[1:]
        if len(values := np.asarray(line.get_ydata()))
    ]
    worst = max(ends)[0]
    style.name_ends(axes, [(end, name, color, end == worst) for end, name, color in ends])


def draw_held_out(
    axes: Axes, data: FigureData, tasks: Collection[str], over: Any, title: str
) -> None:
    """One held-out number of every arm.

    Args:
        axes: where.
        data: of all arms.
        tasks: whose risks it is made of.
        over: `numpy.nanmax` or `numpy.nanmean`.
        title: of the panel.
    """
    axes.set_title(title)
    arms, ends = data.parameters["arms"], []
    for arm in arms:
        color, marker = arm_look(arm, arms)
        steps, values = held_out(data.where(arm=arm), tasks, over)
        if len(values):
            axes.plot(steps, values, color=color, marker=marker)
            ends.append((float(values[-1]), f"{arm} {values[-1]:.2f}", color, False))
    style.name_ends(axes, ends)


def _draw_risks(axes: Axes, rows: FigureData, look: Look) -> None:
    """Training risks; the worst of all at each point underlaid."""
    curves = {task: smoothed(rows.where(task=task), "risk") for task in rows.parameters["tasks"]}
    points: dict[float, float] = {}
    for steps, values in curves.values():
        for step, value in zip(steps, values, strict=True):
            points[step] = max(points.get(step, -math.inf), value)
    axes.plot(list(points), list(points.values()), color=style.GREY, lw=5.5, alpha=0.3)
    for task, (steps, values) in curves.items():
        color, line = look(task)
        axes.plot(steps, values, color=color, ls=line, lw=1.3, label=task)


def _draw_weights(axes: Axes, rows: FigureData, look: Look) -> None:
    """Shares of the weight as bands on top of each other, the first task on top."""
    tasks = list(reversed(rows.parameters["tasks"]))
    steps, _ = smoothed(rows.where(task=tasks[0]), "weight")
    bands = np.array([smoothed(rows.where(task=task), "weight")[1] for task in tasks])
    colors = [look(task)[0] for task in tasks]
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
