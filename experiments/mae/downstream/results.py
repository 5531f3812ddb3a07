"""Tables of fine-tuning: an arm a row, a metric a column, mean ± standard deviation over runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from experiments.mae.downstream.configuration import TaskName
from experiments.records import require

__all__ = ["METRICS", "Metric", "Row", "markdown", "rows", "table", "to_data"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown."""

    title: str
    percent: bool = True
    more_is_better: bool = True

    def text(self, value: float) -> str:
        """A value as it is shown."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"


METRICS: dict[TaskName, dict[str, Metric]] = {
    "cls": {
        "accuracy": Metric("accuracy, %"),
        "top_5_accuracy": Metric("top 5, %"),
    },
    "semseg": {
        "mean_iou": Metric("mIoU, %"),
        "mean_accuracy": Metric("mean acc., %"),
        "pixel_accuracy": Metric("pixel acc., %"),
    },
    "depth": {
        "delta_1": Metric("δ1, %"),
        "delta_2": Metric("δ2, %"),
        "delta_3": Metric("δ3, %"),
        "abs_rel": Metric("rel", percent=False, more_is_better=False),
        "rmse": Metric("rmse, m", percent=False, more_is_better=False),
        "log10": Metric("log10", percent=False, more_is_better=False),
    },
}
"""What is shown of a task, its metric of the paper's Table 2 first."""


@dataclass(frozen=True)
class Row:
    """One arm: values by metric, one a run."""

    arm: str
    values: dict[str, tuple[float, ...]]

    @property
    def runs(self) -> int:
        """How many runs are behind it."""
        return max(len(values) for values in self.values.values())


def rows(task: TaskName, results: Sequence[dict[str, Any]]) -> list[Row]:
    """A row an arm, in order of first appearance.

    Args:
        task: of all results.
        results: contents of ``result.json``, of the same recipe and data.

    Raises:
        RecordError: a result lacks its numbers.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        require(result, "arm", "test")
        columns = found.setdefault(result["arm"], {})
        for name in METRICS[task]:
            if name in result["test"]:
                columns.setdefault(name, []).append(result["test"][name])
    return [
        Row(arm, {name: tuple(values) for name, values in columns.items()})
        for arm, columns in found.items()
    ]


def table(task: TaskName, made: Sequence[Row], title: str) -> Table:
    """For the terminal; the best mean of a column is bold."""
    shown = Table(title=title)
    shown.add_column("")
    names = _names(task, made)
    for name in names:
        shown.add_column(METRICS[task][name].title, justify="right")
    shown.add_column("runs", justify="right")
    for row in made:
        cells = [_cell(task, made, row, name, "[bold]{}[/bold]") for name in names]
        shown.add_row(row.arm, *cells, str(row.runs))
    return shown


def markdown(task: TaskName, made: Sequence[Row]) -> str:
    """The same as Markdown."""
    names = _names(task, made)
    head = ["", *(METRICS[task][name].title for name in names), "runs"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in made:
        cells = [_cell(task, made, row, name, "**{}**") for name in names]
        lines.append("| " + " | ".join([row.arm, *cells, str(row.runs)]) + " |")
    return "\n".join(lines) + "\n"


def to_data(made: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain data for JSON: every value, means, standard deviations (None of a single run)."""
    return [
        {
            "arm": row.arm,
            "values": {name: list(values) for name, values in row.values.items()},
            "mean": {name: mean(values) for name, values in row.values.items()},
            "deviation": {
                name: stdev(values) if len(values) > 1 else None
                for name, values in row.values.items()
            },
        }
        for row in made
    ]


def _names(task: TaskName, made: Sequence[Row]) -> list[str]:
    """Metrics that some arm has."""
    return [name for name in METRICS[task] if any(name in row.values for row in made)]


def _cell(task: TaskName, made: Sequence[Row], row: Row, name: str, mark: str) -> str:
    """Mean ± sample standard deviation; marked if no other mean is better as it is shown."""
    values, metric = row.values.get(name, ()), METRICS[task][name]
    if not values:
        return "–"
    text = metric.text(mean(values))
    means = [float(metric.text(mean(each.values[name]))) for each in made if name in each.values]
    best = max(means) if metric.more_is_better else min(means)
    if float(text) == best and min(means) < max(means):
        text = mark.format(text)
    return f"{text} ± {metric.text(stdev(values))}" if len(values) > 1 else text
