"""Whether runs support what the paper prints: paired differences against printed gains, by rule.

A difference between two arms, paired by seed of pre-training, supports a printed gain if its 95 %
interval is on the gain's side of 0, contradicts it if the interval is on the other side, and cannot
tell otherwise, as with seeds that agree to the last digit. One seed has no interval, and is told
apart. Only signs are compared: sizes depend on scale.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from experiments.estimates import Estimate, paired_difference
from experiments.report.collect import TableOf
from experiments.tables.grid import REFERENCE, Column, Grid
from experiments.tables.printed_values import AVERAGE, TABLE_1, TABLE_2, printed_gain

__all__ = ["METHOD", "Comparison", "Verdict", "compare", "verdict_of"]

METHOD = "Minimax"
"""The row of the paper's method."""

_PRINTED = {"table1": TABLE_1, "table2": TABLE_2}
_OTHERS = {
    "table1": {REFERENCE: REFERENCE, "token mean": "BERT"},
    "table2": {REFERENCE: REFERENCE, "Uncertainty": "Uncertainty"},
}
"""Rows that Minimax is compared with, and the printed rows that they stand beside. Ordinary BERT is
the mean over pieces."""


class Verdict(StrEnum):
    """What runs say of one number."""

    SUPPORTS = "supports"
    CONTRADICTS = "contradicts"
    CANNOT_TELL = "cannot tell"
    ONE_SEED = "one seed"
    BETTER = "better"
    WORSE = "worse"

    @property
    def decided(self) -> bool:
        """Whether the interval is on one side of 0."""
        return self not in {Verdict.CANNOT_TELL, Verdict.ONE_SEED}


@dataclass(frozen=True)
class Comparison:
    """Minimax less another row, in one column."""

    column: Column
    other: str
    """The other row."""
    printed_other: str
    """The row of the paper that it stands beside."""
    difference: Estimate
    printed: Decimal | None
    """The printed gain; None if it is not known."""

    @property
    def verdict(self) -> Verdict:
        """By the rule of this module; better or worse without a printed gain."""
        return verdict_of(self.difference, self.printed, self.column.more_is_better)


def verdict_of(difference: Estimate, printed: Decimal | None, more_is_better: bool) -> Verdict:
    """Judge one difference.

    Args:
        difference: paired by seed, with its interval.
        printed: the gain that the paper prints; None if it prints none.
        more_is_better: of the metric; used without a printed gain only.
    """
    if difference.interval is None:
        return Verdict.ONE_SEED
    if difference.sign == 0 or printed == 0:
        return Verdict.CANNOT_TELL
    if printed is None:
        better = (difference.sign > 0) == more_is_better
        return Verdict.BETTER if better else Verdict.WORSE
    same = (difference.sign > 0) == (printed > 0)
    return Verdict.SUPPORTS if same else Verdict.CONTRADICTS


def compare(table: TableOf) -> list[Comparison]:
    """Minimax less each row that the paper compares it with, in every column that both have.

    Args:
        table: of a preset.
    """
    grid = table.grid
    rows = {row.name: row for row in grid.rows}
    if METHOD not in rows:
        return []
    found = []
    for other, printed_other in _OTHERS[grid.name].items():
        for column in grid.columns if other in rows else ():
            ours, theirs = (rows[name].values.get(column.title, {}) for name in (METHOD, other))
            difference = paired_difference(ours, theirs)
            if difference is not None:
                gain = _gain(grid, column, printed_other)
                found.append(Comparison(column, other, printed_other, difference, gain))
    return found


def _gain(grid: Grid, column: Column, other: str) -> Decimal | None:
    """The printed gain of a column; of an average only if it is over all printed columns."""
    printed = _PRINTED[grid.name]
    averaged = {title for cells in printed.values() for title in cells} - {AVERAGE}
    some = column.title == AVERAGE and not averaged <= {each.title for each in grid.columns}
    return None if column.upstream or some else printed_gain(printed, column.title, other)
