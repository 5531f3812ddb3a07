r"""Algorithm 1 in the plane: paths over the contours of the worst risk, and the weights along them.

Three quadratic tasks whose minimax point is where all three risks are equal. With constant
sharpness Algorithm 1 descends the smooth maximum (B2), whose minimiser is within
:math:`c_T/\alpha` of the optimum; the hard maximum jumps from task to task; the average and MGDA
aim elsewhere. The optimum is certified.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.data import Column, FigureData
from taskrobust.schedules import sharp_constant
from theory.descent import Iterate, descend
from theory.optima import CertifiedOptimum, certify
from theory.problems import Ball, DenseQuadratic, Float
from theory.schedules import Schedule, Setting
from theory.solvers.average import average_descent
from theory.solvers.mgda import mgda
from theory.testbed import Context

NAME = "geometry"
SUMMARY = "paths in the plane: Algorithm 1, hard maximum, average and MGDA over the worst risk"

STEPS = 100
"""K of every method."""

SHARPNESS = (1.0, 4.0, 32.0, math.inf)
"""Constant sharpness of Algorithm 1, per loss unit; inf is the hard maximum."""

GRID = 81
"""Points of the contour grid along each axis."""

WINDOW = (-2.8, 2.8, -2.2, 1.5)
"""Limits of the grid: first and second coordinate."""

START = np.array([1.7, -1.5])
"""Where every path begins."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "contours, tasks, path, averaged (iterates) or optimum"),
    "series": Column("text", "method, or what the point is"),
    "step": Column("integer", "k; index of the point or of the task otherwise"),
    "x": Column("number", "first coordinate of theta"),
    "y": Column("number", "second coordinate of theta"),
    "lower": Column("number", "worst risk F (path, contours), loss units; optimum: certified F*"),
    "upper": Column("number", "the same; upper end of F* for the optimum"),
    "weight_1": Column("number", "weight of task 1 in the step from this point; empty if none"),
    "weight_2": Column("number", "weight of task 2"),
    "weight_3": Column("number", "weight of task 3"),
}
Row = tuple[str, str, int, float, float, float, float, float, float, float]


def plane() -> DenseQuadratic:
    """Two steep quadratics, side by side, and a flat one far away, on a ball of radius 2.5."""
    angles = np.array([0.3, -0.9, 0.0])
    eigenvalues = np.array([[3.0, 0.8], [2.5, 0.8], [0.3, 0.5]])
    cosine, sine = np.cos(angles), np.sin(angles)
    bases = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], -2)
    hessians = (bases * eigenvalues[:, None, :]) @ np.swapaxes(bases, -1, -2)
    hessians = 0.5 * (hessians + np.swapaxes(hessians, -1, -2))
    centers = np.array([[-1.2, -0.8], [-1.0, 0.9], [1.6, 0.2]])
    return DenseQuadratic(Ball.of(np.zeros(2), 2.5), hessians, centers)


def compute(context: Context) -> FigureData:
    """Run all methods from one start.

    Args:
        context: only told of the stages; nothing is random.

    Returns:
        Worst risks on a grid, minimisers, the optimum, and all paths with their weights.
    """
    problem = plane()
    context.note("certifying the optimum in the plane")
    best = certify(problem)
    context.note("paths in the plane")
    rows = [*_grid(problem), *_points(problem, best), *_paths(problem, best)]
    parameters = {"steps": STEPS, "sharp_constant": sharp_constant(3)}
    return FigureData.of(NAME, COLUMNS, rows, parameters)


def _grid(problem: DenseQuadratic) -> Iterator[Row]:
    """The worst risk on the grid."""
    left, right, bottom, top = WINDOW
    x, y = np.meshgrid(np.linspace(left, right, GRID), np.linspace(bottom, top, GRID))
    theta = np.stack([x.ravel(), y.ravel()], axis=-1)
    for index, point in enumerate(theta):
        yield _row(problem, "contours", "F", index, point)


def _points(problem: DenseQuadratic, best: CertifiedOptimum) -> Iterator[Row]:
    """Minimisers of the tasks and the certified optimum."""
    for index, point in enumerate(problem.minimizers):
        yield _row(problem, "tasks", "minimiser", index, point)
    x, y = best.point.tolist()
    lower, upper = float(best.lower), float(best.upper)
    yield "optimum", "minimax", 0, x, y, lower, upper, *best.weights.tolist()


def _paths(problem: DenseQuadratic, best: CertifiedOptimum) -> Iterator[Row]:
    """All methods, with the step size of Theorem 3.1 or their own."""
    constants = problem.constants()
    radius = float(np.linalg.norm(START - best.point))
    setting = Setting(
        3, STEPS, radius, float(constants.lipschitz), smoothness=float(constants.smoothness)
    )
    for alpha in SHARPNESS:
        yield from _softmax_path(problem, setting, alpha)
    yield _row(problem, "path", "average", 0, START)
    yield _row(problem, "path", "MGDA", 0, START)
    for series, method in (("average", average_descent), ("MGDA", mgda)):
        for point in method(problem, setting, START, range(1, STEPS)).history:
            yield _row(problem, "path", series, point.step, point.last)


def _softmax_path(problem: DenseQuadratic, setting: Setting, alpha: float) -> Iterator[Row]:
    """Points 0 to K of Algorithm 1, the weights of each step, and the average."""
    size = setting.radius / (setting.lipschitz * math.sqrt(STEPS))
    plan = Schedule(np.full(STEPS, alpha), np.full(STEPS, size), np.ones(STEPS))
    visited: list[Iterate] = []
    run = descend(problem, plan, START, callback=visited.append)
    series = _series(alpha)
    for each in visited:
        yield _row(problem, "path", series, each.step, each.theta, each.weights)
    yield _row(problem, "path", series, STEPS, run.last)
    yield _row(problem, "averaged", series, STEPS, run.average)


def _series(alpha: float) -> str:
    return f"alpha = {alpha:g}"


def _row(
    problem: DenseQuadratic,
    panel: str,
    series: str,
    step: int,
    theta: Float,
    weights: Float | None = None,
) -> Row:
    """A point, its worst risk, and the weights of the step from it."""
    x, y = theta.tolist()
    worst = float(np.max(problem.losses(theta)))
    first, second, third = (math.nan,) * 3 if weights is None else weights.tolist()
    return panel, series, step, x, y, worst, worst, first, second, third


_LOOKS = {
    "average": (style.GREY, "s", "average loss"),
    "MGDA": (style.BLACK, "d", "MGDA"),
    _series(1.0): (style.SKY, "v", "α = 1"),
    _series(4.0): (style.BLUE, "o", "α = 4"),
    _series(32.0): (style.PURPLE, "^", "α = 32"),
    _series(math.inf): (style.VERMILLION, "x", "α = ∞, hard maximum"),
}
"""Colour, marker and name of each path."""

_TASKS = (style.GREEN, style.VIOLET, style.ORANGE)
_ZOOM = (-1.3, -0.62, -0.07, 0.32)
"""Window of the inset around the optimum."""


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw the plane and the weights along the paths of Algorithm 1.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 5.4))
    style.title(
        figure,
        finding(data),
        "Contours of the worst of three quadratic risks, their minimisers (+), and the certified "
        f"minimax point (★); {data.parameters['steps']} steps from one start",
    )
    options = {"top": 0.86, "bottom": 0.1}
    plane_axes = figure.add_gridspec(1, 1, left=0.06, right=0.675, **options)
    _draw_plane(figure.add_subplot(plane_axes[0]), data)
    strips = figure.add_gridspec(len(SHARPNESS), 1, left=0.73, right=0.985, hspace=0.5, **options)
    for index, alpha in enumerate(SHARPNESS):
        axes = figure.add_subplot(strips[index])
        _draw_weights(axes, data, alpha)
        axes.tick_params(labelbottom=index == len(SHARPNESS) - 1)
    axes.set_xlabel("step k")
    return figure


def finding(data: FigureData) -> str:
    """The title: whether the ends of the paths are in the order of the sharpness."""
    gaps = [gap(data, _series(alpha)) for alpha in SHARPNESS]
    ordered = gaps == sorted(gaps, reverse=True)
    others = min(gap(data, "average"), gap(data, "MGDA"))
    aims = "aim elsewhere" if others > gaps[0] else "come as near"
    weights = "Sharper" if ordered else "Not all sharper"
    return f"{weights} weights lead nearer to the minimax point; average and MGDA {aims}"


def gap(data: FigureData, series: str) -> float:
    """Certified upper end of F - F* at the last point of a path, in loss units."""
    last = data.where(panel="path", series=series, step=data.parameters["steps"])
    return float(last["upper"][0] - data.where(panel="optimum")["lower"][0])


def _draw_plane(axes: Axes, data: FigureData) -> None:
    """Contours and paths, and again around the optimum."""
    zoom = axes.inset_axes((0.015, 0.02, 0.37, 0.325))
    for each in (axes, zoom):
        _draw_contours(each, data)
        for series, (color, marker, text) in _LOOKS.items():
            path = data.where(panel="path", series=series)
            label = f"{text}: {gap(data, series):.3f}"
            each.plot(path["x"], path["y"], color=color, marker=marker, ms=3.0, lw=1.3, label=label)
        optimum = data.where(panel="optimum")
        each.plot(optimum["x"], optimum["y"], color=style.BLACK, marker="*", ms=15, mec="white")
        each.set_aspect("equal")
    for index, color in enumerate(_TASKS):
        task = data.where(panel="tasks", step=index)
        axes.plot(task["x"], task["y"], marker="P", color=color, ms=9)
        at = (float(task["x"][0]), float(task["y"][0]))
        style.label(axes, f"task {index + 1}", at, xytext=(7, 3), color=color)
    contours = data.where(panel="contours")
    axes.set_xlim(np.min(contours["x"]), np.max(contours["x"]))
    axes.set_ylim(np.min(contours["y"]), np.max(contours["y"]))
    axes.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
    left, right, bottom, top = _ZOOM
    zoom.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    zoom.spines[:].set_visible(True)
    axes.indicate_inset_zoom(zoom, edgecolor=style.BLACK, lw=0.8)
    title = "gap F − F* at the end"
    axes.legend(loc="upper right", title=title, alignment="left", fontsize=style.SMALL)


def _draw_contours(axes: Axes, data: FigureData) -> None:
    """Worst risk, at levels that thicken towards the optimum."""
    rows = data.where(panel="contours")
    x, y = np.unique(rows["x"]), np.unique(rows["y"])
    worst = rows["upper"].reshape(len(y), len(x))
    levels = float(data.where(panel="optimum")["upper"][0]) + np.geomspace(0.03, 30, 14)
    axes.contour(x, y, worst, levels=levels, colors="#b5b5b5", linewidths=0.6, zorder=0)


def _draw_weights(axes: Axes, data: FigureData, alpha: float) -> None:
    """Weights of the tasks at each step, stacked, and those of the certificate."""
    rows = data.where(panel="path", series=_series(alpha))
    kept = np.isfinite(rows["weight_1"])
    weights = [rows[f"weight_{task}"][kept] for task in (1, 2, 3)]
    axes.stackplot(rows["step"][kept], *weights, colors=_TASKS, step="mid", lw=0)
    optimum = data.where(panel="optimum")
    for height in np.cumsum([optimum[f"weight_{task}"][0] for task in (1, 2)]):
        axes.axhline(height, color="white", ls="--", lw=1.2)
    axes.set_title(f"weights, {_LOOKS[_series(alpha)][2]}", color=_LOOKS[_series(alpha)][0])
    axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), xlim=(0, int(np.max(rows["step"][kept]))))
    if alpha == SHARPNESS[0]:
        style.label(axes, "dashed: optimal", (0.98, 0.08), xycoords="axes fraction", ha="right")
