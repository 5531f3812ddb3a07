import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import nnls

from experiments.mechanisms.hull.regression import CONSTRAINTS, Problem, fit, stacked


def random_problem(seed, tasks=4, size=12, pull=1.0):
    """Vectors of lengths that differ by orders of magnitude, and a target near their cone."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(tasks, size)) * np.exp(rng.normal(size=(tasks, 1)))
    return vectors, pull * rng.random(tasks) @ vectors + rng.normal(size=size)


seeds = st.integers(0, 10_000)
few = settings(max_examples=25)


@few
@given(seeds)
def test_the_cone_is_that_of_scipys_non_negative_least_squares(seed):
    vectors, target = random_problem(seed)
    found = fit(Problem.of(vectors, target), "cone")
    coefficients, distance = nnls(vectors.T, target)
    assert found.residual == pytest.approx(distance**2 / (target @ target), abs=1e-6)
    lengths = np.linalg.norm(vectors, axis=1) / np.linalg.norm(target)
    np.testing.assert_allclose(found.coefficients * lengths, coefficients * lengths, atol=1e-3)


@few
@given(seeds)
def test_no_point_of_a_fine_grid_on_the_simplex_is_nearer_than_the_fit(seed):
    vectors, target = random_problem(seed, tasks=3)
    found = fit(Problem.of(vectors, target), "simplex")
    n = 60
    grid = [
        (i / n, j / n, (n - i - j) / n)
        for i, j in itertools.product(range(n + 1), repeat=2)
        if i + j <= n
    ]
    distances = ((np.array(grid) @ vectors - target) ** 2).sum(1) / (target @ target)
    assert found.residual <= distances.min() + 1e-6
    nearest = ((found.weights @ vectors - target) ** 2).sum() / (target @ target)
    assert found.residual == pytest.approx(nearest, abs=1e-9)
    assert found.weights.min() >= 0
    assert found.weights.sum() == pytest.approx(1)


@few
@given(seeds)
def test_least_squares_is_numpys_and_below_the_cone_which_is_below_the_simplex(seed):
    vectors, target = random_problem(seed)
    found = {name: fit(Problem.of(vectors, target), name) for name in CONSTRAINTS}
    coefficients = np.linalg.lstsq(vectors.T, target, rcond=None)[0]
    np.testing.assert_allclose(found["span"].coefficients, coefficients, rtol=1e-5, atol=1e-8)
    assert found["span"].residual <= found["cone"].residual + 1e-7
    assert found["cone"].residual <= found["simplex"].residual + 1e-7
    assert found["cone"].residual <= 1 + 1e-7


@few
@given(seeds, arrays.arrays(float, 4, elements=st.floats(0.01, 1)))
def test_a_planted_convex_combination_is_found_with_its_weights(seed, weights):
    vectors, _ = random_problem(seed)
    weights = weights / weights.sum()
    for constraint, scale in (("simplex", 1.0), ("cone", 7.0)):
        found = fit(Problem.of(vectors, scale * weights @ vectors), constraint)
        assert found.residual < 1e-6
        assert found.cosine == pytest.approx(1, abs=1e-6)
        assert found.scale == pytest.approx(scale, rel=1e-3)
        np.testing.assert_allclose(found.weights, weights, atol=1e-3)


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_units_of_the_target_change_the_scale_of_the_cone_and_nothing_else(seed, factor):
    vectors, target = random_problem(seed)
    before = fit(Problem.of(vectors, target), "cone")
    after = fit(Problem.of(vectors, factor * target), "cone")
    assert after.residual == pytest.approx(before.residual, abs=1e-6)
    assert after.cosine == pytest.approx(before.cosine, abs=1e-4)
    assert after.scale == pytest.approx(factor * before.scale, rel=1e-3, abs=1e-4 * factor)


@few
@given(seeds, st.permutations(range(4)))
def test_the_order_of_the_tasks_does_not_matter(seed, order):
    vectors, target = random_problem(seed)
    for constraint in CONSTRAINTS:
        before = fit(Problem.of(vectors, target), constraint)
        after = fit(Problem.of(vectors[order], target), constraint)
        assert after.residual == pytest.approx(before.residual, abs=1e-6)
        np.testing.assert_allclose(after.coefficients, before.coefficients[order], atol=1e-3)


@few
@given(seeds)
def test_vectors_that_depend_on_each_other_are_fitted_as_well_as_without_the_copies(seed):
    vectors, target = random_problem(seed, tasks=3)
    doubled = np.vstack([vectors, vectors])
    for constraint in CONSTRAINTS:
        alone = fit(Problem.of(vectors, target), constraint).residual
        assert fit(Problem.of(doubled, target), constraint).residual == pytest.approx(
            alone, abs=1e-6
        )


def test_a_target_opposite_to_all_vectors_has_the_zero_vector_as_nearest_of_the_cone():
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    found = fit(Problem.of(vectors, np.array([-1.0, -1.0, 0.0])), "cone")
    assert found.residual == pytest.approx(1)
    assert found.weights is None
    assert found.cosine == 0


def test_vectors_of_length_0_leave_the_target_unexplained():
    for constraint in CONSTRAINTS:
        found = fit(Problem(np.zeros((2, 2)), np.zeros(2), 4.0), constraint)
        assert found.residual == pytest.approx(1)
        assert found.cosine == 0


@few
@given(seeds)
def test_the_residual_of_stacked_problems_is_the_mean_of_the_residuals(seed):
    problems = [Problem.of(*random_problem(seed + n, pull=3.0**n)) for n in range(3)]
    coefficients = np.random.default_rng(seed).normal(size=4)
    together = stacked(problems)
    single = np.mean([each.residual(coefficients) for each in problems])
    assert together.residual(coefficients) == pytest.approx(single, rel=1e-9)
    best = fit(together, "cone").residual
    assert best >= np.mean([fit(each, "cone").residual for each in problems]) - 1e-6


@pytest.mark.parametrize(
    ("gram", "products", "norm", "message"),
    [
        (np.eye(3), np.ones(2), 1.0, "shapes"),
        (np.zeros((0, 0)), np.zeros(0), 1.0, "T ≥ 1"),
        (np.eye(2), np.array([1.0, np.nan]), 1.0, "finite"),
        (np.eye(2), np.ones(2), 0.0, "positive; found 0.0"),
        (np.eye(2), np.ones(2), np.nan, "positive"),
    ],
)
def test_what_is_no_problem_is_refused(gram, products, norm, message):
    with pytest.raises(ValueError, match=message):
        Problem(gram, products, norm)


def test_unknown_constraints_and_no_problems_are_refused():
    with pytest.raises(ValueError, match="of simplex, cone, span; found hull"):
        fit(Problem(np.eye(1), np.ones(1), 1.0), "hull")
    with pytest.raises(ValueError, match="at least one"):
        stacked([])
