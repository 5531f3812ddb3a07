from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a10_gradient_descent_ball as a10
from theory.judge import Verdict

MISPRINTS = {"any step size", "ERM in Θ_λ"}


def test_the_proposition_holds_and_its_overreach_is_refuted(context):
    found = verdicts(a10.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert {name for name, v in found.items() if v is Verdict.HOLDS} == {"Eq. (12)", "Eq. (11)"}
    assert set(found.values()) == {Verdict.HOLDS, Verdict.REFUTED, Verdict.CORRECTED}


@pytest.mark.parametrize("line", ["Eq. (12)", "attained, k=0"])
def test_a_smaller_ball_fails(context, monkeypatch, line):
    radius = a10.radius
    monkeypatch.setattr(a10, "radius", lambda excess, mu: 0.7 * radius(excess, mu))
    assert verdicts(a10.CLAIM, context)[line] is Verdict.FAILS


def test_a_radius_without_the_factor_two_fails(context, monkeypatch):
    monkeypatch.setattr(a10, "radius", lambda excess, mu: np.sqrt(excess / mu))
    assert verdicts(a10.CLAIM, context)["Eq. (12)"] is Verdict.FAILS


def test_a_third_of_the_radius_fails_everywhere(context, monkeypatch):
    radius = a10.radius
    monkeypatch.setattr(a10, "radius", lambda excess, mu: radius(excess, mu) / 3)
    found = verdicts(a10.CLAIM, context)
    for line in ("Eq. (12)", "Eq. (11)", "projected", "implementable"):
        assert found[line] is Verdict.FAILS


def test_a_larger_ball_is_not_attained(context, monkeypatch):
    radius = a10.radius
    monkeypatch.setattr(a10, "radius", lambda excess, mu: 1.01 * radius(excess, mu))
    assert verdicts(a10.CLAIM, context)["attained, k=0"] is Verdict.FAILS


def test_ascent_leaves_the_ball(context, monkeypatch):
    follow = a10.follow

    def ascend(risk, factors, steps):
        path = follow(risk, factors, steps)
        step = -np.asarray(factors)[:, None, None] / risk.smoothness[:, None]
        best, _ = risk.minimizer()
        theta = np.broadcast_to(risk.start, (len(factors), *risk.start.shape))
        distance = []
        for _ in range(steps + 1):
            distance.append(np.linalg.norm(theta - best, axis=-1))
            theta = risk.step(theta, step)
        return replace(path, distance=np.array(distance))

    monkeypatch.setattr(a10, "follow", ascend)
    found = verdicts(a10.CLAIM, context)
    for line in ("Eq. (12)", "Eq. (11)", "contraction", "attained, k=20"):
        assert found[line] is Verdict.FAILS


def test_a_contraction_by_strong_convexity_alone_fails(context, monkeypatch):
    monkeypatch.setattr(
        a10.bounds, "gradient_descent_distance", lambda mu, smooth, eta, k: abs(1 - eta * mu) ** k
    )
    found = verdicts(a10.CLAIM, context)
    assert found["contraction"] is found["attained, k=20"] is Verdict.FAILS


def test_a_contraction_one_step_ahead_fails(context, monkeypatch):
    factor = a10.bounds.gradient_descent_distance
    monkeypatch.setattr(
        a10.bounds, "gradient_descent_distance", lambda mu, s, eta, k: factor(mu, s, eta, k + 1)
    )
    found = verdicts(a10.CLAIM, context)
    assert found["contraction"] is found["attained, k=20"] is Verdict.FAILS


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_step_size_up_to_two_over_l_refutes_nothing(context, monkeypatch, factor):
    monkeypatch.setattr(a10, "TOO_LONG", factor)
    assert verdicts(a10.CLAIM, context)["any step size"] is Verdict.NOT_REFUTED


def test_a_step_size_beyond_two_over_l_among_the_claimed_fails(context, monkeypatch):
    monkeypatch.setattr(a10, "STEP_SIZES", (0.5, 2.5))
    found = verdicts(a10.CLAIM, context)
    assert found["Eq. (12)"] is Verdict.FAILS


def test_an_even_coin_keeps_the_empirical_minimiser_inside(context, monkeypatch):
    monkeypatch.setattr(a10, "RARE", Fraction(1, 2))
    assert verdicts(a10.CLAIM, context)["ERM in Θ_λ"] is Verdict.NOT_REFUTED


def test_leaving_probability_agrees_with_sampling_and_with_hand():
    assert a10.leaving_probability(1, Fraction(1, 10)) == Fraction(1, 10)
    # N = 5: at least three ones, for 2/5 - 1/10 is the radius itself
    expected = sum(c * 9 ** (5 - k) for k, c in ((3, 10), (4, 5), (5, 1)))
    assert a10.leaving_probability(5, Fraction(1, 10)) == Fraction(expected, 10**5)
    ones = np.random.default_rng(0).binomial(20, 0.3, 200_000)
    outside = np.mean((ones / 20 - 0.3) ** 2 > 0.21)
    assert float(a10.leaving_probability(20, Fraction(3, 10))) == pytest.approx(outside, abs=1e-3)
