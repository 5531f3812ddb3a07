"""Curves and heights of all arms, of the network beside the convex controls."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from taskrobust import sharp_constant

__all__ = ["draw", "png"]

LEAST = 1e-3
"""Gaps below are drawn here, nats."""

Runs = Sequence[Mapping[str, Any]]
"""Traces of one arm, one a seed, with the value that gaps are to."""


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return content.getvalue()


def draw(content: Mapping[str, Any]) -> Figure:
    """Gap of the worst risk over steps; below, gap and stationarity at the end by sharpness.

    Args:
        content: of ``nonconvex.json``.
    """
    groups = _groups(content)
    colours = _colours(next(iter(groups.values())))
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    upper = figure.add_gridspec(2, 1)[0].subgridspec(1, len(groups))
    lower = figure.add_gridspec(2, 1)[1].subgridspec(1, 2)
    for place, (title, arms) in enumerate(groups.items()):
        _curves(figure.add_subplot(upper[place]), title, arms, colours, first=place == 0)
    _heights(figure.add_subplot(lower[0]), groups, content["num_tasks"])
    _stationarity(figure.add_subplot(lower[1]), groups)
    handles = [figure.axes[0].lines[index] for index in range(len(colours))]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _groups(content: Mapping[str, Any]) -> dict[str, dict[str, Runs]]:
    """By title and arm, the traces trained with Adam."""
    runs = content["network"]
    best = {
        seed: min(min(map(max, run["trace"]["risks"])) for run in runs if run["seed"] == seed)
        for seed in content["seeds"]
    }
    network: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        network.setdefault(run["arm"], []).append({**run["trace"], "best": best[run["seed"]]})
    made: dict[str, dict[str, Runs]] = {"network: gap to best arm": dict(network)}
    for encoder in dict.fromkeys(run["arm"] for run in content["control"]):
        found: dict[str, list[Mapping[str, Any]]] = {}
        for run in content["control"]:
            for arm, trace in run["traces"]["adam"].items():
                if run["arm"] == encoder:
                    best_here = run["certificate"]["upper"]
                    found.setdefault(arm, []).append({**trace, "best": best_here})
        made[f"head, {encoder} encoder: gap to minimax"] = dict(found)
    return made


def _colours(arms: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Colour and line by arm: constant sharpness from bright to dark, schedules dashed."""
    names = list(arms)
    return {
        name: (colormaps["turbo"](0.05 + 0.9 * place / max(1, len(names) - 1)), _line(name))
        for place, name in enumerate(names)
    }


def _line(name: str) -> str:
    return "-" if name.startswith("alpha") else "--"


def _curves(
    axes: Axes,
    title: str,
    arms: Mapping[str, Runs],
    colours: Mapping[str, tuple[Any, str]],
    *,
    first: bool,
) -> None:
    """Mean over seeds; the three panels have their own scales."""
    for arm, runs in arms.items():
        colour, line = colours[arm]
        axes.plot(runs[0]["steps"], _gaps(runs).mean(axis=0), line, color=colour, lw=1.5)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yscale("log")
    axes.set_xlabel("step of Adam")
    if first:
        axes.set_ylabel("worst training risk, gap (nats)")


def _gaps(runs: Runs) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``[seeds, points]``."""
    return np.array(
        [[max(LEAST, max(r) - run["best"]) for r in run["risks"]] for run in runs], dtype=float
    )


def _heights(axes: Axes, groups: Mapping[str, Mapping[str, Runs]], num_tasks: int) -> None:
    """Gap at the end by constant sharpness, beside the bounds of the softmax gap."""
    ends = []
    for marker, (title, arms) in zip("osD", groups.items(), strict=False):
        found = [(alpha, _gaps(runs)[:, -1]) for alpha, runs in _constant(arms)]
        ends += [alpha for alpha, _ in found]
        axes.plot(
            [alpha for alpha, _ in found],
            [gap.mean() for _, gap in found],
            f"-{marker}",
            label=title.partition(":")[0],
        )
        for alpha, gap in found:
            axes.plot([alpha, alpha], [gap.min(), gap.max()], "-", color="grey", lw=0.8, zorder=0)
    if ends:
        grid = np.geomspace(min(ends), max(ends), 50)
        axes.plot(grid, math.log(num_tasks) / grid, ":", color="black", label="log T/α")
        axes.plot(grid, sharp_constant(num_tasks) / grid, "-.", color="black", label="c_T/α")
    axes.set(xscale="log", yscale="log", xlabel="constant sharpness α (1/nats)")
    axes.set_ylabel("gap at the end (nats)")
    axes.set_title("how high it ends", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False)


def _stationarity(axes: Axes, groups: Mapping[str, Mapping[str, Runs]]) -> None:
    """Stationarity of the maximum at the end by constant sharpness, and of the smoothed risk."""
    for marker, colour, (title, arms) in zip(
        "osD", ("C0", "C1", "C2"), groups.items(), strict=False
    ):
        found = _constant(arms)
        alphas = [alpha for alpha, _ in found]
        name = title.partition(":")[0]
        for key, line, text in (
            ("clarke", "-", "Clarke distance"),
            ("gradient_norm", ":", "‖∇F_α‖"),
        ):
            values = [np.mean([run[key][-1] for run in runs]) for _, runs in found]
            axes.plot(alphas, values, f"{line}{marker}", color=colour, label=f"{name}: {text}")
    axes.set(xscale="log", yscale="log", xlabel="constant sharpness α (1/nats)")
    axes.set_ylabel("nats per unit of θ")
    axes.set_title("how stationary it ends", fontsize=10, loc="left")
    axes.legend(fontsize=7, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.15), frameon=False)


def _constant(arms: Mapping[str, Runs]) -> list[tuple[float, Runs]]:
    """Arms of one positive, finite sharpness, ascending."""
    found = [
        (float(runs[0]["alpha"][0]), runs)
        for runs in arms.values()
        if runs[0]["alpha"][0] and set(runs[0]["alpha"]) == {runs[0]["alpha"][0]}
    ]
    return sorted(found, key=lambda pair: pair[0])
