"""Tables, Markdown and figure of attached against detached weights."""

import io
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from experiments.mechanisms.attached import ATTACHED, DETACHED
from experiments.mechanisms.coefficients import attached_coefficients, trace

__all__ = ["draw", "markdown", "tables"]

COLOURS = {DETACHED: "#0072B2", ATTACHED: "#D55E00"}
"""Of Okabe and Ito, told apart with every common colour-vision deficiency."""

_LABELS = {
    DETACHED: "detached (Eq. 7): the weights",
    ATTACHED: "attached (authors' code)",
}
_HYPOTHETICAL = "attached, on the risks of the detached runs"


def tables(comparison: Mapping[str, Any]) -> tuple[Table, Table]:
    """For the terminal: coefficients by arm and task, and held-out risks.

    Args:
        comparison: of `experiments.mechanisms.attached.compare`.
    """
    found = []
    for title, head, rows in (
        ("Coefficients of the task gradients", _COEFFICIENTS, _coefficient_rows(comparison)),
        (_risk_title(comparison), _RISKS, _risk_rows(comparison)),
    ):
        table = Table(title=title)
        for number, name in enumerate(head[:_COLUMNS]):
            table.add_column(name, justify="left" if number < _left(head) else "right")
        for row in rows:
            table.add_row(*row[:_COLUMNS])
        found.append(table)
    return found[0], found[1]


def markdown(comparison: Mapping[str, Any]) -> str:
    """The same tables with what they mean and how they were made.

    Args:
        comparison: of `experiments.mechanisms.attached.compare`, with provenance.
    """
    lines = [
        "## Coefficients of the task gradients",
        "",
        *_lines(_COEFFICIENTS, _coefficient_rows(comparison)),
        "",
        _COEFFICIENT_NOTE,
        "",
        _condition_note(comparison),
        "",
        _rise_note(comparison),
        "",
        f"## {_risk_title(comparison)}",
        "",
        *_lines(_RISKS, _risk_rows(comparison)),
        "",
        _RISK_NOTE,
        "",
        "## How it was run",
        "",
        f"    {comparison['command']}",
        "",
        "- Versions: "
        + ", ".join(f"{name} {number}" for name, number in comparison["versions"].items()),
        f"- Date: {comparison['date']}",
        "- Minutes a run: "
        + ", ".join(
            f"{run['arm']}/{run['seed']} {run['seconds'] / 60:.1f}" for run in comparison["runs"]
        ),
        "",
        "Configuration of the detached arm (the other differs in `arms` alone):",
        "",
        "```yaml",
        comparison["configuration"].rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def draw(
    results: Mapping[str, Sequence[dict[str, Any]]], tasks: Sequence[str], alpha: float
) -> bytes:
    """Coefficients over the steps, a panel a task: means over seeds, single seeds pale.

    Args:
        results: ``result.json`` of both arms.
        tasks: names of the T tasks.
        alpha: sharpness of both, in 1 / loss units.

    Returns:
        A PNG.
    """
    found = {arm: [trace(result, tasks) for result in each] for arm, each in results.items()}
    used = {arm: [each.coefficients for each in runs] for arm, runs in found.items()}
    form = [attached_coefficients(each.risks, alpha) for each in found[DETACHED]]
    style = {"font.size": 9.5, "axes.spines.right": False, "axes.spines.top": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 3.5), dpi=160, layout="constrained")
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for place, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
            axis.axhline(0, color="#1a1a1a", linewidth=0.9)
            for arm, colour in COLOURS.items():
                _curves(axis, [each[:, place] for each in used[arm]], colour, "-", _LABELS[arm])
            curves = [each[:, place] for each in form]
            _curves(axis, curves, COLOURS[ATTACHED], ":", _HYPOTHETICAL)
            axis.set_title(task, loc="left", fontweight="bold")
            axis.set_xlabel("step")
        axes[0].set_ylabel("coefficient of the task's gradient")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _curves(axis: Axes, columns: Sequence[Any], colour: str, line: str, label: str) -> None:
    """Single runs pale, if there are several, and their mean over the steps that all have."""
    shortest = min(len(column) for column in columns)
    steps = np.arange(1, shortest + 1)
    values = np.stack([column[:shortest] for column in columns])
    if len(columns) > 1 and line == "-":
        for row in values:
            axis.plot(steps, row, color=colour, alpha=0.22, linewidth=0.6)
    axis.plot(steps, values.mean(0), line, color=colour, linewidth=1.4, label=label)


_COLUMNS = 6
"""Of a table on the terminal, which may be 80 characters wide; Markdown has all."""

_COEFFICIENTS = (
    "arm",
    "task",
    "c < 0, %",
    "last c < 0",
    "smallest",
    "largest |c|",
    "c < 0, % of single seeds",
    "sign changes",
    "first",
    "last",
)
_RISKS = ("task", DETACHED, ATTACHED, "difference", "95 % interval")


_COEFFICIENT_NOTE = (
    "c < 0: share of the steps, mean over seeds, and the latest such step of all seeds; smallest "
    "and largest |c| of all seeds; sign changes, first and last coefficient: means over seeds. *If "
    "attached* are the coefficients that the attached form would have had on the risks of the "
    "detached runs."
)
_RISK_NOTE = (
    "Means over seeds; differences are attached less detached, paired by seed, with Student's 95 % "
    "intervals over seeds."
)


def _condition_note(comparison: Mapping[str, Any]) -> str:
    checks = comparison["condition"]
    pairs, wrong = (sum(check[key] for check in checks) for key in ("pairs", "violations"))
    off = max(check["largest_difference"] for check in checks)
    return (
        f"c_t < 0 exactly if ℓ_t < Σ_s w_s ℓ_s − 1/α (α = {comparison['alpha']:g}): {wrong:,} "
        f"violations in {pairs:,} recorded pairs of step and task of the attached runs; recorded "
        f"coefficients differ from the formula in float64 by at most {off:.1e}."
    )


def _rise_note(comparison: Mapping[str, Any]) -> str:
    parts = []
    for arm in (DETACHED, ATTACHED):
        runs = [run["training_risks"] for run in comparison["runs"] if run["arm"] == arm]
        risks = [
            f"{task} {mean(run[task]['first'] for run in runs):.2f}, "
            f"{mean(run[task]['largest'] for run in runs):.2f} (step "
            f"{', '.join(str(run[task]['largest_at']) for run in runs)})"
            for task in comparison["tasks"]
        ]
        parts.append(f"{arm}: {'; '.join(risks)}")
    return f"Training risks at the first step and at their largest: {'. '.join(parts)}."


def _coefficient_rows(comparison: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for arm, key, label in (
        (DETACHED, "used", DETACHED),
        (DETACHED, "attached_form", "if attached"),
        (ATTACHED, "used", ATTACHED),
    ):
        runs = [run[key] for run in comparison["runs"] if run["arm"] == arm]
        for task in comparison["tasks"]:
            yield label, task, *_coefficient_cells([run[task] for run in runs])


def _coefficient_cells(runs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    shares = [100 * run["negative_share"] for run in runs]
    last = [run["last_negative"] for run in runs if run["last_negative"] is not None]
    return (
        f"{mean(shares):.1f}",
        f"step {max(last):,}" if last else "–",
        _signed(min(run["smallest"] for run in runs), 3),
        f"{max(run['largest_absolute'] for run in runs):.3f}",
        ", ".join(f"{share:.1f}" for share in shares),
        f"{mean(run['turns'] for run in runs):.1f}",
        _signed(mean(run["first"] for run in runs), 3),
        _signed(mean(run["last"] for run in runs), 3),
    )


def _risk_title(comparison: Mapping[str, Any]) -> str:
    count = len(comparison["seeds"])
    return (
        f"Reconstruction risks, {comparison['held_out_split']} "
        f"({count} seed{'' if count == 1 else 's'})"
    )


def _risk_rows(comparison: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, difference in comparison["differences"].items():
        values = [
            f"{mean(run['held_out'][name] for run in comparison['runs'] if run['arm'] == arm):.4f}"
            for arm in (DETACHED, ATTACHED)
        ]
        value, half = difference["value"], difference["half_width"]
        interval = "–" if half is None else f"{_signed(value - half)} to {_signed(value + half)}"
        yield name, *values, _signed(value), interval


def _left(head: Sequence[str]) -> int:
    """Columns of words."""
    return 2 if head[0] == "arm" else 1


def _lines(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """A table of Markdown."""
    yield "| " + " | ".join(name.replace("|c|", "\\|c\\|") for name in head) + " |"
    yield "|" + "".join("---|" if n < _left(head) else "---:|" for n in range(len(head)))
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
