"""Exact failure probabilities against all sample paths, and the caps that end the search."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from theory.sampling import exact, families
from theory.sampling.measure import failed
from theory.sampling.two_point import TwoPoint

LINE = TwoPoint((0.5, 1.0), (3.0, 2.5), (0.3, 0.2))
REVERSAL = TwoPoint((0.047, 0.02), (1.055, 4.8925), (0.2414, 0.0699))


def sign_paths(dim, samples, epsilon):
    """Probability of missing by brute force, in integers."""
    missed = 0
    for path in product((-1, 1), repeat=dim * samples):
        sums = np.sum(np.reshape(path, (samples, dim)), axis=0)
        missed += Fraction(int(np.sum(sums**2)), 2 * dim * samples**2) >= epsilon
    return missed / 2 ** (dim * samples)


@pytest.mark.parametrize("epsilon", ["1/10", "1/50", "1/8", "1/2", "3/100", "2/9"])
@pytest.mark.parametrize(("dim", "most"), [(1, 12), (2, 6), (3, 4), (4, 3)])
def test_sign_noise_failures_equal_brute_force(dim, most, epsilon):
    epsilon = Fraction(epsilon)  # 1/2, 1/8, 1/50 and 2/9 meet ties
    for samples in range(1, most + 1):
        found = exact.sign_noise_failure(dim, epsilon, samples)
        assert found == pytest.approx(sign_paths(dim, samples, epsilon), abs=1e-13)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("delta", [0.3, 0.05, 0.004])
def test_sign_noise_complexity_is_one_more_than_the_last_failure(dim, delta):
    epsilon = Fraction(1, 20)
    found = exact.sign_noise_complexity(dim, epsilon, delta)
    cap = exact.sign_noise_cap(dim, epsilon, delta)
    assert 1 <= found <= cap
    failures = [exact.sign_noise_failure(dim, epsilon, n) for n in range(1, 3 * cap)]
    assert max(failures[found - 1 :]) <= delta
    assert found == 1 or failures[found - 2] > delta
    assert max(failures[cap - 1 :]) <= delta


def test_published_values_of_one_dimension():
    counts = [exact.sign_noise_complexity(1, Fraction(e), 0.05) for e in ("0.1", "0.01", "0.003")]
    assert counts == [23, 206, 658]


def test_the_last_failure_counts_though_earlier_numbers_succeed():
    failing = {1, 2, 7}
    assert exact.sample_complexity(lambda n: float(n in failing), 0.5, 20) == 8
    assert exact.sample_complexity(lambda n: 0.0, 0.5, 20) == 1


def pair_paths(line, samples, share, epsilon):
    """Probability of missing by brute force over all paths of both bits."""
    draws = [
        (h1, h2, p1 * p2)
        for h1, p1 in zip((line.low[0], line.high[0]), bits(line.probabilities[0]), strict=True)
        for h2, p2 in zip((line.low[1], line.high[1]), bits(line.probabilities[1]), strict=True)
    ]
    curvature = (1 - share) * line.means[0] + share * line.means[1]
    best = share * line.means[1] / curvature
    missed = 0.0
    for path in product(draws, repeat=samples):
        first, second = (sum(d[i] for d in path) / samples for i in (0, 1))
        found = share * second / ((1 - share) * first + share * second)
        if 0.5 * curvature * (found - best) ** 2 >= epsilon:
            missed += np.prod([d[2] for d in path])
    return missed


def bits(probability):
    return 1 - probability, probability


@pytest.mark.parametrize("epsilon", [0.003, 0.02, 0.06])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_two_point_failures_equal_brute_force(samples, epsilon):
    shares = np.array([0.02, 0.3, 0.55, 0.9, 0.99])
    found = LINE.failures(samples, shares, epsilon)
    expected = [pair_paths(LINE, samples, share, epsilon) for share in shares]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("delta", [0.2, 0.02])
def test_two_point_cap_and_last_failure(delta):
    shares, epsilon = np.array([0.1, 0.5, 0.8]), 0.01
    cap = LINE.cap(shares, epsilon, delta)
    counts = LINE.complexities(shares, epsilon, delta)
    beyond = np.array([LINE.failures(n, shares, epsilon) for n in range(1, 2 * cap)])
    assert np.max(beyond[cap - 1 :]) <= delta
    for i, count in enumerate(counts):
        assert np.max(beyond[count - 1 :, i]) <= delta
        assert count == 1 or beyond[count - 2, i] > delta
    assert max(counts) > 1


def test_two_point_failures_equal_those_of_the_general_machinery():
    share, epsilon, samples = 0.6, 0.01, 9
    risk = LINE.samples().mixture(np.array([1 - share, share]))
    grid = np.array(list(product(range(samples + 1), repeat=2)))
    missed, _ = failed(risk, epsilon, np.inf, grid, samples)

    mass = np.prod(binom.pmf(grid, samples, LINE.probabilities), axis=-1)
    found = LINE.failures(samples, np.array([share]), epsilon)[0]
    assert found == pytest.approx(mass @ missed, abs=1e-13)


def test_worst_excess_over_all_mixtures_is_its_maximum_over_a_grid():
    shares = np.linspace(0, 1, 100_001)
    for line in (LINE, REVERSAL, TwoPoint((1.0, 5.0), (2.0, 6.0), (0.5, 0.5))):
        for theta in (line.average_point, line.minimax_point, 0.0, 1.0):
            grid = np.max(line.worst_excess(theta, shares, 0.3))
            assert line.worst_excess_any_mixture(theta, 0.3) == pytest.approx(grid, rel=1e-8)


def test_special_points_of_two_tasks():
    first, second = (LINE.risk(LINE.minimax_point, np.array(s)) for s in (0.0, 1.0))
    assert first == pytest.approx(second)
    grid = np.linspace(0, 1, 10_001)
    means = [float(LINE.risk(t, np.array(0.5))) for t in grid]
    assert grid[np.argmin(means)] == pytest.approx(LINE.average_point, abs=1e-4)
    samples = LINE.samples()
    assert samples.modulus == 0.5
    risks = samples.risks(np.array([0.3]))
    np.testing.assert_allclose(risks, [LINE.risk(0.3, np.array(s)) for s in (0.0, 1.0)])


@pytest.mark.parametrize("epsilon", [0.003, 0.02, 0.06])
def test_tail_rates_bound_every_failure_probability(epsilon):
    shares = np.array([0.1, 0.5, 0.8])
    rates = LINE.tail_rates(shares, epsilon)
    for samples in (1, 2, 5, 20, 60, 150):
        found = LINE.failures(samples, shares, epsilon)
        assert np.all(found <= np.sum(rates**samples, axis=0) + 1e-12)


def test_ties_of_two_points_are_failures():
    """Curvatures 1 and 4 draw the minimiser from 1/2 to 1/5 or 4/5: excess 9/80 exactly."""
    line, half = TwoPoint((1.0, 1.0), (4.0, 4.0), (0.5, 0.5)), np.array([0.5])
    assert line.failures(1, half, 9 / 80)[0] == pytest.approx(0.5)
    assert line.failures(1, half, 9 / 80 + 1e-9)[0] == pytest.approx(0, abs=1e-14)


def test_large_curvatures_do_not_overflow_the_cap():
    line = TwoPoint((1.0, 1.0), (1e4, 101.0), (0.002, 0.05))
    assert line.cap(np.array([0.1, 0.5, 0.9]), 0.1, 0.01) > 1


def test_sums_of_squares_need_families_of_unit_curvature():
    """The sums describe shifted and linear noise alike."""
    for build in (
        lambda: families.shifted_additive(np.zeros((1, 2))),
        lambda: families.linear_noise(np.eye(2)[None], np.zeros((1, 2))),
    ):
        risk, samples, epsilon = build().mixture(np.ones(1)), 6, 0.1
        grid = np.array(list(product(range(samples + 1), repeat=2)))
        missed, _ = failed(risk, epsilon, np.inf, grid, samples)

        mass = np.prod(binom.pmf(grid, samples, 0.5), axis=-1)
        found = exact.sign_noise_failure(2, Fraction(1, 10), samples)
        assert found == pytest.approx(mass @ missed, abs=1e-13)
