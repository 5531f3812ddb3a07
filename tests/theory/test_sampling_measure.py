"""Monte Carlo intervals against exact values, and what they are made of."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from theory.sampling import exact, families, measure

ONE = np.ones(1)


def signs(dim):
    return families.linear_noise(np.eye(dim)[None], np.zeros((1, dim))).mixture(ONE)


@pytest.mark.parametrize(("dim", "epsilon"), [(1, "1/10"), (1, "3/100"), (3, "1/20"), (5, "1/50")])
@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_interval_contains_the_exact_value(dim, epsilon, delta):
    for seed in range(3):
        found = measure.measure(
            signs(dim),
            float(Fraction(epsilon)),
            delta,
            1.0,
            rng=np.random.default_rng(seed),
            replicates=4_000,
        )
        value = exact.sign_noise_complexity(dim, Fraction(epsilon), delta)
        assert found.lower <= value <= found.upper
        assert found.upper <= 2 * found.lower  # and says something
        assert found.residual <= 1e-10


def test_interval_is_reproducible():
    def once():
        return measure.measure(
            signs(2), 0.05, 0.1, 1.0, rng=np.random.default_rng(5), replicates=500
        )

    assert once() == once()


def test_nothing_is_needed_if_the_whole_search_set_is_good():
    risk = families.linear_noise(np.diag([0.5, 1.0])[None], np.zeros((1, 2))).mixture(ONE)

    def at(start_risk):
        return measure.measure(
            risk, 0.1, 0.1, start_risk, rng=np.random.default_rng(0), replicates=500
        )

    assert at(0.0499) == measure.Interval.exact(0)
    assert at(0.05).lower >= 1  # a tie: the farthest point misses
    assert at(0.1).lower > 1
    assert (at(0.1).lower, at(0.1).upper) == (at(5.0).lower, at(5.0).upper)


def test_prefixes_are_nested_and_binomial():
    paths = measure.Paths(np.random.default_rng(0), np.array([0.3, 0.9]), 20_000)
    sizes = (40, 7, 100, 20, 8, 1)
    for n in sizes:
        paths.counts(n)
    previous, before = np.zeros((20_000, 2), dtype=int), 0
    for n in sorted(sizes):
        counts = paths.counts(n)
        step = counts - previous
        assert np.min(step) >= 0
        assert np.max(step) <= n - before
        for column, p in zip(counts.T, (0.3, 0.9), strict=True):
            seen = np.bincount(column, minlength=n + 1) / len(column)
            np.testing.assert_allclose(seen, binom.pmf(np.arange(n + 1), n, p), atol=0.02)
        # prefixes of one path: increments are independent of what came before
        if before:
            correlation = np.corrcoef(previous[:, 0], step[:, 0])[0, 1]
            assert abs(correlation) < 0.04
        previous, before = counts, n


def test_grid_has_every_small_number_and_steps_of_two_percent():
    grid = measure.candidate_sizes(100_000)
    np.testing.assert_array_equal(grid[:50], np.arange(1, 51))
    assert grid[-1] <= 100_000
    assert np.all(np.diff(grid)[50:] <= 0.02 * grid[50:-1] + 1)
    np.testing.assert_array_equal(measure.candidate_sizes(3), [1, 2, 3])


@pytest.mark.parametrize("trials", [20, 300])
def test_limits_invert_binomial_tails(trials):
    level = 1e-4
    for successes in (0, 1, trials // 3, trials - 1, trials):
        low = measure.lower_limit(successes, trials, level)
        high = measure.upper_limit(successes, trials, level)
        assert 0 <= low < high <= 1
        if successes:
            assert binom.sf(successes - 1, trials, low) == pytest.approx(level)
        if successes < trials:
            assert binom.cdf(successes, trials, high) == pytest.approx(level)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.1), (0.1, 0.0), (0.1, 1.0)])
def test_senseless_demands_are_rejected(epsilon, delta):
    with pytest.raises(ValueError, match="need epsilon > 0"):
        measure.measure(signs(1), epsilon, delta, 1.0, rng=np.random.default_rng(0), replicates=500)


def test_too_few_replicates_and_too_many_samples_are_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(OverflowError, match="100 replicates cannot show"):
        measure.measure(signs(1), 0.1, 0.01, 1.0, rng=rng, replicates=100)
    with pytest.raises(OverflowError, match="more than 60 samples"):
        measure.measure(signs(1), 0.001, 0.1, 1.0, rng=rng, replicates=500, max_samples=60)


def test_a_broken_minimiser_is_seen(monkeypatch):
    """Shrinking the empirical minimisers makes them miss less often: N falls below the truth."""
    minimise = measure.minimize_on_ball

    def shrunk(hessian, linear, radius):
        return minimise(hessian, 0.5 * linear, radius)

    monkeypatch.setattr(measure, "minimize_on_ball", shrunk)
    found = measure.measure(
        signs(1), 0.03, 0.05, 1.0, rng=np.random.default_rng(0), replicates=4_000
    )
    assert found.upper < exact.sign_noise_complexity(1, Fraction(3, 100), 0.05)
