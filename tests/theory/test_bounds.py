"""Bounds against literal re-derivations, and against the schedules they belong to."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import lambertw

from theory import bounds, sample_bounds
from theory.schedules import SCHEDULES, Setting

positive = st.floats(0.01, 100)


def c(tasks):
    return float(lambertw((tasks - 1) / math.e).real)


def setting(tasks=5, steps=20, radius=0.8, lipschitz=2.5, **others):
    return Setting(tasks, steps, radius, lipschitz, **others)


@given(st.integers(1, 10_000), positive, positive)
def test_theorem_3_1_and_its_descent_part(steps, radius, lipschitz):
    chosen = setting(steps=steps, radius=radius, lipschitz=lipschitz)
    half = radius * lipschitz / math.sqrt(steps)
    assert bounds.subgradient(chosen) == pytest.approx(half, rel=1e-12)
    assert bounds.theorem_3_1(chosen) == pytest.approx(2 * half, rel=1e-12)
    # the descent lemma at the step of Theorem 3.1: R0^2 / (2 eta K) + eta L'^2 / 2
    eta = radius / (lipschitz * math.sqrt(steps))
    lemma = radius**2 / (2 * eta * steps) + eta * lipschitz**2 / 2
    assert bounds.subgradient(chosen) == pytest.approx(lemma, rel=1e-12)


@given(st.integers(2, 1_000), st.integers(1, 300), positive, positive)
def test_sharpened_bound_is_the_literal_sum_and_within_theorem_3_1(tasks, steps, radius, lipschitz):
    chosen = setting(tasks, steps, radius, lipschitz)
    alpha = SCHEDULES["sharpened"](chosen).alpha
    literal = radius * lipschitz / math.sqrt(steps)
    literal += sum(c(tasks) / float(a) for a in alpha) / steps
    found = bounds.sharpened(chosen, alpha)
    assert found == pytest.approx(literal, rel=1e-11)
    assert found <= bounds.theorem_3_1(chosen)
    constant = bounds.sharpened(chosen, SCHEDULES["constant"](chosen).alpha)
    assert constant == pytest.approx(float(bounds.theorem_3_1(chosen)), rel=1e-11)


@given(st.integers(2, 1_000), st.integers(1, 300), positive)
def test_printed_schedule_earns_what_is_said(tasks, steps, loss_bound):
    chosen = setting(tasks, steps, loss_bound=loss_bound)
    scale = 0.8 * 2.5
    assume(4 * tasks * loss_bound > 1.01 * scale)
    literal = scale / math.sqrt(steps)
    literal *= 1 + c(tasks) / (2 * math.log(4 * tasks * loss_bound / scale))
    found = bounds.paper_schedule(chosen)
    assert found == pytest.approx(literal, rel=1e-11)
    # it follows from the sharpened bound by log(x sqrt(k+1)) >= log x and sum k^(-1/2) < 2 sqrt K
    assert bounds.sharpened(chosen, SCHEDULES["paper"](chosen).alpha) <= found * (1 + 1e-12)
    if 4 * loss_bound >= scale:
        assert found <= 0.75 * bounds.theorem_3_1(chosen) * (1 + 1e-12)


@pytest.mark.parametrize("tasks", [2, 3, 10, 1_000])
def test_softmax_gaps(tasks):
    alpha = np.array([0.1, 1.0, 30.0, np.inf])
    np.testing.assert_allclose(bounds.softmax_gap(tasks, alpha), c(tasks) / alpha, rtol=1e-12)
    np.testing.assert_allclose(bounds.smoothing(tasks, alpha), math.log(tasks) / alpha, rtol=1e-14)
    assert np.all(bounds.softmax_gap(tasks, alpha[:3]) < bounds.smoothing(tasks, alpha[:3]))


def test_printed_softmax_gap_halves_when_k_plus_one_quadruples():
    steps = np.array([0, 3, 15])
    np.testing.assert_allclose(
        bounds.printed_softmax_gap(setting(), steps), [1.0, 0.5, 0.25], rtol=1e-15
    )


@given(st.integers(1, 500), positive, positive)
def test_anytime_bound_covers_its_derivation(steps, diameter, lipschitz):
    chosen = setting(steps=steps, lipschitz=lipschitz, diameter=diameter)
    found = bounds.anytime(chosen)
    literal = 2.5 * diameter * lipschitz / math.sqrt(steps)
    assert found == pytest.approx(literal, rel=1e-12)
    schedule = SCHEDULES["anytime"](chosen)
    # telescoping with shrinking steps: D^2 / (2 eta_{K-1}) + L'^2 / 2 sum eta_k, then the softmax
    derived = diameter**2 / (2 * schedule.step_size[-1])
    derived += lipschitz**2 / 2 * np.sum(schedule.step_size) + np.sum(c(5) / schedule.alpha)
    assert derived / steps <= found * (1 + 1e-12)


@given(st.integers(1, 500), positive, positive)
def test_strongly_convex_bound_covers_its_derivation(steps, modulus, lipschitz):
    chosen = setting(steps=steps, lipschitz=lipschitz, strong_convexity=modulus)
    found = bounds.strongly_convex(chosen)
    literal = 4 * lipschitz**2 / (modulus * (steps + 1))
    assert found == pytest.approx(literal, rel=1e-12)
    schedule = SCHEDULES["strongly convex"](chosen)
    shares = schedule.averaging / np.sum(schedule.averaging)
    # with eta_k = 2 / (mu (k+2)) the distances telescope to zero and eta_k L'^2 / 2 remains
    derived = shares @ (schedule.step_size * lipschitz**2 / 2 + c(5) / schedule.alpha)
    assert derived <= found * (1 + 1e-12)


@given(st.integers(2, 1_000), st.integers(1, 500), positive, st.floats(0, 100))
def test_smoothed_bounds_are_their_derivations_at_the_best_sharpness(
    tasks, steps, radius, curvature
):
    chosen = setting(tasks, steps, radius, smoothness=curvature)
    log = math.log(tasks)
    alpha = math.sqrt(2 * steps * log) / (2.5 * radius)
    smooth = curvature + alpha * 2.5**2
    gradient_descent = smooth * radius**2 / (2 * steps) + log / alpha
    assert bounds.smoothed_last_iterate(chosen) == pytest.approx(gradient_descent, rel=1e-11)
    alpha = (steps + 1) * math.sqrt(log / 2) / (2.5 * radius)
    smooth = curvature + alpha * 2.5**2
    nesterov = 2 * smooth * radius**2 / (steps + 1) ** 2 + log / alpha
    assert bounds.accelerated(chosen) == pytest.approx(nesterov, rel=1e-11)


@given(st.integers(1, 200), positive, st.floats(0.1, 1e4))
def test_strongly_convex_acceleration(steps, curvature, alpha):
    modulus = curvature / 3
    chosen = setting(steps=steps, smoothness=curvature, strong_convexity=modulus)
    q = modulus / (curvature + alpha * 2.5**2)
    literal = (1 - math.sqrt(q)) ** steps * (2.5 * 0.8 + modulus * 0.8**2 / 2)
    literal += math.log(5) / alpha
    found = bounds.strongly_convex_accelerated(chosen, alpha)
    assert found == pytest.approx(literal, rel=1e-11)


@pytest.mark.parametrize("step_size", [0.0, 0.1, 0.5, 0.9, 1.0, 1.3])
def test_gradient_descent_factor_is_attained_on_the_extreme_eigenvector(step_size):
    modulus, smoothness = 0.5, 2.0
    lengths = [abs(1 - step_size * h) ** 6 for h in (modulus, 1.1, smoothness)]
    found = bounds.gradient_descent_distance(modulus, smoothness, step_size, 6)
    assert found == pytest.approx(max(lengths), rel=1e-12)


def test_covering_number_counts_a_line():
    # (1 + 2R / eps)^d: the interval [-3, 3] needs 6 intervals of half-width 0.5
    assert sample_bounds.covering_number(3.0, 0.5, 1) == 13
    assert sample_bounds.covering_number(3.0, 0.5, 2) == 169
    np.testing.assert_allclose(
        sample_bounds.covering_number(np.array([1.0, 2.0]), 1.0, 3), [27, 125]
    )


def test_bounds_broadcast_over_instances_and_iterations():
    radii = np.array([0.5, 1.0, 2.0])
    chosen = setting(
        radius=radii, loss_bound=9.0, smoothness=1.0, strong_convexity=0.3, diameter=2 * radii
    )
    alpha = SCHEDULES["sharpened"](chosen).alpha
    assert bounds.sharpened(chosen, alpha).shape == (3,)
    for bound in (
        bounds.theorem_3_1,
        bounds.subgradient,
        bounds.paper_schedule,
        bounds.anytime,
        bounds.smoothed_last_iterate,
        bounds.accelerated,
    ):
        alone = [
            bound(
                setting(
                    radius=r, loss_bound=9.0, smoothness=1.0, strong_convexity=0.3, diameter=2 * r
                )
            )
            for r in radii
        ]
        np.testing.assert_allclose(bound(chosen), alone, rtol=1e-14)


def test_a_single_task_pays_nothing_for_the_softmax():
    alone = setting(tasks=1)
    alpha = SCHEDULES["sharpened"](alone).alpha
    assert bounds.sharpened(alone, alpha) == bounds.subgradient(alone)
    assert np.all(bounds.smoothing(1, alpha) == 0)


def test_the_printed_schedule_has_no_guarantee_where_its_threshold_is_not_positive():
    chosen = setting(tasks=2, loss_bound=0.1)  # 4TB = 0.8 < R0 L' = 2
    with pytest.raises(ValueError, match="4TB"):
        bounds.paper_schedule(chosen)
