"""Minibatch descent against plain loops, enumeration against ordered sequences, their bounds."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw
from scipy.stats import multinomial

from taskrobust.weights import softmax_weights
from theory import bounds, stochastic_bounds
from theory.claims.finite_laws import noisy_offsets, noisy_slopes
from theory.descent import descend
from theory.optima import certify
from theory.problems import AbsoluteRegression, Ball, DiagonalQuadratic, MaxLinear
from theory.schedules import Schedule, Setting
from theory.stochastic import (
    FiniteLaw,
    MovingAverage,
    batches,
    descend_minibatch,
    expected_gradient,
    expected_smooth_max,
    mean_interval,
)


def law(seed=0, values=3, tasks=4):
    return noisy_slopes(np.random.default_rng(seed), tasks, values)


def constant(steps, alpha, size):
    return Schedule(np.full(steps, alpha), np.full(steps, size), np.ones(steps))


def test_batches_are_the_multinomial_distribution():
    p = np.array([0.2, 0.5, 0.3])
    frequencies, chances = batches(p, 4)
    assert len(frequencies) == math.comb(6, 2) == len(np.unique(frequencies, axis=0))
    np.testing.assert_allclose(chances, multinomial.pmf(np.rint(frequencies * 4), 4, p), rtol=1e-12)
    assert chances.sum() == pytest.approx(1, abs=1e-14)


def test_expectations_over_batches_are_those_over_ordered_samples():
    found, theta, alpha = law(), np.array([0.3, -0.2, 0.5]), 3.0
    value, gradient = 0.0, np.zeros(3)
    for sample in product(range(3), repeat=3):
        chance = np.prod(found.probabilities[list(sample)])
        losses = np.mean([found.sample_losses(theta)[s] for s in sample], axis=0)
        value += chance * math.log(sum(math.exp(alpha * f) for f in losses)) / alpha
        weights = np.exp(alpha * losses) / np.sum(np.exp(alpha * losses))
        slopes = np.mean([found.atoms.slopes.reshape(3, 4, 3)[s] for s in sample], axis=0)
        gradient += chance * weights @ slopes
    assert expected_smooth_max(found, theta, alpha, 3) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(expected_gradient(found, theta, alpha, 3), gradient, rtol=1e-11)


def test_a_law_is_a_problem_of_its_risks():
    samples = np.random.default_rng(1)
    features, targets = samples.standard_normal((4, 5, 2)), samples.standard_normal((4, 5))
    ball = Ball.of(np.zeros(2), 2.0)
    whole = AbsoluteRegression(ball, features, targets)  # four tasks, five samples
    atoms = AbsoluteRegression(
        ball, features.swapaxes(0, 1).reshape(20, 1, 2), targets.T.reshape(20, 1)
    )
    found = FiniteLaw(atoms, np.full(5, 0.2))
    theta, weights = samples.standard_normal((7, 2)), samples.dirichlet(np.ones(4), 7)
    np.testing.assert_allclose(found.losses(theta), whole.losses(theta), rtol=1e-12)
    np.testing.assert_allclose(
        found.weighted_gradient(theta, weights), whole.weighted_gradient(theta, weights), atol=1e-13
    )
    assert certify(found).upper == pytest.approx(float(certify(whole).upper), abs=1e-7)
    slope = np.max(np.linalg.norm(features, axis=-1))
    assert found.constants().lipschitz == pytest.approx(slope, rel=1e-14)


def test_full_batches_are_algorithm_1():
    found, start, schedule = law(3), np.array([1.0, 1.0, 0.5]), constant(30, 4.0, 0.05)
    whole = np.broadcast_to(found.probabilities, (2, 3))
    run = descend_minibatch(found, schedule, start, lambda _: whole)
    expected = descend(found, schedule, start).average
    np.testing.assert_allclose(run.average, [expected, expected], rtol=1e-12)
    assert np.max(run.weight_error) < 1e-14


@pytest.mark.parametrize("current", [True, False])
def test_replicates_with_averaged_losses_are_plain_loops(current):
    found, start, steps, decay = law(4), np.array([0.9, -0.5, 0.2]), 12, 0.7
    rng = np.random.default_rng(5)
    table = {k: rng.multinomial(2, found.probabilities, 3) / 2 for k in range(-1, steps)}
    run = descend_minibatch(
        found, constant(steps, 2.0, 0.3), start, table.__getitem__, MovingAverage(decay, current)
    )
    for row in range(3):
        theta, average, seen = start, np.zeros(3), None
        memory = None if current else table[-1][row] @ found.sample_losses(theta)
        for k in range(steps):
            losses = table[k][row] @ found.sample_losses(theta)
            new = losses if memory is None else decay * memory + (1 - decay) * losses
            seen, memory = (new if current else memory), new
            weights = softmax_weights(seen, 2.0)
            error = np.max(np.abs(seen - found.losses(theta)))
            assert run.weight_error[k, row] == pytest.approx(error, abs=1e-13)
            average += theta / steps
            slopes = np.tensordot(table[k][row], found.atoms.slopes.reshape(3, 4, 3), 1)
            theta = found.domain.project(theta - 0.3 * weights @ slopes)
        np.testing.assert_allclose(run.average[row], average, atol=1e-13)


def test_offset_noise_is_the_same_everywhere_and_half_the_range():
    found = noisy_offsets(np.random.default_rng(0), 4, 3)
    theta = np.random.default_rng(1).standard_normal((9, 3))
    offsets = found.atoms.offsets.reshape(3, 4)
    np.testing.assert_allclose(found.noise(theta), np.max(np.ptp(offsets, 0)) / 2, rtol=1e-12)


def test_intervals_hold_the_mean_and_would_miss_without_their_range_term():
    rng = np.random.default_rng(0)
    missed = {"whole": 0, "spread only": 0}
    for _ in range(2_000):
        values = (rng.random(40) < 0.02).astype(float)
        low, high = mean_interval(values, 0.0, 1.0, 0.05)
        missed["whole"] += not low <= 0.02 <= high
        reach = math.sqrt(2 * np.var(values, ddof=1) * math.log(80) / 40)
        missed["spread only"] += abs(values.mean() - 0.02) > reach
    assert missed["whole"] <= 100
    assert missed["spread only"] > 100


def test_intervals_shrink_with_the_spread_and_stay_in_the_range():
    calm, wild = np.full(1_000, 0.5), np.tile([0.0, 1.0], 500)
    widths = [np.diff(mean_interval(v, 0.0, 1.0, 1e-3))[0] for v in (calm, wild)]
    assert widths[0] == pytest.approx(14 * math.log(4_000) / (3 * 999), rel=1e-9)
    assert widths[1] > 3 * widths[0]
    assert mean_interval(np.zeros(5), 0.0, 1.0, 1e-3) == (0.0, 1.0)


def test_wrong_laws_are_refused():
    atoms = MaxLinear(Ball.of(np.zeros(1), 1.0), np.ones((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match="multiple of 3"):
        FiniteLaw(atoms, np.full(3, 1 / 3))
    with pytest.raises(ValueError, match="sum to 1"):
        FiniteLaw(atoms, np.full(2, 0.4))
    with pytest.raises(ValueError, match="nonnegative"):
        FiniteLaw(atoms, np.array([1.5, -0.5]))


def test_noise_of_quadratic_samples_depends_on_the_point():
    atoms = DiagonalQuadratic(Ball.of(np.zeros(1), 2.0), np.ones((2, 1)), np.array([[1.0], [-1.0]]))
    found = FiniteLaw(atoms, np.full(2, 0.5))
    np.testing.assert_allclose(found.noise(np.array([[0.0], [0.5]])), [0.0, 0.5], atol=1e-15)


positive = st.floats(0.01, 100)


@given(st.integers(2, 1_000), positive, st.floats(0.01, 3.0))
def test_inexact_gap_is_the_lambert_function_of_the_docstring(tasks, alpha, error):
    argument = (tasks - 1) * math.exp(2 * alpha * error - 1)
    literal = float(lambertw(argument).real) / alpha
    assert stochastic_bounds.inexact_softmax_gap(tasks, alpha, error) == pytest.approx(
        literal, rel=1e-11
    )
    simple = bounds.softmax_gap(tasks, alpha) + 2 * error
    assert literal <= simple * (1 + 1e-12)


def test_inexact_gap_at_its_ends():
    assert stochastic_bounds.inexact_softmax_gap(1, 3.0, 0.5) == 0
    assert stochastic_bounds.inexact_softmax_gap(5, 2.0, 0.0) == pytest.approx(
        bounds.softmax_gap(5, 2.0)
    )
    assert stochastic_bounds.inexact_softmax_gap(5, 1.0, 1e6) == pytest.approx(
        2e6, rel=1e-4
    )  # no overflow


@given(st.integers(2, 50), positive, positive, st.integers(1, 100))
def test_minibatch_bounds_are_the_formulas_of_the_docstrings(tasks, alpha, noise, batch):
    smooth = alpha * noise**2 / (2 * batch)
    floor = noise * math.sqrt(2 * math.log(tasks) / batch)
    bias = stochastic_bounds.minibatch_bias(tasks, alpha, noise, batch)
    assert bias == pytest.approx(min(smooth, floor), rel=1e-12)
    setting = Setting(tasks, 25, 0.5, 3.0)
    total = 0.5 * 3.0 / 5 + math.log(tasks) / alpha + bias
    assert stochastic_bounds.minibatch(setting, alpha, noise, batch) == pytest.approx(
        total, rel=1e-12
    )


@given(st.floats(0, 0.99), st.integers(0, 30))
def test_moving_average_noise_is_the_sum_over_batches(decay, updates):
    shares = [decay**updates, *((1 - decay) * decay**j for j in range(updates))]
    literal = math.sqrt(2 * math.log(2 * 7) * sum(s * s for s in shares) / 4) * 0.3
    found = stochastic_bounds.moving_average_noise(7, 0.3, 4, decay, updates)
    assert found == pytest.approx(literal, rel=1e-9)


@given(st.floats(0, 0.9))
def test_moving_average_lag_is_the_mean_age(decay):
    ages = sum((1 - decay) * decay**j * j for j in range(2_000))
    setting = Setting(3, 10, 1.0, 2.0)
    for delay in (0, 1):
        found = stochastic_bounds.moving_average_lag(setting, 0.1, decay, delay)
        assert found == pytest.approx(0.4 * (ages + delay), rel=1e-9, abs=1e-12)
