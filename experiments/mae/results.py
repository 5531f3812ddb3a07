"""Tables of finished pre-training runs: held-out risk of each task by arm, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from experiments.comparable import check_comparable
from experiments.records import require

__all__ = ["Row", "markdown", "rows", "table"]

AGGREGATES = ("worst", "mean")


@dataclass(frozen=True)
class Row:
    """One arm: values by task or aggregate, one a seed."""

    arm: str
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, ...]]


def rows(results: Sequence[dict[str, Any]], arms: Sequence[str]) -> list[Row]:
    """A row an arm: those of `arms` in their order, then others that have finished runs.

    Args:
        results: from `experiments.records.collect`.
        arms: names in the order of the table.

    Raises:
        RecordError: the results are of different studies, or one is not of pre-training.
    """
    check_comparable(results)
    for run in results:
        require(run, "held_out")
    names = dict.fromkeys([*arms, *(run["arm"] for run in results)])
    made = []
    for arm in names:
        runs = [run for run in results if run["arm"] == arm]
        if runs:
            columns = [_columns(run["held_out"]) for run in runs]
            values = {name: tuple(each[name] for each in columns) for name in columns[0]}
            made.append(Row(arm, tuple(run["seed"] for run in runs), values))
    return made


def table(made: Sequence[Row], title: str) -> Table:
    """For the terminal: a row an arm; the smallest value of a column is bold."""
    shown = Table(title=title)
    shown.add_column("arm")
    for name in _names(made):
        shown.add_column(name, justify="right")
    shown.add_column("seeds", justify="right")
    for row in made:
        cells = [_cell(made, row, name, "[bold]", "[/bold]") for name in _names(made)]
        shown.add_row(row.arm, *cells, str(len(row.seeds)))
    return shown


def markdown(made: Sequence[Row]) -> str:
    """The same as Markdown."""
    names = _names(made)
    lines = [
        "| arm | " + " | ".join([*names, "seeds"]) + " |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    for row in made:
        cells = [_cell(made, row, name, "**", "**") for name in names]
        lines.append(f"| {row.arm} | " + " | ".join([*cells, str(len(row.seeds))]) + " |")
    return "\n".join(lines) + "\n"


def _names(made: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in made for name in row.values))


def _columns(held_out: dict[str, Any]) -> dict[str, float]:
    risks = {name: each["value"] for name, each in held_out["risks"].items()}
    return {**risks, **{name: held_out[name] for name in AGGREGATES}}


def _cell(made: Sequence[Row], row: Row, name: str, begin: str, end: str) -> str:
    """Mean over seeds, with the standard deviation if there are several."""
    values = row.values.get(name, ())
    if not values:
        return "–"
    text = f"{mean(values):.4f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.4f}"
    means = [mean(each.values[name]) for each in made if each.values.get(name)]
    best = mean(values) == min(means) < max(means)
    return f"{begin}{text}{end}" if best else text
