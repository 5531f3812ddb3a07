"""What the paper prints in Tables 1 and 2, as far as it was taken down, and what is wrong with it.

The whole tables were not at hand. Known are: the row BERT, which is published elsewhere (Devlin et
al. 2019, Table 1, GLUE test server); the gains of Minimax over it, column by column; Avg. of all
rows; two cells of None; and of Table 2 (ImageNet-S50) the cells and gains that the text quotes. A
cell that follows from a cell and a gain is marked as derived. Claim A13 of ``python -m theory``
checks the arithmetic of the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["AVERAGE", "TABLE_1", "TABLE_2", "Printed", "printed_average_is_wrong", "printed_gain"]

AVERAGE = "Avg."
_HALF_DIGIT = Decimal("0.05")
"""Half a unit of the last digit printed."""


@dataclass(frozen=True)
class Printed:
    """A cell as printed."""

    value: Decimal
    derived: bool = False
    """Whether it follows from another cell and a gain, both printed."""

    @property
    def text(self) -> str:
        """As it is shown."""
        return f"{self.value}{'*' if self.derived else ''}"


Row = Mapping[str, Printed]

_BERT = dict(zip(
    ("MNLI", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE"),
    map(Decimal, ("84.6", "71.2", "90.5", "93.5", "52.1", "85.8", "88.9", "66.4")),
    strict=True,
))  # fmt: skip
_GAIN = dict(zip(
    _BERT, map(Decimal, ("1.0", "5.7", "-1.9", "-2.2", "9.2", "-1.6", "-0.7", "4.3")), strict=True
))  # fmt: skip
"""Of Minimax over BERT."""
_COLA_OVER_NONE = Decimal("7.0")
"""Gain of Minimax over None on CoLA."""

_MINIMAX = {name: Printed(value + _GAIN[name], derived=True) for name, value in _BERT.items()}

TABLE_1: dict[str, Row] = {
    "BERT": {
        **{name: Printed(value) for name, value in _BERT.items()},
        AVERAGE: Printed(Decimal("79.6")),
    },
    "None": {
        "QNLI": Printed(Decimal("89.1")),
        "CoLA": Printed(_MINIMAX["CoLA"].value - _COLA_OVER_NONE, derived=True),
        AVERAGE: Printed(Decimal("79.3")),
    },
    "Minimax": {**_MINIMAX, AVERAGE: Printed(Decimal("81.4"))},
}
"""GLUE × 100, most likely of the test server; by row and column."""

TABLE_2: dict[str, Row] = {
    "None": {"mIoU": Printed(Decimal("51.9"))},
    "Minimax": {"accuracy": Printed(Decimal("91.8")), "mIoU": Printed(Decimal("61.5"))},
}
"""ImageNet-S50, 800 epochs, in per cent; by row and column."""

_GAINS_2: dict[tuple[str, str], Decimal] = {
    ("None", "δ1"): Decimal("22.0"),
    ("Uncertainty", "δ1"): Decimal("3.9"),
}
"""Gains of Minimax in Table 2 whose cells were not taken down; by other row and column."""


def printed_gain(table: Mapping[str, Row], column: str, other: str = "None") -> Decimal | None:
    """What the paper prints as gain of Minimax over another row; None if it is not known.

    Args:
        table: `TABLE_1` or `TABLE_2`.
        column: of the table.
        other: the row.
    """
    ours, theirs = table["Minimax"].get(column), table.get(other, {}).get(column)
    if ours is not None and theirs is not None:
        return ours.value - theirs.value
    return _GAINS_2.get((other, column)) if table is TABLE_2 else None


def printed_average_is_wrong(row: Row) -> bool:
    """Whether a printed Avg. is not the mean of the printed columns, up to rounding.

    Args:
        row: of `TABLE_1`; False unless all of its cells are known.
    """
    cells = [row[name].value for name in _BERT if name in row]
    if AVERAGE not in row or len(cells) < len(_BERT):
        return False
    # every printed cell may be off by half a digit, and the mean of them too
    return abs(sum(cells, Decimal()) / len(cells) - row[AVERAGE].value) > 2 * _HALF_DIGIT
