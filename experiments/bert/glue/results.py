"""Tables of fine-tuning: dev scores by model and task, median and spread over seeds.

Only dev scores: test predictions are exported, and scored by GLUE's server alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from rich.table import Table

from experiments.bert.glue.tasks import TASKS

__all__ = ["NOTES", "Row", "headline", "markdown", "rows", "table", "to_data"]

METRIC_NAMES = {"accuracy": "acc.", "f1": "F1", "matthews": "Matthews", "spearman": "Spearman",
                "pearson": "Pearson"}  # fmt: skip
MISMATCHED = "MNLI-mm"
"""Column beside the eight; not in the average."""

NOTES = """\
Dev set, metric × 100: median (smallest–largest) over all runs of a row, which differ in the seeds
of pre-training and of fine-tuning. No run and no checkpoint was chosen on dev.
Avg. is the mean of the medians, with MNLI by its matched part only. (The paper's Avg. is not the
mean of its eight columns.)
"""


@dataclass(frozen=True)
class Row:
    """One arm: scores by column, × 100, one a run."""

    arm: str
    values: dict[str, tuple[float, ...]]

    def average(self, columns: Sequence[str]) -> float | None:
        """Mean of the medians of columns; None unless all are there."""
        if not all(self.values.get(column) for column in columns):
            return None
        return mean(median(self.values[column]) for column in columns)


def headline(result: dict[str, Any]) -> float:
    """The dev score of a run that stands for its task: Table 1's metric; MNLI's matched part."""
    task = TASKS[result["task"]]
    value: float = result["dev"][task.parts[0].name][task.metric]
    return value


def rows(results: Sequence[dict[str, Any]]) -> list[Row]:
    """A row an arm, in order of first appearance.

    Args:
        results: of `finetune`, all of the same configuration.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        columns = found.setdefault(result["arm"], {})
        for column, value in _scores(result).items():
            columns.setdefault(column, []).append(100 * value)
    return [
        Row(arm, {name: tuple(values) for name, values in columns.items()})
        for arm, columns in found.items()
    ]


def table(made: Sequence[Row], title: str) -> Table:
    """For the terminal: median and, below, spread; the largest of a column is bold."""
    shown = Table(title=title)
    shown.add_column("")
    names = _names(made)
    for name in names:
        shown.add_column(_title(name, "\n"), justify="right")
    shown.add_column(f"Avg.\n({len(_averaged(made))})", justify="right")
    shown.add_column("runs", justify="right")
    for row in made:
        cells = [_cell(made, row, name, "[bold]", "\n{}") for name in names]
        shown.add_row(row.arm, *cells, _average(made, row, "[bold]"), _runs(row))
    return shown


def markdown(made: Sequence[Row]) -> str:
    """The same as Markdown, with notes."""
    names = _names(made)
    head = ["", *(_title(name, " ") for name in names), f"Avg. ({len(_averaged(made))})", "runs"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in made:
        cells = [_cell(made, row, name, "**", " ({})") for name in names]
        cells += [_average(made, row, "**"), _runs(row)]
        lines.append(f"| {row.arm} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", NOTES])


def to_data(made: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain data for JSON: every value, medians, averages."""
    return [
        {
            "arm": row.arm,
            "values": {name: list(values) for name, values in row.values.items()},
            "median": {name: median(values) for name, values in row.values.items()},
            "average": row.average(_averaged(made)),
        }
        for row in made
    ]


def _scores(result: dict[str, Any]) -> dict[str, float]:
    """Scores of a run by column."""
    task = TASKS[result["task"]]
    found = {task.title: headline(result)}
    for metric in task.metrics[1:]:
        found[f"{task.title} {metric}"] = result["dev"][task.parts[0].name][metric]
    if "mismatched" in result["dev"]:
        found[MISMATCHED] = result["dev"]["mismatched"][task.metric]
    return found


def _names(made: Sequence[Row]) -> list[str]:
    """Columns that some arm has, in the order of Table 1; MNLI-mm after MNLI."""
    order = [title for task in TASKS.values() for title in _columns_of(task.title)]
    return [name for name in order if any(name in row.values for row in made)]


def _columns_of(title: str) -> tuple[str, ...]:
    return (title, MISMATCHED) if title == "MNLI" else (title,)


def _averaged(made: Sequence[Row]) -> list[str]:
    return [name for name in _names(made) if name != MISMATCHED]


def _title(name: str, between: str) -> str:
    (task,) = (task for task in TASKS.values() if name in _columns_of(task.title))
    return f"{name}{between}{METRIC_NAMES[task.metric]}"


def _runs(row: Row) -> str:
    """How many runs are behind the cells of a row."""
    counts = sorted({len(values) for values in row.values.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _cell(made: Sequence[Row], row: Row, name: str, mark: str, spread: str) -> str:
    values = row.values.get(name, ())
    if not values:
        return "–"
    medians = [median(each.values[name]) for each in made if each.values.get(name)]
    text = _marked(median(values), medians, mark)
    if len(values) > 1:
        text += spread.format(_range(min(values), max(values)))
    return text


def _range(lower: float, upper: float) -> str:
    """Two numbers; with a word between, where a dash would stand beside a sign."""
    low, high = _number(lower), _number(upper)
    return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"


def _number(value: float) -> str:
    return f"{value:z.1f}".replace("-", "−")


def _average(made: Sequence[Row], row: Row, mark: str) -> str:
    columns = _averaged(made)
    value = row.average(columns)
    if value is None:
        return "–"
    return _marked(value, [v for each in made if (v := each.average(columns)) is not None], mark)


def _marked(value: float, all_values: Sequence[float], mark: str) -> str:
    """A value, marked if it is the largest as it is shown and another is smaller."""
    text = _number(value)
    shown = [round(each, 1) for each in all_values]
    best = round(value, 1) == max(shown) > min(shown)
    return f"{mark}{text}{mark.replace('[', '[/')}" if best else text
