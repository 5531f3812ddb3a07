import itertools
from fractions import Fraction

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a01_objectives as a01
from theory.judge import Verdict, judge

MISPRINTS = {
    "Eq. (1), 1/n",
    "not P_t ≪ P",
    "B unchanged",
    "L' unchanged",
    "(3) distinct",
    "(3) one point",
}


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a01.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert found["reweighting"] is Verdict.HOLDS
    rest = {v for name, v in found.items() if name not in MISPRINTS | {"reweighting"}}
    assert rest == {Verdict.CORRECTED}


def test_a_divisor_of_its_own_fails_and_the_right_one_is_not_refuted(context, monkeypatch):
    monkeypatch.setattr(a01, "_empirical_risk", lambda losses, n: losses.sum(-1) / (n + 1))
    assert verdicts(a01.CLAIM, context)["Eq. (1), 1/N"] is Verdict.FAILS
    monkeypatch.setattr(a01, "_empirical_risk", lambda losses, _: losses.mean(-1))
    assert verdicts(a01.CLAIM, context)["Eq. (1), 1/n"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize("line", ["reweighting", "B sharp", "L' sharp", "risk constants"])
def test_an_upside_down_density_fails(context, monkeypatch, line):
    monkeypatch.setattr(a01, "_density", lambda task, p: p / np.maximum(task, 1e-9))
    assert verdicts(a01.CLAIM, context)[line] is Verdict.FAILS


def test_without_reweighting_nothing_is_refuted(context, monkeypatch):
    monkeypatch.setattr(a01, "_density", lambda task, _: np.ones_like(task))
    found = verdicts(a01.CLAIM, context)
    assert found["B unchanged"] is found["L' unchanged"] is Verdict.NOT_REFUTED
    assert found["reweighting"] is Verdict.FAILS


@pytest.mark.parametrize(("bound", "lipschitz"), [(1.7, 2.0), (2.0, 1.7)])
def test_an_understated_constant_of_the_risks_fails(context, bound, lipschitz):
    assert judge(a01._risk_constants(context, 2.0, 2.0)).verdict is Verdict.CORRECTED
    assert judge(a01._risk_constants(context, bound, lipschitz)).verdict is Verdict.FAILS


@pytest.mark.parametrize("line", ["(3) distinct", "(3) one point"])
def test_a_sample_count_that_depends_on_the_start_is_not_refuted(context, monkeypatch, line):
    monkeypatch.setattr(a01, "_samples_needed", lambda radius, *_: np.arange(radius.size))
    assert verdicts(a01.CLAIM, context)[line] is Verdict.NOT_REFUTED


def test_a_wrong_failure_threshold_changes_the_argmin(context, monkeypatch):
    exact = a01._failure_probability
    monkeypatch.setattr(
        a01, "_failure_probability", lambda radius, size, eps: exact(radius, size, 2 * eps)
    )
    assert verdicts(a01.CLAIM, context)["(3) a set"] is Verdict.FAILS


def test_failure_probability_agrees_with_listing_every_sample():
    for size, radius, epsilon in itertools.product((1, 4, 9), (0.3, 0.7, 2.0), (0.04, 0.1)):
        failing = Fraction(0)
        for signs in itertools.product((-1, 1), repeat=size):
            clipped = np.clip(sum(signs) / size, -radius, radius)
            failing += Fraction(int(clipped**2 / 2 >= epsilon), 2**size)
        found = a01._failure_probability(np.array([radius]), size, epsilon)[0]
        assert found == pytest.approx(float(failing), abs=1e-14)


def test_no_larger_sample_fails_where_the_search_stops():
    found = a01._samples_needed(np.array([2.0]), 0.1, 0.05)[0]
    failing = [a01._failure_probability(np.array([2.0]), n, 0.1)[0] > 0.05 for n in range(200)]
    assert found == 1 + max(n for n, fails in enumerate(failing) if fails)
