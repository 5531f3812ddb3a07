r"""What sharpness buys and costs: the schedules of Algorithm 1, exact losses, minibatches.

With exact losses the gap after K steps is at most :math:`R_0L'/\sqrt K+c_T/\bar\alpha`,
:math:`\bar\alpha` the harmonic mean of the sharpness (A3): more sharpness never hurts the
bound, and both of its terms are attained. With minibatches it is at most
:math:`R_0L'/\sqrt K+\log T/\alpha+\min(\alpha\sigma^2/2b,\ \sigma\sqrt{2\log T/b})` (B3): the
last two terms are no less at :math:`\alpha=\infty` than at :math:`\alpha=\sqrt{2b\log T}/\sigma`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import smoothing_measured, style
from figures.data import FigureData
from figures.smoothing_measured import ERRORS, FAMILY, NAME

SUMMARY = "gap of Algorithm 1 against sharpness: its schedules, exact losses, and minibatches"

__all__ = ["NAME", "SUMMARY", "compute", "draw", "finding", "worst"]

compute = smoothing_measured.compute

_LOOKS = {
    "paper": (style.BLUE, "o", "printed"),
    "log T": (style.SKY, "s", r"$2\sqrt{k+1}\,\log T/R_0L'$"),
    "sharpened": (style.GREEN, "^", r"$2\sqrt{k+1}\,c_T/R_0L'$"),
    "constant": (style.PURPLE, "D", r"$\sqrt{K}\,c_T/R_0L'$"),
    "alpha = 1": (style.VERMILLION, "X", "1 (Remark 3.3)"),
}
"""Colour, marker and name of each schedule."""

_FORMULAS = {
    "bound": (style.BLACK, "-", r"bound $R_0L'/\sqrt{K}+c_T/\bar\alpha$"),
    "descent": (style.GREY, ":", r"$R_0L'/\sqrt{K}$"),
    "softmax": (style.GREY, "--", r"$c_T/\bar\alpha$"),
}
_INSTANCES: Mapping[str, tuple[str, str, str]] = {
    "one opposed": (style.ORANGE, "v", "one task opposed by T − 1"),
    "copies": (style.GREY, "o", "hardest function, T copies"),
    "angled": (style.BLACK, "*", "angled instance (B6)"),
    FAMILY: (style.SKY, ".", "random linear tasks"),
}
"""Colour, line or marker, and legend."""

_BATCH_COLOURS = (style.VERMILLION, style.PURPLE, style.BLUE)
INFINITE = 1_500.0
"""Where the hard maximum stands on the axis."""


@style.styled
def draw(data: FigureData) -> Figure:
    """Draw the schedules, exact losses and minibatches.

    Args:
        data: as `compute` returns them.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(style.WIDTH, 4.9))
    effort, steps = data.parameters["effort"], data.parameters["steps"]
    style.title(
        figure,
        finding(data),
        f"Gap of the averaged iterate after K = {steps:,} steps; random tasks: certified, worst "
        f"of {effort['instances']} instances, T = d = {effort['tasks']}; minibatches: mean of "
        f"{data.parameters['replicates']:,} runs",
    )
    grid = figure.add_gridspec(
        1,
        3,
        left=0.062,
        right=0.988,
        top=0.815,
        bottom=0.245,
        wspace=0.27,
        width_ratios=(8, 11, 11),
    )
    left, middle, right = (figure.add_subplot(grid[i]) for i in range(3))
    _draw_schedules(left, data.where(panel="schedules"))
    _draw_exact(middle, data.where(panel="exact"))
    _draw_minibatch(right, data.where(panel="minibatch"), data.parameters["batches"])
    handles = middle.get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=4, columnspacing=1.6)
    return figure


def finding(data: FigureData) -> str:
    """The title: what the numbers say, whatever they are."""
    exact, noisy = data.where(panel="exact"), data.where(panel="minibatch", batch=1)
    kept = not np.any(data["lower"] > data["bound"] * (1 + 1e-9))
    descent = float(np.max(exact.where(series="descent")["upper"]))
    sharpest = [worst(exact, series)[1][-1] for series in ("one opposed", "copies", FAMILY)]
    free = kept and max(sharpest) <= descent * (1 + 1e-9)
    first = f"With exact losses α → ∞ costs {'nothing' if free else 'something'}"
    floor = float(np.min(noisy.where(series="measured")["lower"]))
    return f"{first}; with single samples {floor:.2f} loss units remain at any α"


def worst(rows: FigureData, series: str) -> tuple[Any, Any]:
    """Abscissae of a series and the largest upper end over the instances at each."""
    chosen = rows.where(series=series)
    x = np.unique(chosen["x"])
    return x, np.array([np.max(chosen.where(x=each)["upper"]) for each in x])


def _draw_schedules(axes: Axes, rows: FigureData) -> None:
    """Sharpness of each step, marked at the last."""
    axes.set_title("schedules, one instance")
    for series, (color, marker, text) in _LOOKS.items():
        x, alpha = worst(rows, series)
        axes.plot(x, alpha, color=color, marker=marker, ms=6.5, markevery=[-1], label=text)
    axes.set(xscale="log", yscale="log", xlabel="step $k+1$")
    axes.set_ylim(top=6e4)
    axes.set_ylabel(r"sharpness $\alpha_k$, in units of $1/R_0L'$")
    axes.legend(loc="upper left", fontsize=style.SMALL, handlelength=1.5, borderaxespad=0.2)


def _draw_exact(axes: Axes, rows: FigureData) -> None:
    """The bound, its parts, instances that attain them, and random tasks with all schedules."""
    axes.set_title("exact losses: both terms are attained")
    for series, (color, line, text) in _FORMULAS.items():
        axes.plot(*worst(rows, series), color=color, ls=line, lw=1.3, label=text)
    for series, (color, marker, text) in _INSTANCES.items():
        size = 11 if marker == "*" else 4
        axes.plot(
            *worst(rows, series), color=color, marker=marker, ms=size, lw=1.0, label=text, zorder=3
        )
    for series, (color, marker, _) in _LOOKS.items():
        chosen = rows.where(series=series)
        index = int(np.argmax(chosen["upper"]))
        x, gap = chosen["x"][index], chosen["upper"][index]
        axes.plot(x, gap, color=color, marker=marker, ms=6.5, ls="none", zorder=4)
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=3e-3)
    axes.set_xlabel(r"(harmonic mean) sharpness $\bar\alpha$, in units of $1/R_0L'$")
    axes.set_ylabel(r"gap, in units of $R_0L'$")
    text = "larger markers: the schedules,\non random tasks"
    style.label(axes, text, (0.03, 0.04), xycoords="axes fraction", color=style.GREY)


def _draw_minibatch(axes: Axes, rows: FigureData, sizes: Sequence[int]) -> None:
    """Measured gaps, B3, and where B3 is least."""
    axes.set_title("minibatches: noise leaves a floor")
    for color, size in zip(_BATCH_COLOURS, sizes, strict=True):
        bound = rows.where(series="bound", batch=size)
        axes.plot(_place(bound["x"]), bound["upper"], color=color, lw=1.0)
        best = rows.where(series="best", batch=size)
        axes.plot(best["x"], best["upper"], color=color, marker="*", ms=10, ls="none")
        measured = rows.where(series="measured", batch=size)
        x, low, high = _place(measured["x"]), measured["lower"], measured["upper"]
        axes.vlines(x, low, high, color=color, lw=3.0)
        for end in (low, high):
            axes.plot(x, end, color=color, marker="_", ms=5, lw=0.6)
        style.label(axes, f"b = {size}", (x[-1], high[-1]), xytext=(0, 2), color=color, ha="right")
        style.label(
            axes, f"bound B3, b = {size}", (INFINITE, bound["upper"][-1]), xytext=(0, 4),
            color=color, ha="right",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="expected gap (loss units)")
    axes.set_xticks([1, 10, 100, INFINITE], ["1", "10", "100", "∞"])
    axes.set_xlabel(r"sharpness $\alpha$, per loss unit; $\bigstar$: $\sqrt{2b\,\log T}/\sigma$")
    axes.set_ylim(bottom=0.015)
    text = f"tasks θ + z, −θ/2 with z = ±1;\nbars: mean ± {ERRORS:.0f} standard errors"
    style.label(axes, text, (0.03, 0.04), xycoords="axes fraction", color=style.GREY)


def _place(x: Any) -> Any:
    """Abscissae, that of the hard maximum at the end of the axis."""
    return np.where(np.isfinite(x), x, INFINITE)
