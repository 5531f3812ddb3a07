r"""How the softmax approximation degrades as the number T of tasks grows (E1).

Losses alone, by the gap :math:`\alpha(\max f-\sum_tw_tf_t)`; minimisers of the smooth maximum, by
their certified bias :math:`\alpha(F(\theta_\alpha)-F^*)`; and Algorithm 1, by its certified gap
over the guarantee, with sharpness that knows T and with that of two tasks. The worst case is
:math:`c_T`, which grows like a logarithm and is attained by one task opposed by T - 1 that agree.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq

from figures import style
from figures.data import Column, FigureData
from taskrobust.schedules import sharp_constant
from taskrobust.weights import softmax_gap, softmax_weights
from theory import bounds
from theory.descent import descend
from theory.problems import Float, MaxLinear, starting_points, two_slope
from theory.problems.generate import max_linear
from theory.schedules import SCHEDULES, Schedule, Setting
from theory.solve import Solution, solve
from theory.solvers.accelerated import minimize_smoothed
from theory.testbed import Context

NAME = "task_count"
SUMMARY = "error of the softmax against the number of tasks: worst case, attained and observed"

COUNTS = (2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Numbers T of tasks."""

DIM = 10
"""Dimension of the random linear tasks."""

SHARPNESS = (1.0, 10.0)
"""Sharpness of the smooth maxima that are minimised, per loss unit."""

STEPS = 300
"""K of Algorithm 1."""

SMOOTH_STEPS = 1_000
"""Accelerated steps on a smooth maximum."""

DRAWS = 20_000
"""Random losses drawn for each T and law, all vectors together (at least one vector)."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "losses, minimisers or descent"),
    "series": Column("text", "formula, structure or law of the losses, or schedule"),
    "tasks": Column("integer", "number T of tasks"),
    "lower": Column(
        "number",
        "losses and minimisers: sharpness times error; descent: gap over the guarantee "
        "2 R0 L' / sqrt K; certified lower end",
    ),
    "upper": Column("number", "certified upper end; equal to lower where the optimum is exact"),
    "slack": Column(
        "number",
        "minimisers: sharpness times the certified excess of the point over the minimum of the "
        "smooth maximum, as it is found iteratively; 0 otherwise",
    ),
}
Row = tuple[str, str, int, float, float, float]


def compute(context: Context) -> FigureData:
    """Measure losses alone, minimisers of smooth maxima, and Algorithm 1.

    Args:
        context: ten times the ``max_tasks`` of its effort is the largest T of `COUNTS` used.

    Returns:
        One row for each panel, series and T.
    """
    counts = [tasks for tasks in COUNTS if tasks <= 10 * context.effort.max_tasks]
    rows: list[Row] = []
    for tasks in counts:
        context.note(f"T = {tasks:,}")
        rows += _losses(context, tasks)
        rows += _structured(tasks)
        rows += _random(context, tasks)
    return FigureData.of(NAME, COLUMNS, rows, {"counts": counts, "steps": STEPS, "dim": DIM})


def _losses(context: Context, tasks: int) -> Iterator[Row]:
    """Formulas, the extremal vector, structured and random losses at their worst sharpness."""
    constant = sharp_constant(tasks)
    for series, value in (("log T", math.log(tasks)), ("c_T", constant)):
        yield "losses", series, tasks, value, value, 0.0
    spread = np.geomspace(1e-3, 1e3, 241)[:, None]
    rng = context.rng(f"task count {tasks}")
    shape = (max(1, DRAWS // tasks), tasks)
    opposed = np.append(0.0, np.full(tasks - 1, -(1 + constant)))
    for series, losses, alpha in (
        ("one opposed", opposed, np.ones(1)),
        ("evenly spaced", -np.arange(float(tasks)), spread),
        ("heavy-tailed", rng.standard_t(2, shape), spread[::12]),
        ("normal", rng.standard_normal(shape), spread[::12]),
        ("uniform", rng.random(shape), spread[::12]),
    ):
        worst = float(np.max(alpha * softmax_gap(losses, alpha)))
        yield "losses", series, tasks, worst, worst, 0.0


def _structured(tasks: int) -> Iterator[Row]:
    """One task opposed by T - 1: minimisers as roots, Algorithm 1 with two sharpnesses; F* = 0."""
    problem = two_slope(tasks, sharp_constant(tasks), radius=10.0)
    for alpha in SHARPNESS:
        root = brentq(_slope, -1e-9, 9.0, args=(problem, alpha), xtol=1e-15, rtol=1e-14)
        bias = alpha * float(np.max(problem.losses(np.array([root]))))
        yield "minimisers", f"one opposed, {alpha:g}", tasks, bias, bias, 0.0
    start = np.array([2.0])
    setting = Setting(tasks, STEPS, 2.0, problem.constants().lipschitz)
    for series, schedule in (("T known", _known), ("T = 2", _for_two_tasks)):
        ratio = _gap(problem, schedule(setting), start) / float(bounds.theorem_3_1(setting))
        yield "descent", f"one opposed, {series}", tasks, ratio, ratio, 0.0


def _slope(theta: float, problem: MaxLinear, alpha: float) -> float:
    """Derivative of the smooth maximum in one dimension."""
    point = np.array([theta])
    return float(problem.weighted_gradient(point, softmax_weights(problem.losses(point), alpha))[0])


def _random(context: Context, tasks: int) -> Iterator[Row]:
    """The same for random linear tasks, whose optimum is certified."""
    rng = context.rng(f"task count, linear {tasks}")
    problem = max_linear(rng, 1, tasks, DIM)[0]
    best = solve(problem, 1e-9)
    start = starting_points(problem, rng)
    lipschitz = problem.constants().lipschitz
    for alpha in SHARPNESS:
        curvature = np.asarray(alpha * lipschitz**2)[..., None]
        point = minimize_smoothed(problem, np.asarray(alpha), curvature, start, SMOOTH_STEPS)
        low, high = (alpha * end for end in _interval(problem, best, point))
        slack = alpha * _stationarity(problem, point, alpha)
        yield "minimisers", f"random linear, {alpha:g}", tasks, low, high, slack
    setting = Setting(tasks, STEPS, float(np.linalg.norm(start - best.point)), lipschitz)
    for series, schedule in (("T known", _known), ("T = 2", _for_two_tasks)):
        average = descend(problem, schedule(setting), start).average
        bound = float(bounds.theorem_3_1(setting))
        low, high = _interval(problem, best, average)
        yield "descent", f"random linear, {series}", tasks, low / bound, high / bound, 0.0


def _stationarity(problem: MaxLinear, point: Float, alpha: float) -> float:
    """Upper bound of the smooth maximum at a point less its minimum, by its tangent plane."""
    weights = softmax_weights(problem.losses(point), alpha)
    gradient = problem.weighted_gradient(point, weights)
    return float(gradient @ point - problem.domain.min_linear(gradient))


def _interval(problem: MaxLinear, best: Solution, point: Float) -> tuple[float, float]:
    """Certified interval of F(point) - F*."""
    worst = float(np.max(problem.losses(point)))
    return worst - best.upper, worst - best.lower


def _gap(problem: MaxLinear, schedule: Schedule, start: Float) -> float:
    """F at the averaged iterate: the gap where the optimum is 0."""
    return float(np.max(problem.losses(descend(problem, schedule, start).average)))


def _known(setting: Setting) -> Schedule:
    """The constant schedule of B1 (b)."""
    return SCHEDULES["constant"](setting)


def _for_two_tasks(setting: Setting) -> Schedule:
    """The same with c_2 in place of c_T."""
    base = _known(setting)
    share = sharp_constant(2) / sharp_constant(setting.num_tasks)
    return Schedule(share * base.alpha, base.step_size, base.averaging)


_LOSSES = {
    "log T": (style.GREY, "", "--", "log T"),
    "c_T": (style.BLACK, "", "-", r"$c_T$, the worst case"),
    "one opposed": (style.ORANGE, "v", "none", "one opposed by T − 1"),
    "heavy-tailed": (style.PURPLE, "D", "-", "heavy-tailed (t, 2 d.o.f.)"),
    "normal": (style.BLUE, "o", "-", "normal"),
    "uniform": (style.SKY, "s", "-", "uniform"),
    "evenly spaced": (style.GREEN, "^", "-", "evenly spaced"),
}
"""Colour, marker, line and legend."""

_KINDS = {"one opposed": (style.ORANGE, "v"), "random linear": (style.BLUE, "o")}
"""Colour and marker of both kinds of tasks."""


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw losses, minimisers and Algorithm 1 against T.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 4.4))
    style.title(
        figure,
        finding(data),
        "Largest error over α and random draws; certified bias; certified gap of Algorithm 1 "
        f"after K = {data.parameters['steps']} steps (random linear: d = {data.parameters['dim']})",
    )
    grid = figure.add_gridspec(1, 3, left=0.055, right=0.988, top=0.8, bottom=0.125, wspace=0.24)
    left, middle, right = (figure.add_subplot(grid[i]) for i in range(3))
    _draw_losses(left, data.where(panel="losses"))
    _draw_minimisers(middle, data)
    _draw_descent(right, data.where(panel="descent"))
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="number of tasks T")
    return figure


def finding(data: FigureData) -> str:
    """The title: how the worst case grows, and how much of it is seen on random tasks."""
    constant = data.where(panel="losses", series="c_T")
    attained = data.where(panel="minimisers", series=f"one opposed, {SHARPNESS[0]:g}")
    tasks, growth = attained["tasks"], attained["upper"][-1] / attained["upper"][0]
    equal = np.allclose(attained["upper"], constant["upper"], rtol=1e-6)
    seen = max(
        float(np.max(data.where(panel="minimisers", series=f"random linear, {alpha:g}")["upper"]))
        for alpha in SHARPNESS
    )
    ceiling = math.ceil(100 * seen) / 100
    grows = "the worst error grows" if equal else "the worst error found grows"
    return (
        f"From {tasks[0]} to {tasks[-1]:,} tasks {grows} {growth:.0f}-fold; "
        f"random linear tasks stay below {ceiling:.2f}/α"
    )


def _draw_losses(axes: Axes, rows: FigureData) -> None:
    """Formulas, the attained worst case, and losses spread out."""
    axes.set_title("losses alone, at the worst α")
    for series, (color, marker, line, text) in _LOSSES.items():
        chosen = rows.where(series=series)
        axes.plot(chosen["tasks"], chosen["upper"], color=color, marker=marker, ls=line, label=text)
    axes.set_ylabel(r"error $\max f-\sum w_tf_t$, in units of $1/\alpha$")
    axes.legend(loc="upper left", fontsize=style.SMALL)


def _draw_minimisers(axes: Axes, data: FigureData) -> None:
    """Bias of minimisers of the smooth maximum."""
    axes.set_title("minimisers of the smooth maximum")
    worst = data.where(panel="losses", series="c_T")
    axes.plot(worst["tasks"], worst["upper"], color=style.BLACK, lw=1.0, zorder=3, label="$c_T$")
    for kind, (color, marker) in _KINDS.items():
        for alpha, line, fill in zip(SHARPNESS, ("-", ":"), ("full", "none"), strict=True):
            rows = data.where(panel="minimisers", series=f"{kind}, {alpha:g}")
            _draw_intervals(axes, rows, color, marker, line, fill, f"{kind}, α = {alpha:g}")
    axes.set_ylabel(r"bias $F(\theta_\alpha)-F^*$, in units of $1/\alpha$")
    axes.legend(loc="upper left", fontsize=style.SMALL)


def _draw_descent(axes: Axes, rows: FigureData) -> None:
    """Gap of Algorithm 1 over its guarantee."""
    axes.set_title("Algorithm 1 over its guarantee")
    axes.axhline(1.0, color=style.BLACK)
    for kind, (color, marker) in _KINDS.items():
        for series, line, fill, text in (
            ("T known", "-", "full", "α for T tasks"),
            ("T = 2", ":", "none", "α for 2 tasks"),
        ):
            chosen = rows.where(series=f"{kind}, {series}")
            _draw_intervals(axes, chosen, color, marker, line, fill, f"{kind}, {text}")
    axes.set_ylabel(r"gap over $2R_0L'/\sqrt{K}$")
    axes.set(yscale="log", ylim=(0.1, 100.0))
    axes.legend(loc="upper left", fontsize=style.SMALL)


def _draw_intervals(
    axes: Axes, rows: FigureData, color: str, marker: str, line: str, fill: Any, text: str
) -> None:
    """Upper ends, with a bar down to the lower ones."""
    axes.vlines(rows["tasks"], rows["lower"], rows["upper"], color=color)
    axes.plot(
        rows["tasks"],
        rows["upper"],
        color=color,
        marker=marker,
        ls=line,
        fillstyle=fill,
        label=text,
    )
