"""Does it matter how tasks are grouped? PoS-BERT with parts of speech, frequency bands, at random.

The controls have groups of the same sizes on the same masked pieces, so that the effect of a
meaningful split is told from that of splitting at all. All arms are judged by their held-out risks
of the parts of speech, whatever they were trained on. Arms are matched by name: ``minimax``,
``minimax-frequency`` and ``minimax-random`` are one way to combine the risks, with three groupings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.arms import REFERENCE, arm_look
from figures.data import Column, FigureData, NothingToDrawError
from figures.pos_bert_runs import (
    GROUPINGS,
    HOW,
    Run,
    paired,
    provenance,
    read_runs,
)

NAME = "pos_bert_grouping"
SUMMARY = "PoS-BERT runs: held-out worst and mean risk with tasks by part of speech or at random"

REACH = 0.26
"""Half the width of the longest text beside a point, as a share of a panel."""

PANELS: Mapping[str, str] = {
    "worst*": "worst class*",
    "mean*": "mean of classes*",
    "token mean": "mean of tokens",
}
"""Numbers that are drawn, with titles."""

COLUMNS: Mapping[str, Column] = {
    "grouping": Column("text", "what the tasks of training are: pos, frequency or random groups"),
    "balancer": Column("text", "how their risks are combined: the arm without its grouping"),
    "arm": Column("text", "name of the arm"),
    "seed": Column("integer", "seed of the run"),
    "split": Column("text", "held-out text: valid or test"),
    "quantity": Column(
        "text",
        "of the held-out risks by part of speech: a class; worst, mean: over the classes; "
        "worst*, mean*: the interjection left out; token mean: over their pieces",
    ),
    "risk": Column("number", "held-out cross-entropy, nats"),
    "lower": Column("number", "lower end of its 95 % bootstrap interval over instances, nats"),
    "upper": Column("number", "upper end, nats"),
    "difference": Column(
        "number",
        f"risk less that of {REFERENCE!r} with the same grouping and seed, nats; empty without",
    ),
    "difference_lower": Column(
        "number", "lower end of its paired 95 % bootstrap interval, nats; empty without sums"
    ),
    "difference_upper": Column("number", "upper end, nats"),
}


def read(folder: Path) -> FigureData:
    """Collect held-out risks of the arms that were run with several groupings.

    Args:
        folder: the ``--out`` of pre-training.

    Returns:
        One row for each run, split and class or number over the classes.

    Raises:
        NothingToDrawError: no arm was run with several groupings.
        DataError: a run is damaged.
    """
    runs = read_runs(folder)
    groupings: dict[str, set[str]] = {}
    for run in runs:
        groupings.setdefault(balancer(run), set()).add(run.grouping)
    several = [name for name, found in groupings.items() if len(found) > 1]
    if not several:
        raise NothingToDrawError(
            f"{folder} holds no arm with several groupings, such as minimax and minimax-random; "
            f"make some: {HOW} --out {folder}"
        )
    shown = [run for run in runs if balancer(run) in several]
    references = {(r.grouping, r.seed): r for r in shown if balancer(r) == REFERENCE}
    rows = [r for run in shown for r in _rows(run, references.get((run.grouping, run.seed)))]
    found = {run.grouping for run in shown}
    parameters = {
        "balancers": several,
        "groupings": [name for name in GROUPINGS if name in found],
        "split": list(runs[0].held_out)[-1],  # test if there is one
    }
    made = FigureData.of(NAME, COLUMNS, rows, parameters)
    return replace(made, provenance=provenance(shown, folder))


def balancer(run: Run) -> str:
    """The arm without the name of its grouping."""
    return run.arm.removesuffix(f"-{run.grouping}")


def _rows(run: Run, reference: Run | None) -> Iterator[tuple[Any, ...]]:
    for split, measured in run.held_out.items():
        apart = paired(run, reference, split)
        for quantity, numbers in measured.risks.items():
            yield (
                run.grouping, balancer(run), run.arm, run.seed, split, quantity, *numbers,
                *apart[quantity],
            )  # fmt: skip


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw a row for each grouping, a panel for each number over the classes.

    Args:
        data: as `read` returns them.

    Returns:
        The figure.
    """
    groupings, balancers = data.parameters["groupings"], data.parameters["balancers"]
    rows = data.where(split=data.parameters["split"])
    tall = 1.6 + len(groupings) * max(0.75, 0.25 + 0.25 * len(balancers))
    figure = Figure(figsize=(style.WIDTH, tall))
    seeds = len(np.unique(data["seed"]))
    style.title(
        figure,
        finding(data),
        f"Split {data.parameters['split']}, risks of parts of speech whatever the tasks; "
        + (f"below: difference to {REFERENCE}; " if np.any(np.isfinite(rows["difference"])) else "")
        + "95 % bootstrap over instances"
        + (f", {seeds} seeds" if seeds > 1 else "")
        + "; * no interjection",
    )
    grid = figure.add_gridspec(
        1, len(PANELS), left=0.135, right=0.985, top=1 - 0.9 / tall, bottom=0.85 / tall, wspace=0.07
    )
    first: Axes | None = None
    for column, (quantity, title) in enumerate(PANELS.items()):
        axes = figure.add_subplot(grid[column], sharey=first)
        first = first or axes
        axes.set_title(title)
        _draw_panel(axes, rows.where(quantity=quantity))
        axes.set_xlabel("held-out cross-entropy (nats)")
        axes.tick_params(axis="y", length=0, labelleft=column == 0)
    _same_scale(figure.axes)
    for axes, quantity in zip(figure.axes, PANELS, strict=True):
        _name_differences(axes, rows.where(quantity=quantity))
    first_axes = figure.axes[0]
    first_axes.set_yticks(range(len(groupings)), [GROUPINGS[g][0] for g in groupings])
    first_axes.set_ylim(len(groupings) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=color, marker=marker, ms=6, ls="none", label=name)
        for name in balancers
        for color, marker in [arm_look(name, balancers)]
    ]
    figure.legend(handles=handles, loc="lower center", ncols=6, columnspacing=1.6)
    return figure


def finding(data: FigureData) -> str:
    """The title: what a balancer changes in the worst class, grouping by grouping."""
    rows = data.where(split=data.parameters["split"], quantity="worst*")
    others = [name for name in data.parameters["balancers"] if name != REFERENCE]
    if not others or not np.any(np.isfinite(rows["difference"])):
        return "Held-out risks of the same arms with different groupings into tasks"
    name = "minimax" if "minimax" in others else others[0]
    parts = []
    for grouping in data.parameters["groupings"]:
        change = rows.where(balancer=name, grouping=grouping)["difference"]
        if len(change) and np.all(np.isfinite(change)):
            parts.append(f"{style.signed(np.mean(change))} {GROUPINGS[grouping][1]}")
    return f"{name} − {REFERENCE}, worst class*: {', '.join(parts)}"


def _points(rows: FigureData) -> Iterator[tuple[float, str, FigureData]]:
    """Ordinate, balancer and seeds of every point of a panel."""
    groupings, balancers = rows.parameters["groupings"], rows.parameters["balancers"]
    for index, grouping in enumerate(groupings):
        for number, name in enumerate(balancers):
            chosen = rows.where(balancer=name, grouping=grouping)
            if len(chosen):
                yield index + 0.7 * ((number + 0.5) / len(balancers) - 0.5), name, chosen


def _draw_panel(axes: Axes, rows: FigureData) -> None:
    """Every balancer a point with its interval."""
    for line in range(1, len(rows.parameters["groupings"])):
        axes.axhline(line - 0.5, color=style.RULE, lw=0.6, zorder=0)
    for y, name, chosen in _points(rows):
        color, marker = arm_look(name, rows.parameters["balancers"])
        axes.plot(np.mean(chosen["risk"]), y, color=color, marker=marker, ms=6.5, zorder=3)
        axes.hlines(y, np.min(chosen["lower"]), np.max(chosen["upper"]), color=color, lw=1.8)


def _same_scale(panels: Sequence[Axes]) -> None:
    """A nat is as long in every panel."""
    limits = [axes.get_xlim() for axes in panels]
    reach = max(high - low for low, high in limits) / 2
    for axes, (low, high) in zip(panels, limits, strict=True):
        axes.set_xlim((low + high) / 2 - reach, (low + high) / 2 + reach)


def _name_differences(axes: Axes, rows: FigureData) -> None:
    """Below each point its difference to the average, inside the final limits."""
    low, high = axes.get_xlim()
    for y, name, chosen in _points(rows):
        change = float(np.mean(chosen["difference"]))
        if name == REFERENCE or not np.isfinite(change):
            continue
        ends = np.min(chosen["difference_lower"]), np.max(chosen["difference_upper"])
        text = style.signed(change)
        if np.all(np.isfinite(ends)):
            text += f"  [{style.signed(ends[0])}, {style.signed(ends[1])}]"
        at = np.clip((np.mean(chosen["risk"]) - low) / (high - low), REACH, 1 - REACH)
        style.label(
            axes, text, (float(at), y), xycoords=("axes fraction", "data"), xytext=(0, -13),
            ha="center", color=arm_look(name, rows.parameters["balancers"])[0],
        )  # fmt: skip
