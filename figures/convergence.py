r"""Theorem 3.1 measured: certified gap of Algorithm 1 against the number of steps.

For each family of the testbed the gap :math:`F(\bar\theta_K)-F^*` in units of :math:`R_0L'`, the
worst of the instances, for every sharpness schedule with a guarantee and for the constant
:math:`\alpha=1` of Remark 3.3. In these units bound (8) is :math:`2/\sqrt K` for every instance.
Two further panels: the instances that attain the bound (B6), and smoothing (B2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style
from figures.data import Column, FigureData
from taskrobust.schedules import sharp_constant
from theory import bounds
from theory.descent import descend
from theory.problems import AngledWorstCase, DroriTeboulle, Float
from theory.schedules import SCHEDULES, Setting, stack
from theory.solvers.accelerated import accelerated
from theory.testbed import Case, Context

NAME = "convergence"
SUMMARY = "certified gap of Algorithm 1 against steps, with bound (8), by schedule and family"

FAMILIES = ("max-linear", "absolute", "logistic", "quadratic", "duplicates", "digits (real)")
"""Families of the testbed that are shown, by name."""

GUARANTEED = ("paper", "log T", "sharpened", "constant")
"""Schedules to which bound (8) applies."""

WITHOUT_GUARANTEE = "alpha = 1"
SMOOTHING_FAMILY = "max-linear"
TIGHT, SMOOTHING = "tight instances", "smoothing"

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "family of the testbed, or one of the two extra panels"),
    "series": Column("text", "schedule or method"),
    "steps": Column("integer", "number K of steps"),
    "instance": Column("integer", "index of the instance in its family"),
    "gap_lower": Column("number", "certified lower end of F(x) - F*, in units of R0 L'"),
    "gap_upper": Column("number", "certified upper end of F(x) - F*, in units of R0 L'"),
    "bound": Column("number", "guarantee for the gap, in units of R0 L'; empty if there is none"),
    "scale": Column("number", "R0 L' of the instance, loss units"),
}
Row = tuple[str, str, int, int, float, float, float, float]


def compute(context: Context) -> FigureData:
    """Run Algorithm 1 for every family, schedule and K of the context's effort.

    Args:
        context: testbed, effort (``steps`` is the grid of K, ``hard_steps`` the largest K of the
            tight instances) and seed.

    Returns:
        One row for each panel, series, K and instance.
    """
    rows = [
        *(row for name in FAMILIES for row in _family(context, name)),
        *_tight(context),
        *_smoothing(context),
    ]
    return FigureData.of(NAME, COLUMNS, rows, {"effort": asdict(context.effort)})


def _family(context: Context, name: str) -> Iterator[Row]:
    """Averaged iterates of all schedules; they share a run, as a batch axis of their own."""
    case = context.case(name)
    series = (*GUARANTEED, WITHOUT_GUARANTEE)
    for steps in context.effort.steps:
        context.note(f"{name}: Algorithm 1 with K = {steps:,}")
        setting = case.setting(steps)
        schedules = stack([SCHEDULES[each](setting) for each in series], case.problem.batch_shape)
        average = descend(case.problem, schedules, case.start).average
        for index, each in enumerate(series):
            guarantee = bounds.theorem_3_1(setting) if each in GUARANTEED else np.nan
            yield from _rows(name, each, steps, case, setting, average[index], guarantee)


def _smoothing(context: Context) -> Iterator[Row]:
    """Last iterates of gradient descent on the smooth maximum, and of its acceleration."""
    case = context.cases[SMOOTHING_FAMILY]
    for steps in context.effort.steps:
        context.note(f"smoothing: K = {steps:,}")
        setting = case.setting(steps)
        last = descend(case.problem, SCHEDULES["smoothed"](setting), case.start).last
        guarantee = bounds.smoothed_last_iterate(setting)
        yield from _rows(SMOOTHING, "last iterate", steps, case, setting, last, guarantee)
        last = accelerated(case.problem, setting, case.start).last
        guarantee = bounds.accelerated(setting)
        yield from _rows(SMOOTHING, "accelerated", steps, case, setting, last, guarantee)


def _rows(
    panel: str,
    series: str,
    steps: int,
    case: Case,
    setting: Setting,
    theta: Float,
    guarantee: Any,
) -> Iterator[Row]:
    """Certified gaps at ``theta[I, d]``, one row an instance."""
    scale = np.asarray(setting.radius * setting.lipschitz)
    lower, upper = (end / scale for end in case.gap(theta))
    relative = np.broadcast_to(guarantee / scale, scale.shape)
    numbers = zip(lower.tolist(), upper.tolist(), relative.tolist(), scale.tolist(), strict=True)
    for index, (low, high, bound, unit) in enumerate(numbers):
        yield panel, series, steps, index, low, high, bound, unit


def _tight(context: Context) -> Iterator[Row]:
    """B6: the hardest function for one task, and the angled instance; their optima are exact."""
    tasks = max(context.effort.tasks, 9)
    for steps in context.effort.steps:
        if steps > context.effort.hard_steps:
            continue
        context.note(f"tight instances: Algorithm 1 with K = {steps:,}")
        one = DroriTeboulle(steps)
        setting = Setting(1, steps, radius=one.start_radius, lipschitz=1.0)
        run = descend(one, SCHEDULES["constant"](setting), np.zeros(steps))
        yield _exact(TIGHT, "one task", setting, one.losses(run.average), one.optimum)
        # The constant is approached as the angle vanishes, but slower than v0 = 1/(sqrt K sin).
        angled = AngledWorstCase(steps, tasks, sharp_constant(tasks), sine=steps**-0.25)
        setting = Setting(tasks, steps, radius=angled.start_radius, lipschitz=1.0)
        for series in ("constant", "sharpened"):
            # One run each: the batch of both would no longer fit the cache (three times slower).
            average = descend(angled, SCHEDULES[series](setting), angled.start).average
            yield _exact(TIGHT, series, setting, angled.losses(average), angled.optimum)


def _exact(panel: str, series: str, setting: Setting, losses: Float, optimum: float) -> Row:
    """A row of an instance whose optimum is known in closed form."""
    scale = float(setting.radius * setting.lipschitz)
    gap = float(np.max(losses) - optimum) / scale
    bound = float(bounds.theorem_3_1(setting)) / scale
    return panel, series, setting.num_steps, 0, gap, gap, bound, scale


_LOOKS = {
    "paper": (
        style.BLUE,
        "o",
        r"printed, $4\sqrt{k+1}\,\log(4TB\sqrt{k+1}/R_0L')/R_0L'$",
    ),
    "log T": (style.SKY, "s", r"$\alpha_k=2\sqrt{k+1}\,\log T/R_0L'$"),
    "sharpened": (style.GREEN, "^", r"sharp, $\alpha_k=2\sqrt{k+1}\,c_T/R_0L'$"),
    "constant": (style.PURPLE, "D", r"constant, $\alpha=\sqrt{K}\,c_T/R_0L'$"),
    WITHOUT_GUARANTEE: (style.VERMILLION, "X", r"$\alpha=1$ of Remark 3.3"),
}
"""Colour, marker and legend of each schedule."""

_TITLES = {
    "max-linear": "max-linear",
    "absolute": "absolute regression",
    "logistic": "logistic regression",
    "quadratic": "quadratics",
    "duplicates": "duplicated tasks",
    "digits (real)": "real data: digits",
}

_TOP, _BOTTOM = 0.845, 0.185


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw six families, the tight instances and smoothing.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 6.3))
    effort = data.parameters["effort"]
    style.title(
        figure,
        finding(data),
        f"Certified gap of the averaged iterate after K steps, worst of {effort['instances']} "
        f"instances of T = {effort['tasks']} tasks in dimension {effort['dim']} "
        "(digits: one instance, T = 10, d = 65)",
    )
    rows = {"top": _TOP, "bottom": _BOTTOM, "hspace": 0.26}
    grid = figure.add_gridspec(2, 3, left=0.064, right=0.69, wspace=0.09, **rows)
    first: Axes = figure.add_subplot(grid[0, 0])
    lowest = 1.0
    for index, name in enumerate(FAMILIES):
        place = grid[divmod(index, 3)]
        axes = figure.add_subplot(place, sharex=first, sharey=first) if index else first
        _draw_family(axes, data.where(panel=name), _TITLES[name])
        axes.label_outer()
        lowest = min(lowest, *(np.min(line.get_ydata()) for line in axes.lines))
    first.set_ylim(0.4 * lowest, 1.2)
    side = figure.add_gridspec(2, 1, left=0.768, right=0.988, **rows)
    _draw_tight(figure.add_subplot(side[0], sharex=first), data.where(panel=TIGHT))
    _draw_smoothing(figure.add_subplot(side[1], sharex=first), data)
    middle = (_TOP + _BOTTOM) / 2
    figure.text(
        0.006, middle, r"gap $F(\bar\theta_K)-F^*$,  in units of $R_0L'$", rotation=90, va="center"
    )
    for center in (0.377, 0.878):
        figure.text(center, 0.122, "number of steps $K$", ha="center")
    figure.legend(
        *first.get_legend_handles_labels(),
        loc="lower center",
        ncols=4,
        columnspacing=1.4,
        handlelength=1.8,
    )
    return figure


def finding(data: FigureData) -> str:
    """The title: what the certified intervals say about the guarantee, whatever the data are."""
    kept = [
        bool(np.all(rows["gap_upper"] <= rows["bound"]))
        for name in FAMILIES
        for rows in (data.where(panel=name, series=series) for series in GUARANTEED)
    ]
    left = [np.any(_excess(data.where(panel=name)) > 0) for name in FAMILIES]
    proven = "keeps" if all(kept) else "should keep, but does not keep,"
    return (
        f"Every proven schedule {proven} the guarantee of Theorem 3.1; "
        f"α = 1 leaves it in {sum(left)} of {len(left)} families"
    )


def worst(rows: FigureData, series: str, column: str = "gap_upper") -> tuple[Any, Any]:
    """Each K of a series, and the largest value of a column over the instances."""
    chosen = rows.where(series=series)
    steps = np.unique(chosen["steps"])
    return steps, np.array([np.max(chosen.where(steps=k)[column]) for k in steps])


def _excess(rows: FigureData) -> Any:
    """By how much the certified gap of alpha = 1 exceeds bound (8), for each K."""
    _, gap = worst(rows, WITHOUT_GUARANTEE, "gap_lower")
    return gap - worst(rows, GUARANTEED[0], "bound")[1]


def _draw_family(axes: Axes, rows: FigureData, title: str) -> None:
    axes.set_title(title)
    steps, bound = worst(rows, GUARANTEED[0], "bound")
    axes.plot(steps, bound, color=style.BLACK, label=r"bound (8), $2/\sqrt{K}$")
    axes.plot(steps, bound / 2, color=style.BLACK, ls=":", label=r"descent part, $1/\sqrt{K}$")
    for name, (color, marker, text) in _LOOKS.items():
        axes.plot(*worst(rows, name), color=color, marker=marker, label=text)
    axes.fill_between(steps, bound, 10.0, color=style.PALE, lw=0, label="above the bound")
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(steps[0] / 1.25, steps[-1] * 1.25)
    ratio = worst(rows, WITHOUT_GUARANTEE)[1][-1] / bound[-1]
    options = {"xycoords": "axes fraction", "color": style.VERMILLION, "ha": "right"}
    text = f"α = 1 ends at {ratio:.0f} × (8)" if ratio > 9.5 else f"α = 1 ends at {ratio:.1f} × (8)"
    style.label(axes, text, (0.96, 0.92), **options)


def _draw_tight(axes: Axes, rows: FigureData) -> None:
    """Gaps over the descent part, so that 1 is the descent part and 2 is bound (8)."""
    axes.set_title("constant 2 is needed")
    steps, bound = worst(rows, "constant", "bound")
    descent = bound / 2
    axes.fill_between(steps, 2.0, 9.0, color=style.PALE, lw=0)
    axes.plot(steps, bound / descent, color=style.BLACK)
    for series, color, marker, text, at in (
        ("constant", style.PURPLE, "D", "10 tasks, constant α", 1.46),
        ("sharpened", style.GREEN, "^", r"10 tasks, sharp $\alpha_k$", 1.33),
        ("one task", style.GREY, "o", "one task", 1.06),
    ):
        steps, gap = worst(rows, series)
        axes.plot(steps, gap / descent[: len(gap)], color=color, marker=marker)
        style.label(axes, text, (steps[-1], at), color=color, ha="right")
    style.label(axes, "bound (8)", (steps[0], 2.0), xytext=(0, 4))
    axes.set(ylim=(0.8, 2.2), yticks=(1.0, 1.5, 2.0))
    axes.set_ylabel(r"gap, in units of $R_0L'/\sqrt{K}$")
    axes.tick_params(labelbottom=False)


def _draw_smoothing(axes: Axes, data: FigureData) -> None:
    """Last iterate and acceleration beside the averaged iterate, each with its guarantee."""
    rows = data.where(panel=SMOOTHING)
    axes.set_title("smoothing, max-linear")
    for chosen, series, color, marker, text in (
        (data.where(panel=SMOOTHING_FAMILY), "sharpened", style.GREEN, "^", "averaged iterate"),
        (rows, "last iterate", style.ORANGE, "v", "last iterate"),
        (rows, "accelerated", style.VIOLET, "P", "accelerated"),
    ):
        axes.plot(*worst(chosen, series, "bound"), color=color, lw=1.0, ls="--")
        axes.plot(*worst(chosen, series), color=color, marker=marker, label=text)
    axes.plot([], [], color=style.GREY, lw=1.0, ls="--", label="guarantees")
    axes.set(yscale="log", ylim=(4e-5, 1.2))
    axes.legend(loc="lower left", fontsize=style.SMALL, handlelength=1.6, borderaxespad=0.2)
    axes.set_ylabel(r"gap, in units of $R_0L'$")
