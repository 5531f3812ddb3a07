"""The printed numbers, beside those that the ledger's claim A13 judges."""

from decimal import Decimal

import pytest

from experiments.tables.printed_values import (
    AVERAGE,
    TABLE_1,
    TABLE_2,
    Printed,
    printed_average_is_wrong,
    printed_gain,
)
from theory.claims import a13_tables_arithmetic as claim


def test_the_ledger_judges_the_same_numbers():
    bert = {name: cell.value for name, cell in TABLE_1["BERT"].items() if name != AVERAGE}
    assert bert == dict(claim.BERT)
    for name, gain in claim.TABLE_GAIN.items():
        assert printed_gain(TABLE_1, name, "BERT") == gain
    for row, value in claim.AVERAGE.items():
        assert TABLE_1[row][AVERAGE].value == value
    for row, value in claim.QNLI.items():
        assert TABLE_1[row]["QNLI"].value == value
    assert printed_gain(TABLE_1, "CoLA") == claim.COLA_GAIN_OVER_NONE
    columns = {"mIoU": "mIoU", "depth": "δ1"}
    for (measure, row), gain in claim.TABLE_2_GAIN.items():
        assert printed_gain(TABLE_2, columns[measure], row) == gain


def test_what_was_not_taken_down_is_not_made_up():
    assert printed_gain(TABLE_1, "RTE") is None
    assert printed_gain(TABLE_2, "accuracy") is None
    assert printed_gain(TABLE_1, "δ1") is None


def test_the_averages_of_whole_rows_are_wrong():
    assert [row for row, cells in TABLE_1.items() if printed_average_is_wrong(cells)] == [
        "BERT",
        "Minimax",
    ]


@pytest.mark.parametrize(("shift", "wrong"), [("0.00", False), ("0.09", False), ("0.11", True)])
def test_a_mean_may_be_rounded(shift, wrong):
    cells = {name: cell for name, cell in TABLE_1["BERT"].items() if name != AVERAGE}
    mean = sum(cell.value for cell in cells.values()) / len(cells)
    row = {**cells, AVERAGE: Printed(mean + Decimal(shift))}
    assert printed_average_is_wrong(row) is wrong
    del row["RTE"]
    assert not printed_average_is_wrong(row)
