r"""The peer algorithms measured: certified gap against what it cost, by three units of cost.

For each family of the testbed the gap :math:`F(x)-F^*` in units of :math:`R_0L'`, the worst of some
instances, against backward passes, task risks evaluated, and wall time. Methods tuned to a number
of steps are run anew for each; the others are watched along one run. One method is tuned with F*
itself, and two do not aim at F; the legend says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.data import Column, FigureData
from theory.solvers import SOLVERS, Checkpoint, Result, Solver
from theory.solvers.inputs import instance_setting
from theory.testbed import Case, Context

NAME = "peers"
SUMMARY = "certified gap of the peer algorithms against backward passes, risks evaluated and time"

FAMILIES = ("max-linear", "absolute", "quadratic", "digits (real)")
"""Families of the testbed that are shown, by name."""

INSTANCES = 3
"""Instances of each random family; they are run one by one, for honest times."""

LONGEST = 3_000
"""Largest number of steps with one or two gradients each."""

JACOBIAN_STEPS = (1, 2, 3, 5, 8, 12, 20, 30)
"""Numbers of steps with all T gradients each."""

NONLINEAR_STEPS = 500
"""Largest number of iterations of general nonlinear programming."""

BUDGET = 1_000
"""Backward passes at which the title compares worst gaps."""

ALGORITHM_1 = ("Algorithm 1", "paper schedule")
"""Algorithm 1 with either schedule."""

OTHER_TARGETS = ("MGDA", "average")
"""Methods that do not aim at F."""

FLOOR = 1e-9
"""Gaps below this are drawn at it, in units of R0 L': the intervals of F* are about as wide."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "family of the testbed"),
    "series": Column("text", "method"),
    "steps": Column("integer", "number K of steps asked for"),
    "instance": Column("integer", "index of the instance in its family"),
    "backward_passes": Column("integer", "weighted gradients; a Jacobian counts T"),
    "loss_evaluations": Column("integer", "task risks evaluated; T at each point"),
    "seconds": Column("number", "wall time of the method alone, one instance, seconds"),
    "gap_lower": Column("number", "certified lower end of F(x) - F*, in units of R0 L'"),
    "gap_upper": Column("number", "certified upper end of F(x) - F*, in units of R0 L'"),
    "bound": Column("number", "guarantee for the gap, in units of R0 L'; empty if there is none"),
    "scale": Column("number", "R0 L' of the instance, loss units"),
}
Row = tuple[str, str, int, int, int, int, float, float, float, float, float]

COSTS = {
    "backward_passes": "backward passes",
    "loss_evaluations": "task risks evaluated",
    "seconds": "wall time, s",
}
"""Units of cost, a row of panels each."""


def compute(context: Context) -> FigureData:
    """Run every method on every family that meets its assumptions.

    Args:
        context: testbed, effort (``steps`` up to `LONGEST` is the grid of K) and seed.

    Returns:
        One row for each family, method, K and instance.
    """
    rows = [
        row
        for name in FAMILIES
        for solver in SOLVERS.values()
        for row in _measure(context, context.case(name), solver)
    ]
    parameters = {"effort": asdict(context.effort), "instances": INSTANCES, "budget": BUDGET}
    return FigureData.of(NAME, COLUMNS, rows, parameters)


def _measure(context: Context, case: Case, solver: Solver) -> Iterator[Row]:
    """All rows of a method on a family; none where it does not apply."""
    smoothness = case.constants.smoothness
    if solver.smooth and not np.all(np.isfinite(smoothness)):
        return
    if solver.name == "MGDA" and not np.all(smoothness > 0):
        return  # linear tasks leave its step size undefined
    context.note(f"{case.name}: {solver.name}")
    for index in range(min(INSTANCES, len(case.start))):
        for steps, checkpoint in _runs(context, case, solver, index):
            yield _row(case, solver, index, steps, checkpoint)


def _runs(
    context: Context, case: Case, solver: Solver, index: int
) -> Iterator[tuple[int, Checkpoint]]:
    """Each K and the state after so many steps (or after fewer, if the method was done)."""
    if solver.sweeps is None:
        yield NONLINEAR_STEPS, _run(case, solver, index, NONLINEAR_STEPS, ()).final
        return
    grid = [steps for steps in context.effort.steps if steps <= LONGEST]
    if solver.passes == "T":
        grid = list(JACOBIAN_STEPS)
    if not solver.anytime:
        for steps in grid:
            yield steps, _run(case, solver, index, steps, ()).final
        return
    history = _run(case, solver, index, grid[-1], grid).history
    for steps in grid:
        yield steps, [checkpoint for checkpoint in history if checkpoint.step <= steps][-1]


def _run(
    case: Case, solver: Solver, index: int, steps: int, checkpoints: list[int] | tuple[()]
) -> Result:
    setting = instance_setting(case.setting(steps), index)
    extra = {"target": float(case.optimum.upper[index])} if solver.needs_optimum else {}
    return solver.run(case.problem[index], setting, case.start[index], checkpoints, **extra)


def _row(case: Case, solver: Solver, index: int, steps: int, checkpoint: Checkpoint) -> Row:
    """The certified gap of the point that a method is used for, and what it cost."""
    point = getattr(checkpoint, solver.point)
    value = float(np.max(case.problem[index].losses(point)))
    setting = instance_setting(case.setting(checkpoint.step), index)
    scale = float(setting.radius * setting.lipschitz)
    bound = np.nan if solver.bound is None else float(solver.bound(setting)) / scale
    return (
        case.name,
        solver.name,
        steps,
        index,
        checkpoint.backward_passes,
        checkpoint.loss_evaluations,
        checkpoint.seconds,
        (value - float(case.optimum.upper[index])) / scale,
        (value - float(case.optimum.lower[index])) / scale,
        bound if np.isfinite(bound) else np.nan,
        scale,
    )


_LOOKS: dict[str, tuple[str, str, str, str]] = {
    "Algorithm 1": (style.BLUE, "o", "-", r"Algorithm 1, sharp $\alpha_k$"),
    "paper schedule": (style.BLUE, "<", "--", r"Algorithm 1, printed $\alpha_k$"),
    "hard max": (style.GREY, "s", "-", "hard maximum"),
    "Polyak": (style.GREY, "x", "--", "Polyak (knows $F^*$)"),
    "GroupDRO": (style.ORANGE, "^", "-", "GroupDRO"),
    "GDA": (style.ORANGE, "v", "--", "descent-ascent"),
    "mirror-prox": (style.SKY, "D", "-", "mirror-prox"),
    "accelerated": (style.VIOLET, "P", "-", "accelerated, K known"),
    "continuation": (style.VIOLET, "h", "--", "accelerated, doubling"),
    "prox-linear": (style.VERMILLION, "X", "-", "prox-linear"),
    "level bundle": (style.GREEN, "p", "-", "level bundle"),
    "SLSQP": (style.BLACK, "*", "none", "SLSQP, at its end"),
    "MGDA": (style.PURPLE, "d", ":", "MGDA (other target)"),
    "average": (style.BLACK, ".", ":", "average loss (other target)"),
}
"""Colour, marker, line and legend of each method."""

_TITLES = {
    "max-linear": "max-linear",
    "absolute": "absolute regression",
    "quadratic": "quadratics",
    "digits (real)": "real data: digits",
}


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw a column of panels for each family, a row for each unit of cost.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 8.6))
    effort = data.parameters["effort"]
    style.title(
        figure,
        finding(data),
        f"Certified gap, worst of {min(data.parameters['instances'], effort['instances'])} "
        f"instances of T = {effort['tasks']} tasks in dimension {effort['dim']} "
        "(digits: one, T = 10, d = 65); times: NumPy, one instance at a time",
    )
    grid = figure.add_gridspec(
        len(COSTS), len(FAMILIES), left=0.072, right=0.988, top=0.895, bottom=0.142,
        wspace=0.07, hspace=0.3,
    )  # fmt: skip
    for row, (cost, text) in enumerate(COSTS.items()):
        first: Axes | None = None
        for column, name in enumerate(FAMILIES):
            axes = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            first = first or axes
            _draw_panel(axes, data.where(panel=name), cost)
            axes.set_xlabel(text)
            axes.tick_params(labelleft=column == 0)
            if row == 0:
                axes.set_title(_TITLES[name])
        options = {"ha": "right", "xycoords": ("axes fraction", "data"), "xytext": (0, 3)}
        style.label(figure.axes[-3], "resolution of F*", (0.98, FLOOR), **options)
    middle = (0.895 + 0.142) / 2
    label = r"gap $F(x)-F^*$,  in units of $R_0L'$"
    figure.text(0.006, middle, label, rotation=90, va="center")
    handles, labels = figure.axes[FAMILIES.index("quadratic")].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=5, columnspacing=1.4, handlelength=2.2)
    return figure


def finding(data: FigureData) -> str:
    """The title: who leads at a common budget, and where Algorithm 1 is, whatever the data are."""
    lead = behind = 0
    for name in FAMILIES:
        reached = standing(data.where(panel=name), BUDGET)
        leader = min(reached, key=lambda series: reached[series])
        lead += SOLVERS[leader].passes in {"T", None}
        behind += reached["hard max"] < min(reached[series] for series in ALGORITHM_1)
    return (
        f"Per backward pass all-gradient methods lead in {lead} of {len(FAMILIES)} families, "
        f"hard max beats Algorithm 1 in {behind}"
    )


def standing(rows: FigureData, budget: float, cost: str = "backward_passes") -> dict[str, float]:
    """Least worst-case gap of each method within a budget; methods that know or ignore F* aside.

    Args:
        rows: of one family.
        budget: largest cost.
        cost: a column of costs.

    Returns:
        By method, the gap in units of R0 L', at least `FLOOR`.
    """
    found = {}
    for name, solver in SOLVERS.items():
        if solver.needs_optimum or name in OTHER_TARGETS:
            continue
        spent, gap = worst(rows, name, cost)
        if np.any(spent <= budget):
            found[name] = max(float(np.min(gap[spent <= budget])), FLOOR)
    return found


def worst(rows: FigureData, series: str, cost: str) -> tuple[Any, Any]:
    """For each K of a method the largest cost and the largest gap over the instances."""
    chosen = rows.where(series=series)
    each = [chosen.where(steps=k) for k in np.unique(chosen["steps"])]
    return (
        np.array([np.max(part[cost]) for part in each]),
        np.array([np.max(part["gap_upper"]) for part in each]),
    )


def _draw_panel(axes: Axes, rows: FigureData, cost: str) -> None:
    """All methods of one family against one unit of cost."""
    for series, (color, marker, line, text) in _LOOKS.items():
        spent, gap = worst(rows, series, cost)
        gap = np.maximum(gap, FLOOR)
        size = 8.0 if line == "none" else 3.5
        width, above = (2.2, 3) if series in ALGORITHM_1 else (1.2, 2)
        (drawn,) = axes.plot(spent, gap, color=color, marker=marker, ls=line, label=text)
        drawn.set(linewidth=width, markersize=size, zorder=above)
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(FLOOR / 2, 3.0)
