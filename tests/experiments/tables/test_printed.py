"""Verdicts on the printed entries, from rows made by hand."""

import pytest

from experiments.tables.step_cost.printed import ENTRIES, READINGS, judge
from tests.experiments.tables.helpers import row
from theory.claims import a14_cost


def finding(rows, method):
    (one,) = [f for f in judge(rows) if f.entry.method == method]
    return one


def verdicts(rows, method):
    return [trial.verdict for trial in finding(rows, method).trials]


def test_the_ledger_quotes_the_same_entries():
    printed = {entry.method: entry.multiple for entry in ENTRIES}
    assert {name: printed[name] for name in a14_cost.PRINTED_FACTOR} == a14_cost.PRINTED_FACTOR


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, "wrong"), (1.33, "wrong"), (2.0, "right"), (2.05, "right")]
)
def test_a_multiple_of_a_step_is_compared_with_the_printed_one(ratio, expected):
    assert verdicts([row("minimax", ratio)], "Minimax") == [expected, "not measured"]


@pytest.mark.parametrize(("passes", "expected"), [(3, "wrong"), (6, "right"), (12, "wrong")])
def test_backward_passes_are_compared_in_units_of_the_tasks(passes, expected):
    rows = [row("uncertainty", execution="task by task", trunk_passes=passes)]
    assert verdicts(rows, "Uncertainty") == ["not measured", expected]


def test_one_implementation_right_in_every_setting_is_enough():
    rows = [row("gradnorm", 1.1, tasks=t) for t in (3, 9)]
    rows += [row("gradnorm", 4.0, execution="gradient norms", tasks=t) for t in (3, 9)]
    assert verdicts(rows, "GradNorm")[0] == "right"


def test_right_for_one_number_of_tasks_is_not_right():
    rows = [row("gradnorm", 4.0, tasks=3), row("gradnorm", 7.0, tasks=9)]
    assert verdicts(rows, "GradNorm")[0] == "in some settings"


def test_two_implementations_each_right_once_are_not_right():
    rows = [row("gradnorm", 4.0, tasks=3), row("gradnorm", 1.0, tasks=9)]
    rows += [row("gradnorm", 1.0, variant="other", tasks=3)]
    rows += [row("gradnorm", 4.0, variant="other", tasks=9)]
    assert verdicts(rows, "GradNorm")[0] == "in some settings"


def test_the_extent_of_the_measurements_is_kept():
    rows = [row("dwa", 1.0), row("dwa", 1.36, execution="losses apart")]
    assert finding(rows, "DWA").trials[0].multiples == (1.0, 1.36)
    assert finding(rows, "DWA").trials[1].multiples is None


def test_executions_that_a_reading_does_not_allow_are_left_out():
    assert verdicts([row("minimax", 2.0, execution="Jacobian")], "Minimax")[0] == "not measured"
    assert verdicts([row("STCH", 2.0)], "Minimax")[0] == "not measured"


@pytest.mark.parametrize(
    ("ratio", "passes", "summary"),
    [
        (1.0, 3, "wrong under every reading"),
        (3.0, 9, "right"),
        (3.0, 3, "depends on the reading"),
        (1.0, 9, "depends on the reading"),
    ],
)
def test_the_summary_is_over_all_readings(ratio, passes, summary):
    rows = [row("dwa", ratio), row("dwa", execution="task by task", trunk_passes=passes)]
    assert finding(rows, "DWA").summary == summary


def test_right_for_some_numbers_of_tasks_only_is_said():
    rows = [row("gradnorm", 4.0, tasks=5), row("gradnorm", 7.0, tasks=9)]
    rows += [row("gradnorm", execution="task by task", tasks=5, trunk_passes=5)]
    assert finding(rows, "GradNorm").summary == "right in some settings"


def test_nothing_measured_is_said():
    assert {found.summary for found in judge([])} == {"not measured"}
    assert all(len(found.trials) == len(READINGS) for found in judge([]))
