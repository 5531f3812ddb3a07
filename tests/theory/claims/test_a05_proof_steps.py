from dataclasses import replace

import numpy as np

from tests.theory.claims.helpers import verdicts
from theory import bounds
from theory.claims import a05_proof_steps as a05
from theory.judge import Verdict, judge

MISPRINTS = {"argmax", "(16), (C)"}


def test_misprints_are_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(a05.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert {v for name, v in found.items() if name not in MISPRINTS} == {Verdict.CORRECTED}


def test_a_softmax_gap_of_zero_breaks_the_convexity_step(context, monkeypatch):
    monkeypatch.setattr(bounds, "softmax_gap", lambda tasks, alpha: 0 * np.asarray(alpha))
    assert verdicts(a05.CLAIM, context)["(15)"] is Verdict.FAILS


def test_a_step_longer_than_recorded_breaks_the_expansion(context, monkeypatch):
    forward = a05.descend

    def longer(problem, schedule, start, **options):
        size = 2 * schedule.step_size
        return forward(problem, replace(schedule, step_size=size), start, **options)

    monkeypatch.setattr(a05, "descend", longer)
    assert verdicts(a05.CLAIM, context)["(14)"] is Verdict.FAILS


def test_the_printed_equality_is_not_refuted_for_a_single_step(context):
    """At K = 1 the missing 1/K does no harm, and the line says so."""
    context.effort = replace(context.effort, steps=(1, 1))
    assert verdicts(a05.CLAIM, context)["(16), (C)"] is Verdict.NOT_REFUTED


def test_a_minimiser_passes_for_the_printed_argmax(context, monkeypatch):
    case = context.cases["max-linear"]
    minima = replace(case.constants, loss_bound=case.optimum.lower)
    monkeypatch.setitem(vars(case), "constants", minima)
    assert judge(a05._argmax(context)).verdict is Verdict.NOT_REFUTED


def test_a_looser_schedule_does_not_earn_what_the_printed_one_does(context, monkeypatch):
    original = bounds.paper_schedule
    monkeypatch.setattr(bounds, "paper_schedule", lambda setting: 0.1 * original(setting))
    assert verdicts(a05.CLAIM, context)["printed earns"] is Verdict.FAILS
