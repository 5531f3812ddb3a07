"""What the traces say: a row an arm, of the network and of each convex control."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from taskrobust import sharp_constant

__all__ = ["NEAR", "Column", "Row", "Section", "sections"]

NEAR = 1.05
"""Factor on the best worst risk; the first step that is below it is reported."""


@dataclass(frozen=True)
class Row:
    """An arm: numbers of every seed by column; None where there is none."""

    arm: str
    values: Mapping[str, Sequence[float | None]]

    def cell(self, column: "Column", *, spread: bool = True) -> str:
        """Mean over seeds; of steps, the largest, if all seeds have them.

        Args:
            column: of the number.
            spread: whether the standard deviation is added, if seeds differ.
        """
        found = [value for value in self.values[column.key] if value is not None]
        if not found or (column.steps and len(found) < len(self.values[column.key])):
            return "–"
        if column.steps:
            return f"{max(found):,.0f}"
        mean = fmean(found)
        if math.isinf(mean):
            return "∞"
        more = f" ± {stdev(found):.{column.digits}f}" if spread and len(set(found)) > 1 else ""
        return f"{mean:.{column.digits}f}{more}"


@dataclass(frozen=True)
class Column:
    """A number: title, digits, whether it is a count of steps, and whether terminals show it."""

    key: str
    title: str
    digits: int = 3
    steps: bool = False
    terminal: bool = True


@dataclass(frozen=True)
class Section:
    """A table."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


NETWORK = (
    Column("alpha", "α, last", 2),
    Column("worst", "worst risk, last"),
    Column("gap", "gap to best of any arm"),
    Column("lowest", "worst risk, lowest"),
    Column("held_out", "held out, lowest"),
    Column("mean", "mean risk, last"),
    Column("smoothing", "F_α − F"),
    Column("smoothing_bound", "log T/α"),
    Column("gradient_norm", "‖∇F_α‖"),
    Column("clarke", "Clarke"),
    Column("near", f"steps to {NEAR} × best", steps=True),
)

CONTROL = (
    Column("alpha", "α, last", 2),
    Column("worst", "gap, last", 4),
    Column("averaged", "gap, mean iterate", 4),
    Column("bound", "bound (8')", 4),
    Column("sharp", "c_T/α", 4, terminal=False),
    Column("smoothing_bound", "log T/α", 4, terminal=False),
    Column("gradient_norm", "‖∇F_α‖", 4),
    Column("clarke", "Clarke", 4, terminal=False),
    Column("near", f"steps to {NEAR} × minimax", steps=True),
    Column("adam_worst", "Adam: gap, last", 4),
    Column("adam_clarke", "Adam: Clarke", 4),
    Column("adam_near", f"Adam: steps to {NEAR} ×", steps=True, terminal=False),
)


def sections(content: Mapping[str, Any]) -> list[Section]:
    """All tables of a study.

    Args:
        content: of ``nonconvex.json``.
    """
    made = [_network(content)]
    for encoder in dict.fromkeys(run["arm"] for run in content["control"]):
        runs = [run for run in content["control"] if run["arm"] == encoder]
        made.append(_control(content, encoder, runs))
    return made


def _network(content: Mapping[str, Any]) -> Section:
    runs = content["network"]
    best = {
        seed: min(min(_worst(run["trace"])) for run in runs if run["seed"] == seed)
        for seed in content["seeds"]
    }
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        found = [
            _network_numbers(run["trace"], best[run["seed"]], content["num_tasks"])
            for run in runs
            if run["arm"] == arm
        ]
        rows.append(_row(arm, found))
    return Section(
        f"Network (nats), {len(best)} seed{'s' if len(best) > 1 else ''}", NETWORK, tuple(rows)
    )


def _network_numbers(
    trace: Mapping[str, Any], best: float, num_tasks: int
) -> dict[str, float | None]:
    worst = _worst(trace)
    return {
        "worst": worst[-1],
        "gap": worst[-1] - best,
        "lowest": min(worst),
        "held_out": min(max(risks) for risks in trace["held_out"]),
        "mean": fmean(trace["risks"][-1]),
        "near": _first(trace["steps"], worst, NEAR * best),
        **_last(trace, num_tasks),
    }


def _control(content: Mapping[str, Any], encoder: str, runs: Sequence[Any]) -> Section:
    rows = []
    for arm in runs[0]["traces"]["theorem"]:
        found = [_control_numbers(run, arm, content["num_tasks"]) for run in runs]
        rows.append(_row(arm, found))
    width = max(run["certificate"]["upper"] - run["certificate"]["lower"] for run in runs)
    values = ", ".join(f"{run['certificate']['upper']:.4f}" for run in runs)
    title = (
        f"Convex control on the {encoder} encoder: minimax {values} nats by seed, certified to "
        f"{width:.0e}"
    )
    return Section(title, CONTROL, tuple(rows))


def _control_numbers(run: Mapping[str, Any], arm: str, num_tasks: int) -> dict[str, float | None]:
    optimum = run["certificate"]["upper"]
    plain, adam = (run["traces"][recipe][arm] for recipe in ("theorem", "adam"))
    last = _last(plain, num_tasks)
    inverse = plain["mean_inverse_alpha"]
    known = run["constants"]
    descent = known["radius"] * known["lipschitz"] / math.sqrt(plain["steps"][-1])
    return {
        **last,
        "worst": _worst(plain)[-1] - optimum,
        "averaged": plain["averaged_worst"][-1] - optimum,
        "bound": None if inverse is None else descent + sharp_constant(num_tasks) * inverse,
        "sharp": _over(sharp_constant(num_tasks), plain),
        "near": _first(plain["steps"], _worst(plain), NEAR * optimum),
        "adam_worst": _worst(adam)[-1] - optimum,
        "adam_clarke": adam["clarke"][-1],
        "adam_near": _first(adam["steps"], _worst(adam), NEAR * optimum),
    }


def _last(trace: Mapping[str, Any], num_tasks: int) -> dict[str, float | None]:
    """Sharpness, smoothing and stationarity at the last iterate."""
    alpha = trace["alpha"][-1]
    return {
        "alpha": math.inf if alpha is None else alpha,
        "smoothing": trace["smoothing"][-1],
        "smoothing_bound": _over(math.log(num_tasks), trace),
        "gradient_norm": trace["gradient_norm"][-1],
        "clarke": trace["clarke"][-1],
    }


def _over(value: float, trace: Mapping[str, Any]) -> float | None:
    """A number over the last sharpness: 0 for the hard maximum, None for the average."""
    alpha = trace["alpha"][-1]
    if alpha is None:
        return 0.0
    return value / alpha if alpha > 0 else None


def _worst(trace: Mapping[str, Any]) -> list[float]:
    return [max(risks) for risks in trace["risks"]]


def _first(steps: Sequence[int], values: Sequence[float], level: float) -> float | None:
    return next((float(k) for k, value in zip(steps, values, strict=True) if value <= level), None)


def _row(arm: str, found: Sequence[Mapping[str, float | None]]) -> Row:
    return Row(arm, {key: [numbers[key] for numbers in found] for key in found[0]})
