import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import e01_task_count as e01
from theory.judge import Verdict


def test_sharpness_for_two_tasks_is_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(e01.CLAIM, context)
    assert found.pop("α for T=2") is Verdict.REFUTED
    assert set(found.values()) == {Verdict.CORRECTED}


@pytest.mark.parametrize(
    ("factor", "lines"),
    [
        (0.98, ("growth, least", "one opposed", "random losses")),
        (1.02, ("growth, most", "one opposed")),
    ],
)
def test_another_constant_fails(context, monkeypatch, factor, lines):
    right = e01.sharp_constant
    monkeypatch.setattr(e01, "sharp_constant", lambda tasks: factor * right(tasks))
    found = verdicts(e01.CLAIM, context)
    assert {found[line] for line in lines} == {Verdict.FAILS}


def test_losses_of_one_against_all_are_not_evenly_spaced(context, monkeypatch):
    right = e01.softmax_gap
    monkeypatch.setattr(e01, "softmax_gap", lambda f, a: right(np.where(f < 0, -3.0, f), a))
    assert verdicts(e01.CLAIM, context)["even spacing"] is Verdict.FAILS


def test_a_fifth_of_the_smoothing_error_fails_on_random_tasks(context, monkeypatch):
    right = e01.bounds.softmax_gap
    monkeypatch.setattr(e01.bounds, "softmax_gap", lambda tasks, alpha: right(tasks, alpha) / 5)
    found = verdicts(e01.CLAIM, context)
    assert found["random tasks"] is Verdict.FAILS


def test_a_schedule_that_knows_all_tasks_is_not_refuted(context, monkeypatch):
    monkeypatch.setattr(e01, "_for_two_tasks", e01.SCHEDULES["constant"])
    assert verdicts(e01.CLAIM, context)["α for T=2"] is Verdict.NOT_REFUTED


def test_a_blunt_schedule_loses_the_bound(context, monkeypatch):
    monkeypatch.setattr(e01, "SCHEDULES", dict.fromkeys(e01.SCHEDULES, e01.SCHEDULES["alpha = 1"]))
    assert verdicts(e01.CLAIM, context)["α knows T"] is Verdict.FAILS
