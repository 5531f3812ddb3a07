"""A table over seeds: rows of arms, columns of metrics, beside what the paper prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.estimates import Estimate, estimate, paired_difference
from experiments.tables.printed_values import Printed
from experiments.tables.store import PRETRAIN, Key

__all__ = ["REFERENCE", "Column", "Grid", "GridRow", "make_grid", "parts_of"]

REFERENCE = "None"
"""The row that others are compared with: the mean of the risks, Eq. (4)."""

Records = Mapping[str, Mapping[str, Any]]
"""Of one arm and seed, by part."""


@dataclass(frozen=True)
class Column:
    """A metric."""

    title: str
    metric: str
    """What it is, with its unit."""
    value: Callable[[Records], float | None]
    """Its number for one seed; None if a run is missing."""
    digits: int = 1
    more_is_better: bool = True
    parts: tuple[str, ...] = (PRETRAIN,)
    """Of which its number is made; empty if it is made of other columns."""
    upstream: bool = False
    """Whether it is a held-out risk of pre-training, which the paper does not print."""

    def text(self, number: float, *, signed: bool = False) -> str:
        """A number as it is shown."""
        shown = f"{number:{'+' if signed else ''}z.{self.digits}f}"
        return shown.replace("-", "−")


@dataclass(frozen=True)
class GridRow:
    """An arm."""

    name: str
    """As printed."""
    arm: str
    values: dict[str, dict[int, float]]
    """By title of the column and seed."""

    def estimate(self, column: Column) -> Estimate | None:
        """Mean over seeds; None without a number."""
        numbers = list(self.values.get(column.title, {}).values())
        return estimate(numbers) if numbers else None


@dataclass(frozen=True)
class Grid:
    """A table."""

    name: str
    """ "table1" or "table2"."""
    title: str
    preset: str
    columns: tuple[Column, ...]
    rows: tuple[GridRow, ...]
    printed: Mapping[str, Mapping[str, Printed]]
    """By row and title of the column."""
    notes: tuple[str, ...]
    records: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    """Everything it was made of."""

    def difference(self, row: GridRow, column: Column) -> Estimate | None:
        """A row less the reference row, paired by seed; None of the reference, or without seeds."""
        reference = next((each for each in self.rows if each.name == REFERENCE), None)
        if reference is None or row is reference:
            return None
        ours, theirs = (each.values.get(column.title, {}) for each in (row, reference))
        return paired_difference(ours, theirs)

    @property
    def seeds(self) -> int:
        """Most seeds behind a cell."""
        return max((len(v) for row in self.rows for v in row.values.values()), default=0)

    def missing(self) -> list[str]:
        """Cells without a number, for people."""
        return [
            f"{row.name}/{column.title}"
            for row in self.rows
            for column in self.columns
            if not row.values.get(column.title)
        ]


def parts_of(records: Mapping[Key, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Fine-tunings that some arm and seed has, by task: each makes a cell only with all of them.

    Args:
        records: of one preset of a study.
    """
    found: dict[str, set[str]] = {}
    for key in records:
        if key.part != PRETRAIN:
            found.setdefault(key.part.rpartition("-")[0], set()).add(key.part)
    return {task: sorted(parts) for task, parts in found.items()}


def make_grid(
    head: Mapping[str, Any],
    columns: Sequence[Column],
    rows: Mapping[str, str],
    records: Mapping[Key, Mapping[str, Any]],
) -> Grid:
    """Fill a table from records.

    Args:
        head: the other fields of `Grid`: name, title, preset, printed, notes.
        columns: of the table.
        rows: arm by printed name.
        records: of one preset of a study.
    """
    made = []
    for name, arm in rows.items():
        by_seed: dict[int, dict[str, Mapping[str, Any]]] = {}
        for key, record in records.items():
            if key.arm == arm:
                by_seed.setdefault(key.seed, {})[key.part] = record
        values: dict[str, dict[int, float]] = {}
        for column in columns:
            found = {seed: column.value(parts) for seed, parts in sorted(by_seed.items())}
            values[column.title] = {s: v for s, v in found.items() if v is not None}
        made.append(GridRow(name, arm, values))
    kept = {key: record for key, record in records.items() if key.arm in rows.values()}
    return Grid(columns=tuple(columns), rows=tuple(made), records=kept, **head)
