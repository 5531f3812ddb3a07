from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import e02_minimax_against_average as e02
from theory.judge import Verdict


def test_signed_tasks_are_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(e02.CLAIM, context)
    assert found.pop("signed tasks") is Verdict.REFUTED
    assert set(found.values()) == {Verdict.CORRECTED}


def test_exchanged_models_fail(context, monkeypatch):
    right = e02.certify

    def exchanged(problem, weights=None):
        uniform = np.full(problem.num_tasks, 1 / problem.num_tasks)
        other = right(problem, uniform if weights is None else None)
        return replace(right(problem, weights), point=other.point)

    monkeypatch.setattr(e02, "certify", exchanged)
    found = verdicts(e02.CLAIM, context)
    lines = "its gain", "its price", "product T", "at the price"
    assert [found[line] for line in lines] == [Verdict.FAILS] * 4


@pytest.mark.parametrize(("sign", "line"), [(-1, "gain"), (1, "gain × price")])
def test_wrong_values_at_the_models_fail(context, monkeypatch, sign, line):
    """Average risks in place of the worst, or worst risks summed over tasks."""

    def wrong(self):
        losses = self.problem.losses(self.average.point)
        value = np.mean(losses) if sign < 0 else losses.size * np.sum(losses)
        return e02._over(float(value), self.robust)

    monkeypatch.setattr(e02.Pair, "gain", property(wrong))
    assert verdicts(e02.CLAIM, context)[line] is Verdict.FAILS


def test_unequal_curvatures_leave_the_bound_of_four(context, monkeypatch):
    def steep(centers):
        curvatures = np.ones_like(centers)
        curvatures[0] = len(centers) - 1
        domain = e02.Ball.of(np.zeros(centers.shape[-1]), 6.0)
        return e02.DiagonalQuadratic(domain, curvatures, centers)

    monkeypatch.setattr(e02, "_distances_squared", steep)
    found = verdicts(e02.CLAIM, context)
    assert [found["4 approached"], found["at the price"]] == [Verdict.FAILS] * 2


def test_points_beyond_all_places_fail(context, monkeypatch):
    monkeypatch.setattr(e02.np, "median", lambda places: np.asarray(np.max(places) + 1.5))
    found = verdicts(e02.CLAIM, context)
    assert [found["distances"], found["2 attained"]] == [Verdict.FAILS] * 2


def test_tasks_without_the_shift_are_not_refuted(context, monkeypatch):
    right = e02.absolute_pair
    monkeypatch.setattr(e02, "absolute_pair", lambda steepness, tasks, *_: right(steepness, tasks))
    assert verdicts(e02.CLAIM, context)["signed tasks"] is Verdict.NOT_REFUTED
