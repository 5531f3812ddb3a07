"""Tables of finished runs: risk of each class by arm, over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from experiments.bert.aggregates import AGGREGATES
from experiments.bert.tags import TASKS
from experiments.comparable import check_comparable

__all__ = ["REFERENCE", "Row", "arm_order", "markdown", "pieces", "rows", "table"]

REFERENCE = "average"
"""The arm that the others are compared with: Eq. (4), the paper's None."""


@dataclass(frozen=True)
class Row:
    """One arm: values by class or aggregate, one a seed."""

    arm: str
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    pieces: dict[str, int] = field(default_factory=dict)
    """Held-out pieces by class."""


def arm_order(results: Sequence[dict[str, Any]]) -> list[str]:
    """Arms in the order of every table: the reference first, then by the date of the first run."""
    by_date = sorted(results, key=lambda run: (run["arm"] != REFERENCE, str(run.get("date", ""))))
    return list(dict.fromkeys(run["arm"] for run in by_date))


def rows(results: Sequence[dict[str, Any]], arms: Sequence[str], split: str) -> list[Row]:
    """A row an arm, in the order given; arms without a finished run are left out.

    Args:
        results: from `experiments.records.collect`.
        arms: names in the order of the table.
        split: "valid" or "test".

    Raises:
        RecordError: the results are of different studies.
    """
    check_comparable(results)
    made = []
    for arm in arms:
        runs = [r for r in results if r["arm"] == arm and split in r]
        if not runs:
            continue
        columns = [_columns(run[split]) for run in runs]
        names = [*TASKS, *AGGREGATES.values()]
        values = {n: tuple(c[n] for c in columns if n in c) for n in names}
        made.append(
            Row(
                arm,
                tuple(run["seed"] for run in runs),
                {name: found for name, found in values.items() if found},
                {name: runs[0][split]["counts"][name] for name in TASKS},
            )
        )
    return made


def table(made: Sequence[Row], title: str) -> Table:
    """For the terminal: a row a class, a column an arm; the smallest value of a row is bold."""
    shown = Table(title=title)
    shown.add_column("")
    counts = pieces(made)
    if counts:
        shown.add_column("pieces", justify="right")
    for row in made:
        shown.add_column(row.arm, justify="right")
    names = _names(made)
    last_class = max((i for i, name in enumerate(names) if name in TASKS), default=None)
    for number, name in enumerate(names):
        cells = [_cell(row, name, best=_is_best(made, row, name), mark="[bold]") for row in made]
        count = [counts.get(name, "")] if counts else []
        shown.add_row(name, *count, *cells, end_section=number == last_class)
    return shown


def markdown(made: Sequence[Row]) -> str:
    """The same as Markdown."""
    counts = pieces(made)
    head = [*(["pieces"] if counts else []), *(row.arm for row in made)]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name in _names(made):
        cells = [_cell(row, name, best=_is_best(made, row, name), mark="**") for row in made]
        count = [counts.get(name, "")] if counts else []
        lines.append(f"| {name} | " + " | ".join([*count, *cells]) + " |")
    return "\n".join(lines) + "\n"


def pieces(made: Sequence[Row]) -> dict[str, str]:
    """Held-out pieces by class, as text; of runs on different text, the fewest and the most."""
    found: dict[str, list[int]] = {}
    for row in made:
        for name, count in row.pieces.items():
            found.setdefault(name, []).append(count)
    return {
        name: "–".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
        for name, counts in found.items()
    }


def _names(made: Sequence[Row]) -> list[str]:
    """Names of all values that some arm has, in order."""
    return list(dict.fromkeys(name for row in made for name in row.values))


def _columns(summary: dict[str, Any]) -> dict[str, float]:
    risks = {name: summary["risks"][name]["value"] for name in TASKS if name in summary["risks"]}
    return {**risks, **{title: summary[key]["value"] for key, title in AGGREGATES.items()}}


def _is_best(made: Sequence[Row], row: Row, name: str) -> bool:
    """Whether an arm has the smallest mean as it is shown, and another a larger one."""
    means = {each.arm: _mean(each.values[name]) for each in made if each.values.get(name)}
    if row.arm not in means:
        return False
    shown = [float(text) for text in means.values()]
    return float(means[row.arm]) == min(shown) < max(shown)


def _mean(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}"


def _cell(row: Row, name: str, *, best: bool, mark: str) -> str:
    """Mean over seeds, with the standard deviation if there are several."""
    values = row.values.get(name, ())
    if not values:
        return "–"
    text = _mean(values)
    if len(values) > 1:
        text += f" ± {stdev(values):.2f}"
    end = mark.replace("[", "[/")
    return f"{mark}{text}{end}" if best else text
