"""Held-out cross-entropy of PoS-BERT arms: each part of speech, the worst, the mean, all tokens.

Beside the risks stand the differences to the average over tasks: what an arm gains on the hard
classes and gives up on the easy ones. Intervals of differences are paired: both models are
evaluated on the same masked pieces, and their instances are resampled together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.bert.aggregates import FEW
from figures import style
from figures.arms import REFERENCE, arm_look
from figures.data import Column, FigureData
from figures.pos_bert_runs import (
    Run,
    classes_of,
    of_parts_of_speech,
    paired,
    provenance,
    read_runs,
)

NAME = "pos_bert_summary"
SUMMARY = "PoS-BERT runs: held-out risk of every class, worst and mean by arm, with intervals"

WHOLE = ("worst*", "mean*", "token mean")
"""Numbers over several classes that are drawn, below the classes."""

IN_A_ROW = 6
"""Arms in a row of the legend."""

COLUMNS: Mapping[str, Column] = {
    "arm": Column("text", "how the risks are combined: name of the arm"),
    "seed": Column("integer", "seed of the run"),
    "split": Column("text", "held-out text: valid or test"),
    "quantity": Column(
        "text",
        "part of speech; worst, mean: over the classes; worst*, mean*: the interjection left out; "
        "token mean: over their pieces",
    ),
    "pieces": Column("number", "masked pieces of the class; empty for several classes"),
    "risk": Column("number", "held-out cross-entropy, nats"),
    "lower": Column("number", "lower end of its 95 % bootstrap interval over instances, nats"),
    "upper": Column("number", "upper end, nats"),
    "difference": Column(
        "number", f"risk less that of the arm {REFERENCE!r} of the same seed, nats; empty without"
    ),
    "difference_lower": Column(
        "number", "lower end of its paired 95 % bootstrap interval, nats; empty without sums"
    ),
    "difference_upper": Column("number", "upper end, nats"),
}


def read(folder: Path) -> FigureData:
    """Collect the held-out risks of all finished runs whose tasks are parts of speech.

    Args:
        folder: the ``--out`` of pre-training.

    Returns:
        One row for each run, split and class or number over the classes.

    Raises:
        DataError: no runs, or a damaged one.
    """
    every = read_runs(folder)
    runs = of_parts_of_speech(every, folder)
    references = {run.seed: run for run in runs if run.arm == REFERENCE}
    rows = [row for run in runs for row in _rows(run, references.get(run.seed))]
    splits = list(runs[0].held_out)
    parameters = {
        "arms": list(dict.fromkeys(run.arm for run in runs)),
        "classes": classes_of(runs[0]),
        "split": splits[-1],  # test if there is one
        "left_out": list(dict.fromkeys(run.arm for run in every if run not in runs)),
    }
    made = FigureData.of(NAME, COLUMNS, rows, parameters)
    return replace(made, provenance=provenance(runs, folder))


def _rows(run: Run, reference: Run | None) -> Iterator[tuple[Any, ...]]:
    """Risks and differences of a run."""
    for split, measured in run.held_out.items():
        apart = paired(run, reference, split)
        for quantity, (risk, lower, upper) in measured.risks.items():
            pieces = measured.pieces.get(quantity, math.nan)
            yield (run.arm, run.seed, split, quantity, pieces, risk, lower, upper, *apart[quantity])


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw a row for each class and number over the classes: risks left, differences right.

    Args:
        data: as `read` returns them.

    Returns:
        The figure.
    """
    arms = data.parameters["arms"]
    rows = data.where(split=data.parameters["split"])
    quantities = order(rows)
    legend = math.ceil(len(arms) / IN_A_ROW)
    tall = 1.5 + 0.22 * legend + len(quantities) * max(0.38, 0.1 + 0.085 * len(arms))
    figure = Figure(figsize=(style.WIDTH, tall))
    seeds = len(np.unique(data["seed"]))
    style.title(
        figure,
        finding(data),
        f"Split {data.parameters['split']} (masked pieces); bars: 95 % bootstrap intervals"
        + (f", means and widest ends of {seeds} seeds" if seeds > 1 else "")
        + (f"; pale, without: fewer than {FEW} pieces" if np.any(rows["pieces"] < FEW) else "")
        + "\n* leaves the interjection out"
        + _left_out(len(data.parameters["left_out"])),
    )
    compared = bool(np.any(np.isfinite(rows["difference"][rows["arm"] != REFERENCE])))
    grid = figure.add_gridspec(
        1, 1 + compared, left=0.17, right=0.985, top=1 - 0.83 / tall,
        bottom=(0.6 + 0.22 * legend) / tall, wspace=0.05,
    )  # fmt: skip
    left = figure.add_subplot(grid[0])
    _draw_rows(left, rows, quantities, "risk", arms)
    left.set_xlabel("held-out cross-entropy (nats)")
    left.set_yticks(range(len(quantities)), [_name(rows, quantity) for quantity in quantities])
    if compared:
        right = figure.add_subplot(grid[1], sharey=left)
        right.axvline(0.0, color=style.BLACK, lw=1.0)
        _draw_rows(right, rows, quantities, "difference", [a for a in arms if a != REFERENCE])
        right.set_xlabel(f"difference to {REFERENCE} (nats)")
        right.tick_params(labelleft=False)
        for text, at, side in (("better", 0.01, "left"), ("worse", 0.99, "right")):
            style.label(
                right, text, (at, 1.0), xycoords="axes fraction", xytext=(0, 3), ha=side,
                color=style.GREY,
            )  # fmt: skip
    handles = [
        Line2D([], [], color=color, marker=marker, ms=6, ls="none", label=arm)
        for arm in arms
        for color, marker in [arm_look(arm, arms)]
    ]
    figure.legend(handles=handles, loc="lower center", ncols=IN_A_ROW, columnspacing=1.6)
    return figure


def finding(data: FigureData) -> str:
    """The title: which arm has the lowest worst class, and what it costs the mean."""
    rows = data.where(split=data.parameters["split"])
    worst = {arm: mean(rows, "worst*", arm) for arm in data.parameters["arms"]}
    best = min(worst, key=worst.__getitem__)
    if REFERENCE not in worst or best == REFERENCE:
        return f"{best}: {'lowest ' if len(worst) > 1 else ''}worst class*, {worst[best]:.2f} nats"
    gain, cost = (mean(rows, quantity, best, "difference") for quantity in ("worst*", "mean*"))
    return (
        f"{best}: worst class* {style.signed(gain)} nats against {REFERENCE}, "
        f"mean of classes* {style.signed(cost)}"
    )


def _left_out(arms: int) -> str:
    """What the subtitle says of arms with other tasks."""
    if not arms:
        return ""
    return f"; {arms} {'arm' if arms == 1 else 'arms'} of other groupings left out"


def mean(rows: FigureData, quantity: str, arm: str, column: str = "risk") -> float:
    """Mean over the seeds of an arm."""
    return float(np.mean(rows.where(quantity=quantity, arm=arm)[column]))


def order(rows: FigureData) -> list[str]:
    """Classes from the highest risk of the average (or of the first arm), then the rest."""
    arms = rows.parameters["arms"]
    arm = REFERENCE if REFERENCE in arms else arms[0]
    there = set(rows["quantity"])
    classes = [name for name in rows.parameters["classes"] if name in there]
    return [*sorted(classes, key=lambda name: -mean(rows, name, arm)), *WHOLE]


def _name(rows: FigureData, quantity: str) -> str:
    """A class with the number of its pieces."""
    pieces = rows.where(quantity=quantity)["pieces"][0]
    return quantity if np.isnan(pieces) else f"{quantity} ({pieces:,.0f})"


def _draw_rows(
    axes: Axes, rows: FigureData, quantities: Sequence[str], column: str, arms: Sequence[str]
) -> None:
    """Every arm a point with its interval, the arms of a row below each other."""
    everyone = rows.parameters["arms"]
    lower, upper = (
        ("lower", "upper") if column == "risk" else (f"{column}_lower", f"{column}_upper")
    )
    first = len(quantities) - len(WHOLE) - 0.5
    axes.axhspan(first, len(quantities) - 0.5, color=style.PALE, lw=0, zorder=0)
    for line in range(1, len(quantities)):
        axes.axhline(line - 0.5, color=style.RULE, lw=0.6, zorder=0)
    for arm in arms:
        color, marker = arm_look(arm, everyone)
        shift = 0.8 * ((everyone.index(arm) + 0.5) / len(everyone) - 0.5)
        for index, quantity in enumerate(quantities):
            chosen = rows.where(arm=arm, quantity=quantity)
            y, ends = index + shift, (chosen[lower], chosen[upper])
            few = bool(np.any(chosen["pieces"] < FEW))
            (point,) = axes.plot(np.mean(chosen[column]), y, color=color, marker=marker, ms=5.5)
            point.set(alpha=0.35 if few else 1.0, zorder=3)
            if not few and np.all(np.isfinite(ends)):
                axes.hlines(y, np.min(ends), np.max(ends), color=color, lw=1.8)
    axes.set_ylim(len(quantities) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
