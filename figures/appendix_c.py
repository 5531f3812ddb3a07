r"""Remark 5.2 and Appendix C measured: what the minimax objective gains over the average.

Tasks :math:`A(\theta-1)^2` and, T - 1 times, :math:`\theta^2` on [0, 1]. The printed minimax point
:math:`\sqrt A/(\sqrt A-1)` is the wrong root of :math:`A(\theta-1)^2=\theta^2`, outside the domain;
the right one is :math:`\sqrt A/(\sqrt A+1)` (A8). Optima are certified, and what is drawn of the
average's minimiser is an interval that contains its exact risk.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.data import Column, FigureData
from theory.optima import certify
from theory.problems import AbsoluteRegression, Ball, ConvexProblem, appendix_c
from theory.testbed import Context

NAME = "appendix_c"
SUMMARY = "the instance of Appendix C: printed and true minimax point, gain over the average"

TASKS = 10
"""T of the first panel, with A = T - 1: where printed point and average minimiser tie."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "losses, risk or ratio"),
    "series": Column("text", "what is measured, or which formula"),
    "x": Column("number", "theta in panel losses; number of tasks T otherwise"),
    "lower": Column("number", "certified lower end; loss units, or a ratio of them in panel ratio"),
    "upper": Column("number", "certified upper end; equal to lower for formulas"),
}
Row = tuple[str, str, float, float, float]
Interval = tuple[float, float, float]
"""A point of the domain, and the ends of an interval that contains a risk."""


def compute(context: Context) -> FigureData:
    """Certify optima of the instance for many T.

    Args:
        context: ``max_tasks`` of its effort is the largest T.

    Returns:
        One row for each panel, series and abscissa.
    """
    largest = max(context.effort.max_tasks, 30)
    grid = np.round(np.geomspace(3, largest, 13)).astype(int).tolist()
    counts = sorted({*grid, TASKS})
    rows = [*_losses(context), *_risks(context, counts), *_ratios(context, counts)]
    return FigureData.of(NAME, COLUMNS, rows, {"T": TASKS, "A": TASKS - 1.0, "max T": largest})


def _losses(context: Context) -> Iterator[Row]:
    """The two distinct tasks, their maximum, and the three points with their worst risks."""
    context.note(f"certifying the instance with T = {TASKS}")
    steepness = TASKS - 1.0
    problem = appendix_c(steepness, TASKS)
    theta = np.linspace(0.0, 1.6, 161)
    losses = problem.losses(theta[:, None])
    curves = {"steep task": losses[:, 0], "flat task": losses[:, 1], "max": losses.max(axis=-1)}
    for series, values in curves.items():
        yield from (_exact("losses", series, x, y) for x, y in zip(theta, values, strict=True))
    for series, (point, lower, upper) in _points(problem, steepness).items():
        yield "losses", series, point, lower, upper


def _risks(context: Context, counts: list[int]) -> Iterator[Row]:
    """F at the three points for A = T - 1."""
    for tasks in counts:
        context.note(f"risks at A = T − 1, T = {tasks:,}")
        points = _points(appendix_c(tasks - 1.0, tasks), tasks - 1.0)
        for series, (_, lower, upper) in points.items():
            yield "risk", series, float(tasks), lower, upper


def _ratios(context: Context, counts: list[int]) -> Iterator[Row]:
    """F at the average's minimiser over F*, measured for three choices of A, and formulas."""
    for tasks in counts:
        context.note(f"ratios, T = {tasks:,}")
        quadratics = {"A = T - 1": tasks - 1.0, "best A": (math.sqrt(tasks) - 1) ** 2}
        for series, steepness in quadratics.items():
            problem = appendix_c(steepness, tasks)
            yield "ratio", series, float(tasks), *_ratio(problem, _average_risk(problem))
        yield "ratio", "absolute", float(tasks), *_absolute_ratio(tasks)
    for tasks in np.geomspace(counts[0], counts[-1], 61):
        for series, formula in FORMULAS.items():
            yield _exact("ratio", series, tasks, formula(float(tasks)))


FORMULAS: dict[str, Callable[[float], float]] = {
    "printed lower bound": lambda tasks: (math.sqrt(tasks - 1) - 1) ** 2 / 4,
    "exact, A = T - 1": lambda tasks: (math.sqrt(tasks - 1) + 1) ** 2 / 4,
    "exact, best A": lambda tasks: (math.sqrt(tasks) + 1) ** 2 / 4,
    "limit T": lambda tasks: tasks,
}
"""Ratios as functions of T: the paper's lower bound, and the corrected values."""


def _points(problem: ConvexProblem, steepness: float) -> dict[str, Interval]:
    """Average minimiser, minimax point and printed root: point, and interval of its worst risk."""
    optimum = certify(problem)
    printed = math.sqrt(steepness) / (math.sqrt(steepness) - 1)
    worst = float(np.max(problem.losses(np.array([printed]))))
    return {
        "average": _average_risk(problem),
        "minimax": (float(optimum.point[0]), float(optimum.lower), float(optimum.upper)),
        "printed": (printed, worst, worst),
    }


def _average_risk(problem: ConvexProblem) -> Interval:
    """Certified minimiser of the average, and an interval of F at the exact minimiser."""
    modulus = float(problem.constants().strong_convexity)
    return _risk_at_average(problem, lambda width: math.sqrt(2 * width / modulus))


def _risk_at_average(problem: ConvexProblem, distance: Callable[[float], float]) -> Interval:
    """As `_average_risk`, given how far a point can be from the minimiser for its excess risk.

    The excess of the certified point is at most the width of its certified interval, and F moves
    by at most L' times the distance.
    """
    tasks = problem.num_tasks
    optimum = certify(problem, np.full(tasks, 1 / tasks))
    slack = float(problem.constants().lipschitz) * distance(float(optimum.upper - optimum.lower))
    worst = float(np.max(problem.losses(optimum.point)))
    return float(optimum.point[0]), worst - slack, worst + slack


def _absolute_ratio(tasks: int) -> tuple[float, float]:
    """The ratio for tasks A|theta - 1| and |theta|, A = 0.99 (T - 1): close to the limit T."""
    steepness = 0.99 * (tasks - 1)
    scales = np.ones((tasks, 1, 1))
    targets = np.zeros((tasks, 1))
    scales[0], targets[0] = steepness, steepness
    problem = AbsoluteRegression(Ball.of(np.array([0.5]), 0.5), scales, targets)
    slope = (tasks - 1 - steepness) / tasks  # of the average on [0, 1]: its minimum at 0 is sharp
    return _ratio(problem, _risk_at_average(problem, lambda width: width / slope))


def _ratio(problem: ConvexProblem, average: Interval) -> tuple[float, float]:
    """Interval of F(average minimiser) / F*."""
    optimum = certify(problem)
    return average[1] / float(optimum.upper), average[2] / float(optimum.lower)


def _exact(panel: str, series: str, x: float, value: float) -> Row:
    """A row of a formula, or of a function that needs no optimum."""
    return panel, series, float(x), float(value), float(value)


_POINTS = {
    "average": (style.BLUE, "o", "average minimiser"),
    "minimax": (style.GREEN, "*", r"minimax point $\frac{\sqrt{A}}{\sqrt{A}+1}$"),
    "printed": (style.VERMILLION, "X", r"printed point $\frac{\sqrt{A}}{\sqrt{A}-1}$"),
}
"""Colour, marker and name of the three points."""


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw the instance, the worst risk of the three points, and the ratio.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 4.3))
    style.title(
        figure,
        "Appendix C corrected: the printed minimax point is the wrong root",
        r"Tasks $A(\theta-1)^2$ (once) and $\theta^2$ ($T-1$ times) on [0, 1]; "
        "markers: certified optima, thin lines: closed forms",
    )
    grid = figure.add_gridspec(1, 3, left=0.054, right=0.988, top=0.79, bottom=0.13, wspace=0.26)
    left, middle, right = (figure.add_subplot(grid[i]) for i in range(3))
    _draw_losses(left, data.where(panel="losses"), data.parameters)
    _draw_risk(middle, data.where(panel="risk"), data.parameters["T"])
    _draw_ratio(right, data.where(panel="ratio"))
    return figure


def _draw_losses(axes: Axes, rows: FigureData, parameters: Mapping[str, Any]) -> None:
    """Both tasks, their maximum, and where the three points are."""
    steepness, tasks = parameters["A"], parameters["T"]
    axes.set_title(f"outside the domain (T = {tasks}, A = {steepness:.0f})")
    axes.axvspan(1.0, 1.6, color=style.PALE, lw=0)
    curve = rows.where(series="max")
    axes.plot(curve["x"], curve["upper"], color=style.GREY, lw=4.5, alpha=0.35)
    style.label(axes, "F, the worst task", (0.37, 3.9), color=style.GREY)
    for series, color, text, at in (
        ("steep task", style.ORANGE, rf"${steepness:.0f}(\theta-1)^2$", (1.29, 0.5)),
        ("flat task", style.PURPLE, r"$\theta^2$", (0.38, 0.24)),
    ):
        curve = rows.where(series=series)
        axes.plot(curve["x"], curve["upper"], color=color, lw=1.4)
        style.label(axes, text, at, color=color)
    for series, offset, side in (
        ("average", (9, -6), "left"),
        ("minimax", (-10, 32), "left"),
        ("printed", (-9, 2), "right"),
    ):
        color, marker, _ = _POINTS[series]
        point = rows.where(series=series)
        x, y = float(point["x"][0]), float(point["upper"][0])
        axes.plot(x, y, color=color, marker=marker, ms=10, mec="white", mew=0.8)
        text = f"{series}\nθ = {x:.3g}\nF = {y:.4g}"
        style.label(axes, text, (x, y), xytext=offset, color=color, ha=side)
    axes.set(xlim=(0, 1.6), ylim=(0, 4.4), xlabel="parameter θ", ylabel="risk (loss units)")
    axes.set_xticks((0, 0.5, 1.0, 1.5))


def _draw_risk(axes: Axes, rows: FigureData, tie: int) -> None:
    """F at the three points against T."""
    axes.set_title(f"worse than the average for T < {tie}")
    axes.axvline(tie, ymax=0.5, color=style.GREY, lw=0.8, ls=":")
    for series, (color, marker, name) in _POINTS.items():
        curve = rows.where(series=series)
        axes.plot(curve["x"], curve["upper"], color=color, marker=marker, ms=6, label=name)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("number of tasks T,  with A = T − 1")
    axes.set_ylabel("worst risk F (loss units)", labelpad=0)
    axes.legend(loc="upper left", handlelength=1.4, borderaxespad=0.1)


def _draw_ratio(axes: Axes, rows: FigureData) -> None:
    """The ratio: measured as markers, formulas as lines."""
    axes.set_title("gain exceeds the printed bound")
    for formula, measured, color, marker, text in (
        ("limit T", "absolute", style.BLACK, "s", r"$T$, the limit; $A|\theta-1|$, $|\theta|$"),
        ("exact, best A", "best A", style.GREEN, "D", r"$\frac{1}{4}(\sqrt{T}+1)^2$, best $A$"),
        (
            "exact, A = T - 1",
            "A = T - 1",
            style.BLUE,
            "o",
            r"$\frac{1}{4}(\sqrt{T-1}+1)^2$, $A=T-1$",
        ),
    ):
        line, points = rows.where(series=formula), rows.where(series=measured)
        axes.plot(line["x"], line["upper"], color=color, lw=1.2)
        axes.plot(points["x"], points["upper"], color=color, marker=marker, ls="", label=text)
    line = rows.where(series="printed lower bound")
    text = r"$\frac{1}{4}(\sqrt{T-1}-1)^2$, printed bound"
    axes.plot(line["x"], line["upper"], color=style.VERMILLION, ls="--", label=text)
    axes.set(xscale="log", yscale="log", ylim=(0.03, 1500))
    axes.set_xlabel("number of tasks T")
    axes.set_ylabel(r"$F(\theta_{\mathrm{avg}})\,/\,F^*$", labelpad=0)
    axes.legend(
        loc="lower right",
        handlelength=1.4,
        fontsize=style.SMALL,
        borderaxespad=0.0,
    )
