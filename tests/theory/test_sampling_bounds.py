"""Bounds on sample complexities: each is the least n at which the inequality of its proof holds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import sample_bounds

small = st.floats(1e-3, 0.5)
constant = st.floats(0.1, 10)


def least(number, enough):
    """Whether `number` is the least n >= 1 for which the proof's inequality holds, to rounding."""
    assert number == math.floor(number)
    return enough(number * (1 + 1e-9)) and (number <= 1 or not enough((number - 1) * (1 - 1e-9)))


@given(st.integers(1, 20), small, small, constant, constant, constant, constant)
def test_theorem_5_4(dim, epsilon, delta, loss_range, lipschitz, modulus, risk):
    found = sample_bounds.theorem_5_4(
        dim,
        epsilon,
        delta,
        loss_range=loss_range,
        lipschitz=lipschitz,
        modulus=modulus,
        start_risk=risk,
    )
    radius, spacing = math.sqrt(2 * risk / modulus), epsilon / (8 * lipschitz)
    net = dim * math.log(1 + 2 * radius / spacing)
    # two-sided Hoeffding for a deviation of epsilon/4 on the net
    assert least(
        found,
        lambda n: math.log(2) + net - 2 * n * (epsilon / 4) ** 2 / loss_range**2 <= math.log(delta),
    )


@given(st.integers(1, 20), small, small, constant, constant, st.floats(1e-3, 10))
def test_localised(dim, epsilon, delta, lipschitz, modulus, risk):
    found = sample_bounds.localised_samples(
        dim, epsilon, delta, lipschitz=lipschitz, modulus=modulus, start_risk=risk
    )
    radius, spacing = math.sqrt(2 * min(risk, epsilon) / modulus), epsilon / (4 * lipschitz)
    net, span = dim * math.log(1 + 2 * radius / spacing), 2 * lipschitz * radius
    # one-sided Hoeffding for a deviation of 3 epsilon/4 of differences of range 2 L' r
    assert least(found, lambda n: net - 2 * n * (0.75 * epsilon) ** 2 / span**2 <= math.log(delta))


@given(small, small, constant, st.floats(1, 10), constant)
def test_noise(epsilon, delta, modulus, condition, size):
    smoothness = condition * modulus
    missed = 2 * modulus**2 * epsilon / smoothness  # least squared gradient noise of a miss
    moment = sample_bounds.noise_moment_samples(
        epsilon, delta, smoothness=smoothness, modulus=modulus, noise=size
    )
    assert least(moment, lambda n: size / (n * missed) <= delta)
    tail = sample_bounds.noise_tail_samples(
        epsilon, delta, smoothness=smoothness, modulus=modulus, steepness=size
    )
    # mean at most L'/sqrt n, and McDiarmid with differences of 2 L'/n
    deviation = math.sqrt(2 * math.log(1 / delta))
    assert least(tail, lambda n: size / math.sqrt(n) * (1 + deviation) <= math.sqrt(missed))
    any_start = sample_bounds.interpolating_samples(
        epsilon, delta, condition=condition, minimax=size
    )
    same = sample_bounds.noise_moment_samples(
        epsilon, delta, smoothness=smoothness, modulus=modulus, noise=2 * smoothness * size
    )
    assert abs(any_start - same) <= 1


def test_no_noise_needs_one_sample():
    shared = {"smoothness": 1.0, "modulus": 0.5}
    assert sample_bounds.noise_moment_samples(0.1, 0.1, noise=0.0, **shared) == 1
    assert sample_bounds.noise_tail_samples(0.1, 0.1, steepness=0.0, **shared) == 1
    assert sample_bounds.interpolating_samples(0.1, 0.1, condition=2.0, minimax=0.0) == 1


def test_values_of_the_ledger():
    """Sign noise on a line, epsilon 0.1: L' = 1 + sqrt 2 and B = (1 + sqrt 2)^2 / 2."""
    reach = 1 + math.sqrt(2)
    found = sample_bounds.theorem_5_4(
        1, 0.1, 0.05, loss_range=reach**2 / 2, lipschitz=reach, modulus=1.0, start_risk=1.0
    )
    assert found == pytest.approx(6.79e4, rel=1e-3)
