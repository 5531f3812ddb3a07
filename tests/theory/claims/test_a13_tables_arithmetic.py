from decimal import Decimal

import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a13_tables_arithmetic as a13
from theory.judge import Verdict

MISPRINTS = {"averages", "average gain", "gains, wrong", "every task", "one baseline"}


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a13.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert found.pop("gains, right") is Verdict.HOLDS
    assert {v for name, v in found.items() if name not in MISPRINTS} == {Verdict.CORRECTED}


def test_recorded_cells_agree_with_the_published_row():
    # QNLI of Minimax was recorded twice: as a cell, and as a difference from the published row
    assert a13.BERT["QNLI"] + a13.TABLE_GAIN["QNLI"] == a13.QNLI["Minimax"]


@pytest.mark.parametrize("shift", ["-0.1", "0.1"])
def test_no_verdict_depends_on_the_cell_that_is_uncertain(context, monkeypatch, shift):
    expected = verdicts(a13.CLAIM, context)
    for task in a13.BERT:
        moved = {**a13.BERT, task: a13.BERT[task] + Decimal(shift)}
        monkeypatch.setattr(a13, "BERT", moved)
        monkeypatch.setattr(a13, "ROW_UNCERTAINTY", Decimal())
        assert verdicts(a13.CLAIM, context) == expected
        monkeypatch.undo()


@pytest.mark.parametrize("row", ["BERT", "Minimax"])
def test_a_correct_average_is_not_refuted(context, monkeypatch, row):
    correct = {"BERT": "79.1", "Minimax": "80.9"}[row]
    monkeypatch.setattr(a13, "AVERAGE", {**a13.AVERAGE, row: Decimal(correct)})
    assert verdicts(a13.CLAIM, context)["averages"] in {Verdict.NOT_REFUTED, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("constant", "value", "line", "verdict"),
    [
        ("BERT_MNLI_MISMATCHED", "82.4", "BERT average", Verdict.FAILS),
        ("TEXT_AVERAGE_GAIN", "1.7", "average gain", Verdict.NOT_REFUTED),
        ("TEXT_AVERAGE_GAIN", "1.7", "source of 1.8", Verdict.FAILS),
        ("COLA_GAIN_OVER_NONE", "9.3", "CoLA baseline", Verdict.FAILS),
    ],
)
def test_another_number_changes_the_verdict(context, monkeypatch, constant, value, line, verdict):
    monkeypatch.setattr(a13, constant, Decimal(value))
    assert verdicts(a13.CLAIM, context)[line] is verdict


@pytest.mark.parametrize("task", ["MNLI", "QNLI", "SST-2"])
def test_a_text_gain_equal_to_the_table_is_not_refuted(context, monkeypatch, task):
    monkeypatch.setattr(a13, "TEXT_GAIN", {**a13.TEXT_GAIN, task: a13.TABLE_GAIN[task]})
    assert verdicts(a13.CLAIM, context)["gains, wrong"] is Verdict.NOT_REFUTED


def test_a_wrong_text_gain_fails(context, monkeypatch):
    monkeypatch.setattr(a13, "TEXT_GAIN", {**a13.TEXT_GAIN, "QQP": Decimal("5.8")})
    assert verdicts(a13.CLAIM, context)["gains, right"] is Verdict.FAILS


def test_a_table_without_the_defeat_is_not_refuted(context, monkeypatch):
    monkeypatch.setattr(a13, "QNLI", {**a13.QNLI, "None": Decimal("88.6")})
    assert verdicts(a13.CLAIM, context)["every task"] is Verdict.NOT_REFUTED


def test_swapped_baselines_change_the_verdicts_on_table_2(context, monkeypatch):
    gains = dict(a13.TABLE_2_GAIN)
    gains["depth", "None"], gains["depth", "Uncertainty"] = Decimal("3.9"), Decimal("22.0")
    monkeypatch.setattr(a13, "TABLE_2_GAIN", gains)
    found = verdicts(a13.CLAIM, context)
    assert found["one baseline"] is Verdict.NOT_REFUTED
    assert found["two baselines"] is Verdict.FAILS


def test_rounding_is_half_a_unit_of_the_last_digit():
    assert a13._rounding(Decimal("79.6")) == Decimal("0.05")
    assert a13._rounding(Decimal("-1")) == Decimal("0.5")
