r"""Sample complexities measured (C5) beside their bounds: (13), the fast rates and the limit.

:math:`N_\lambda(\theta_0,\epsilon,\delta)` is known as an interval, from exact binomial sums (of
length 0) or from sample paths with confidence limits. It is swept over the accuracy, the
dimension, and the risk :math:`E=f_\lambda(\theta_0)` of the start, on which it depends by a step
(B7). The last panel divides bounds by what was measured.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.data import Column, FigureData
from theory import sample_bounds
from theory.sampling.points import Point
from theory.sampling.table import Row as Measured
from theory.sampling.table import measure_rows
from theory.testbed import Context, Effort

NAME = "sample_complexity"
SUMMARY = "measured sample complexities against accuracy, dimension and start, with all bounds"

EPSILON = "0.03"
"""Accuracy of the sweeps over the dimension and over the start."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "what is swept: accuracy, dimension or start; other: one family more"),
    "family": Column("text", "law of the samples"),
    "tasks": Column("integer", "number T of tasks"),
    "dim": Column("integer", "dimension d"),
    "epsilon": Column("number", "accuracy, loss units"),
    "delta": Column("number", "allowed probability of missing it"),
    "start_risk": Column("number", "E = f_lambda(theta_0), loss units"),
    "condition": Column("number", "L / mu of the mixed risk, mu being that of (11) and (13)"),
    "replicates": Column("integer", "sample paths behind the interval; 0: exact sums"),
    "lower": Column("integer", "N_lambda is at least this many samples"),
    "upper": Column("integer", "N_lambda is at most this many samples"),
    "theorem": Column("number", "bound (13), samples"),
    "frozen": Column("number", "(13) with the B and L' of the start E = epsilon; panel start only"),
    "localised": Column("number", "bound B5 (i), samples"),
    "moment": Column("number", "bound B5 (ii) by the variance of the noise, samples"),
    "tail": Column("number", "bound B5 (ii) by its range, samples"),
    "asymptote": Column("number", "limit of N epsilon as epsilon falls, over epsilon, samples"),
}
Row = tuple[str | int | float, ...]

BOUNDS = ("theorem", "localised", "moment", "tail")
"""Columns of the bounds."""


def points(effort: Effort, seed: int = 0) -> list[tuple[str, Point]]:
    """What is measured, by panel.

    Args:
        effort: its ``vectors`` over 5, between 2 000 and 100 000, is the number of sample paths.
        seed: of instances and paths.

    Returns:
        Names of panels and points.
    """
    literal = Point("multiplicative", EPSILON, tasks=3, dim=5, start="average")
    accuracies = ("0.1", "0.05", "0.03", "0.02", "0.01", "0.005", "0.003", "0.002", "0.001")
    found = [("accuracy", replace(literal, epsilon=e)) for e in accuracies]
    dims = (1, 2, 3, 5, 10, 20, 50, 100)
    found += [("dimension", Point("shifted", EPSILON, dim=d)) for d in dims]
    starts = (0.001, 0.002, 0.0029, 0.004, 0.006, 0.01, 0.017, 0.0299, 0.03, 0.06, 0.3, 3.0, 30.0)
    found += [("start", Point("skewed", EPSILON, dim=3, start=e)) for e in starts]
    finer = ("0.1", "0.03", "0.01", "0.003", "0.001")
    found += [("other", Point("shifted", e)) for e in (*finer, "0.0001")]
    found += [("other", Point("two-point", e, tasks=2, start="average")) for e in finer[1:]]
    paths = min(max(effort.vectors // 5, 2_000), 100_000)
    return [(panel, replace(point, replicates=paths, seed=seed)) for panel, point in found]


def compute(context: Context) -> FigureData:
    """Measure sample complexities.

    Args:
        context: effort (see `points`) and seed.

    Returns:
        One row for each measured point, with its bounds.
    """
    chosen = points(context.effort, context.seed)

    def note(finished: int) -> None:
        context.note(f"sample complexities, {finished} of {len(chosen)}")

    measured = measure_rows([point for _, point in chosen], done=note)
    panels = [panel for panel, _ in chosen]
    at_epsilon = next(
        row
        for panel, row in zip(panels, measured, strict=True)
        if panel == "start" and row.start_risk == row.epsilon
    )
    rows = [_row(panel, row, at_epsilon) for panel, row in zip(panels, measured, strict=True)]
    return FigureData.of(NAME, COLUMNS, rows, {"replicates": chosen[0][1].replicates})


def _row(panel: str, row: Measured, reference: Measured) -> Row:
    """A measured point; `reference` lends its B and L' to the frozen bound."""
    point = row.point
    return (
        panel,
        point.family,
        point.tasks,
        point.dim,
        row.epsilon,
        point.delta,
        row.start_risk,
        row.smoothness / row.modulus,
        row.replicates,
        row.lower,
        row.upper,
        row.theorem(),
        _frozen(reference, row.start_risk) if panel == "start" else np.nan,
        row.localised(),
        row.moment(),
        row.tail(),
        row.asymptote(),
    )


def _frozen(row: Measured, start_risk: float) -> float:
    """(13) with all constants of one row and the start of another."""
    return float(
        sample_bounds.theorem_5_4(
            row.point.dim,
            row.epsilon,
            row.point.delta,
            loss_range=row.loss_range,
            lipschitz=row.lipschitz,
            modulus=row.modulus,
            start_risk=start_risk,
        )
    )


_LOOKS = {
    "theorem": (style.VERMILLION, "-", "(13)"),
    "localised": (style.ORANGE, "-", "B5 (i), localised"),
    "moment": (style.GREEN, "--", "B5 (ii), variance"),
    "tail": (style.GREEN, "-", "B5 (ii), range"),
    "asymptote": (style.BLACK, ":", r"limit, quantile of $\chi^2$ sums"),
}
"""Colour, line and legend of bounds and limit."""

_FAMILIES = {
    ("accuracy", "multiplicative"): ("o", "§5 to the letter, d = 5"),
    ("other", "two-point"): ("^", "§5 to the letter, d = 1"),
    ("other", "shifted"): ("s", "sign noise, d = 1"),
}
"""Marker and name of the families in the panel of ratios."""


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw the three sweeps and the ratios.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 6.6))
    style.title(
        figure,
        finding(data),
        r"Samples needed to miss ε with probability at most δ = 0.05: intervals of "
        r"$N_\lambda(\theta_0,\epsilon,\delta)$ from exact sums "
        f"or {data.parameters['replicates']:,} sample paths",
    )
    grid = figure.add_gridspec(
        2, 2, left=0.066, right=0.988, top=0.865, bottom=0.135, wspace=0.17, hspace=0.42
    )
    first, second, third, last = (figure.add_subplot(grid[divmod(i, 2)]) for i in range(4))
    _draw_sweep(first, data.where(panel="accuracy"), "epsilon")
    first.set_title(r"accuracy: $N$ grows like $1/\epsilon$, (13) like $1/\epsilon^2$")
    first.set_xlabel("accuracy ε (loss units); §5 to the letter, T = 3, d = 5")
    first.invert_xaxis()
    _draw_sweep(second, data.where(panel="dimension"), "dim")
    second.set_title("dimension: $N$ falls to a constant, (13) grows like d")
    second.set_xlabel("dimension d; unit curvature, sign noise of norm 1, ε = 0.03")
    _draw_start(third, data.where(panel="start"))
    _draw_ratios(last, data)
    handles = [
        Line2D([], [], color=color, ls=line, label=text) for color, line, text in _LOOKS.values()
    ]
    measured = [
        Line2D([], [], color=style.BLUE, marker=marker, ms=size, ls="none", label=text)
        for marker, size, text in (("o", 4, "$N$, exact"), ("$\\mathsf{I}$", 9, "$N$, interval"))
    ]
    figure.legend(handles=[*measured, *handles], loc="lower center", ncols=7, columnspacing=1.3)
    return figure


def finding(data: FigureData) -> str:
    """The title: what the intervals say, whatever the data are."""
    broken = bool(np.any(data["lower"] > data["theorem"]))
    needed = data["lower"] > 0
    ratio = data["theorem"][needed] / data["upper"][needed]
    powers = f"{_power(float(np.min(ratio)))} to {_power(float(np.max(ratio)))}"
    verdict = "(13) is violated" if broken else f"(13) holds, but is {powers} times too large"
    return f"{verdict}; {_step(data.where(panel='start'))}"


def _power(value: float) -> str:
    """A power of ten below the value, for running text."""
    return f"$10^{{{math.floor(math.log10(value))}}}$"


def _step(rows: FigureData) -> str:
    """Whether N is the same at all starts above epsilon and 0 at the lowest, in words."""
    above = rows["start_risk"] >= rows["epsilon"]
    same = np.max(rows["lower"][above]) <= np.min(rows["upper"][above])
    below = rows["start_risk"] < rows["epsilon"] / rows["condition"]
    zero = not np.any(rows["upper"][below])
    return f"the start matters {'by a step, not' if same and zero else 'otherwise than'} by a log"


def _draw_intervals(axes: Axes, rows: FigureData, abscissa: str) -> None:
    """Exact numbers as points, intervals as bars with both ends marked."""
    for exact, marker in ((True, "o"), (False, "_")):
        chosen = (rows["replicates"] == 0) == exact
        x, low, high = (rows[key][chosen] for key in (abscissa, "lower", "upper"))
        axes.vlines(x, low, high, color=style.BLUE, lw=2.0)
        for end in (low, high):
            size: dict[str, Any] = {"ms": 4.0 if exact else 9.0, "mew": 1.5, "zorder": 3}
            axes.plot(x, end, color=style.BLUE, marker=marker, ls="none", **size)


def _draw_sweep(axes: Axes, rows: FigureData, abscissa: str) -> None:
    """Intervals and all bounds, log-log."""
    for column, (color, line, _) in _LOOKS.items():
        axes.plot(rows[abscissa], rows[column], color=color, ls=line)
    _draw_intervals(axes, rows, abscissa)
    axes.set(xscale="log", yscale="log", ylabel="samples")


def _draw_start(axes: Axes, rows: FigureData) -> None:
    """The step in the risk of the start."""
    axes.set_title("start: $N$ is 0, then constant; no logarithm of $f_\\lambda(\\theta_0)$")
    _draw_sweep(axes, rows, "start_risk")
    axes.plot(rows["start_risk"], rows["frozen"], color=style.VERMILLION, ls="--", lw=1.0)
    axes.set_yscale("symlog", linthresh=1.0, linscale=1.0)
    axes.set_ylim(-0.3, 5 * float(np.max(rows["theorem"])))
    axes.set_yticks([0, 1, 1e2, 1e4, 1e6, 1e8, 1e10])
    epsilon, condition = float(rows["epsilon"][0]), float(rows["condition"][0])
    axes.axvspan(epsilon / condition, epsilon, color=style.PALE, lw=0, zorder=0)
    for at, text in ((epsilon / condition, r"$\epsilon\mu/L$"), (epsilon, r"$\epsilon$")):
        style.label(axes, text, (at, 0.02), xycoords=("data", "axes fraction"), xytext=(3, 3))
    axes.set_xlabel(
        r"risk $E=f_\lambda(\theta_0)$ of the start (loss units); "
        f"d = 3, L/μ = {condition:.0f}, ε = {epsilon:g}"
    )
    style.label(
        axes, "(13), B and L′ frozen", (30.0, rows["frozen"][-1]), xytext=(0, 4),
        color=style.VERMILLION, ha="right",
    )  # fmt: skip


def _draw_ratios(axes: Axes, data: FigureData) -> None:
    """(13) and the best of B5 over the measured N."""
    axes.set_title("looseness: bound divided by measured $N$")
    for (panel, family), (marker, _) in _FAMILIES.items():
        rows = data.where(panel=panel, family=family)
        best = np.minimum(np.minimum(rows["localised"], rows["moment"]), rows["tail"])
        for bound, color in ((rows["theorem"], style.VERMILLION), (best, style.GREEN)):
            low, high = bound / rows["upper"], bound / rows["lower"]
            axes.vlines(rows["epsilon"], low, high, color=color, lw=3.0)
            axes.plot(rows["epsilon"], low, color=color, marker=marker, ls="-", lw=0.8)
    axes.axhline(1.0, color=style.BLACK, lw=0.8)
    axes.set(xscale="log", yscale="log", ylabel="bound / N")
    axes.set_xlabel("accuracy ε (loss units)")
    axes.invert_xaxis()
    for text, at, color in (
        ("(13) / N", (0.7, 0.93), style.VERMILLION),
        ("least bound of B5 / N", (0.7, 0.2), style.GREEN),
    ):
        style.label(axes, text, at, xycoords="axes fraction", color=color)
    handles = [
        Line2D([], [], color=style.GREY, marker=marker, ls="none", label=text)
        for marker, text in _FAMILIES.values()
    ]
    axes.legend(
        handles=handles,
        loc="center right",
        bbox_to_anchor=(1.0, 0.44),
        fontsize=style.SMALL,
        handlelength=1.0,
    )
