from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a07_worst_case_downstream as a07
from theory.judge import Verdict, judge

EXPECTED = {
    "(9) mixtures": Verdict.HOLDS,
    "(9) vertex": Verdict.HOLDS,
    "Prop. 5.1": Verdict.HOLDS,
    "Λ = {1/T}": Verdict.REFUTED,
    "Λ = vertices": Verdict.CORRECTED,
    "shifted tasks": Verdict.CORRECTED,
    "their minima": Verdict.HOLDS,
}


def test_the_proposition_holds_on_the_simplex_and_reverses_for_the_uniform_mixture(context):
    assert verdicts(a07.CLAIM, context) == EXPECTED


def test_mixtures_off_the_simplex_exceed_the_vertices(context, monkeypatch):
    exact = a07._mixtures
    monkeypatch.setattr(a07, "_mixtures", lambda *a: 1.01 * exact(*a))
    assert verdicts(a07.CLAIM, context)["(9) mixtures"] is Verdict.FAILS


def test_mixtures_with_a_negative_share_exceed_the_vertices(context, monkeypatch):
    def signed(_, tasks):
        rows = np.eye(tasks) * 1.5
        rows[:, 0] -= 0.5
        return rows

    monkeypatch.setattr(a07, "_mixtures", signed)
    assert verdicts(a07.CLAIM, context)["(9) mixtures"] is Verdict.FAILS


def test_the_best_task_in_place_of_the_worst_fails(context, monkeypatch):
    exact = a07._simplex_maximum
    monkeypatch.setattr(a07, "_simplex_maximum", lambda losses: -exact(-losses))
    assert verdicts(a07.CLAIM, context)["(9) vertex"] is Verdict.FAILS


def test_near_tied_vertices_are_told_apart():
    losses = 2.0 + 1e-9 * np.arange(10)
    assert a07._simplex_maximum(losses) == pytest.approx(losses[-1], abs=1e-12)


def stage(checks):
    """Verdicts of one stage of the claim."""
    return {check.name: judge(check).verdict for check in checks}


def test_models_exchanged_fail(monkeypatch):
    exact = a07.certify

    def exchanged(problem, weights=None):
        found = exact(problem, a07._uniform(problem) if weights is None else None)
        if weights is not None:
            return found
        worst = np.max(problem.losses(found.point))
        return replace(found, lower=worst, upper=worst)

    monkeypatch.setattr(a07, "certify", exchanged)
    assert stage(a07._uniform_mixture())["Λ = vertices"] is Verdict.FAILS
    assert stage(a07._shifted())["shifted tasks"] is Verdict.FAILS


def test_models_exchanged_on_the_testbed_fail(context, monkeypatch):
    for name, case in context.cases.items():
        optimum = case.optimum
        average = a07.certify_batch(case.problem, a07._uniform(case.problem))
        worst = np.max(case.problem.losses(average.point), axis=-1)
        robust = replace(optimum, lower=worst, upper=worst)
        context._built[name] = replace(case, optimum=robust)
    points = {name: case.optimum.point for name, case in context.cases.items()}
    monkeypatch.setattr(a07, "_average_optima", lambda _: points)
    assert verdicts(a07.CLAIM, context)["Prop. 5.1"] is Verdict.FAILS


def test_the_average_model_as_robust_model_does_not_reverse(monkeypatch):
    exact = a07.certify
    monkeypatch.setattr(
        a07, "certify", lambda problem, _=None: exact(problem, a07._uniform(problem))
    )
    assert not stage(a07._uniform_mixture())["Λ = {1/T}"].good


def test_unshifted_tasks_have_zero_minimum(monkeypatch):
    exact = a07.absolute_pair
    monkeypatch.setattr(a07, "absolute_pair", lambda a, tasks, *_: exact(a, tasks))
    assert stage(a07._shifted())["their minima"] is Verdict.FAILS
