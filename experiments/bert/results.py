"""Tables of finished runs: risk of each class by arm, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from experiments.bert.records import AGGREGATES
from experiments.bert.tags import TASKS

__all__ = ["Row", "markdown", "rows", "table"]


@dataclass(frozen=True)
class Row:
    """One arm: values by column, one a seed."""

    arm: str
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, ...]]


def rows(results: Sequence[dict[str, Any]], arms: Sequence[str], split: str) -> list[Row]:
    """A row an arm, in the order given; arms without a finished run are left out.

    Args:
        results: from `experiments.bert.records.collect`.
        arms: names in the order of the table.
        split: "valid" or "test".
    """
    made = []
    for arm in arms:
        runs = [r for r in results if r["arm"] == arm and split in r]
        if not runs:
            continue
        columns = [_columns(run[split]) for run in runs]
        names = [*TASKS, *AGGREGATES.values()]
        values = {n: tuple(c[n] for c in columns if n in c) for n in names}
        made.append(
            Row(arm, tuple(r["seed"] for r in runs), {n: v for n, v in values.items() if v})
        )
    return made


def table(made: Sequence[Row], title: str) -> Table:
    """For the terminal: a row a class, a column an arm; the smallest value of a row is bold."""
    shown = Table(title=title)
    shown.add_column("")
    for row in made:
        shown.add_column(row.arm, justify="right")
    for name in _names(made):
        cells = [_cell(row, name, best=_is_best(made, row, name), mark="[bold]") for row in made]
        shown.add_row(name, *cells, end_section=name == TASKS[-1])
    return shown


def markdown(made: Sequence[Row]) -> str:
    """The same as Markdown."""
    head = [row.arm for row in made]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name in _names(made):
        cells = [_cell(row, name, best=_is_best(made, row, name), mark="**") for row in made]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _names(made: Sequence[Row]) -> list[str]:
    """Names of all values that some arm has, in order."""
    return list(dict.fromkeys(name for row in made for name in row.values))


def _columns(summary: dict[str, Any]) -> dict[str, float]:
    risks = {name: summary["risks"][name]["value"] for name in TASKS if name in summary["risks"]}
    return {**risks, **{title: summary[key]["value"] for key, title in AGGREGATES.items()}}


def _is_best(made: Sequence[Row], row: Row, name: str) -> bool:
    """Whether an arm has the smallest mean of a column, two arms at least."""
    means = {each.arm: mean(each.values[name]) for each in made if each.values.get(name)}
    return len(means) > 1 and means.get(row.arm) == min(means.values())


def _cell(row: Row, name: str, *, best: bool, mark: str) -> str:
    """Mean over seeds, with the standard deviation if there are several."""
    values = row.values.get(name, ())
    if not values:
        return "–"
    text = f"{mean(values):.2f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.2f}"
    end = mark.replace("[", "[/")
    return f"{mark}{text}{end}" if best else text
