"""Models of cuts, the shortest combination and the simplex, against closed forms and conditions."""

import numpy as np
import pytest

from theory.convex import CertificateError
from theory.problems import Ball
from theory.solvers.cutting_planes import Cuts, minimize_model, project_to_level
from theory.solvers.gradient_descent_ascent import project_to_simplex
from theory.solvers.mgda import shortest_combination

DOMAIN = Ball.of(np.array([0.5, -0.5, 0.0]), 2.0)


def random_cuts(seed, count=6, unit=1.0):
    rng = np.random.default_rng(seed)
    anchor = DOMAIN.center + rng.uniform(-1, 1, 3)
    values, slopes = rng.standard_normal(count), rng.standard_normal((count, 3))
    return Cuts(unit * values, unit * slopes, anchor)


def model(cuts, theta):
    return np.max(cuts.values + (theta - cuts.anchor) @ cuts.slopes.T, axis=-1)


def sample(seed, count=4_000):
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return DOMAIN.center + 2.0 * rng.random((count, 1)) ** (1 / 3) * direction


@pytest.mark.parametrize("curvature", [0.3, 5.0])
def test_one_cut_is_a_projected_gradient_step(curvature):
    cuts = random_cuts(0, count=1)
    theta, multipliers = minimize_model(cuts, DOMAIN, curvature)
    step = DOMAIN.project(cuts.anchor - cuts.slopes[0] / curvature)
    np.testing.assert_allclose(theta, step, atol=1e-5)
    np.testing.assert_allclose(multipliers, [1.0])


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("seed", range(5))
def test_the_linear_model_is_minimised_and_its_bound_meets_it(seed, unit):
    cuts = random_cuts(seed, unit=unit)
    theta, multipliers = minimize_model(cuts, DOMAIN, 0.0)
    assert np.all(multipliers >= 0)
    assert np.sum(multipliers) == pytest.approx(1.0, abs=1e-12)
    lower = cuts.lower_bound(multipliers, DOMAIN)
    assert lower <= model(cuts, theta) + 1e-12 * unit
    assert model(cuts, theta) - lower <= 1e-7 * unit
    assert lower <= np.min(model(cuts, sample(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_lower_bound_holds_for_any_multipliers(seed):
    cuts = random_cuts(seed)
    least = np.min(model(cuts, sample(seed)))
    for multipliers in np.random.default_rng(seed).dirichlet(np.ones(6), 50):
        assert cuts.lower_bound(multipliers, DOMAIN) <= least


@pytest.mark.parametrize("seed", range(5))
def test_the_proximal_model_is_minimised(seed):
    cuts, curvature = random_cuts(seed), 1.5
    theta, _ = minimize_model(cuts, DOMAIN, curvature)

    def objective(x):
        return model(cuts, x) + curvature / 2 * np.sum((x - cuts.anchor) ** 2, axis=-1)

    others = sample(seed)
    # strong convexity: everything else is higher by half the curvature times the squared distance
    rise = curvature / 2 * np.sum((others - theta) ** 2, axis=-1)
    assert np.all(objective(others) >= objective(theta) + rise - 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_projection_onto_a_level_set(seed):
    cuts = random_cuts(seed)
    least = model(cuts, minimize_model(cuts, DOMAIN, 0.0)[0])
    level = 0.5 * least + 0.5 * model(cuts, cuts.anchor)
    nearest = project_to_level(cuts, DOMAIN, level)
    assert model(cuts, nearest) <= level + 1e-7
    inside = sample(seed, 20_000)
    inside = inside[model(cuts, inside) <= level]
    assert len(inside) > 10
    # variational inequality of a projection
    assert np.max((inside - nearest) @ (cuts.anchor - nearest)) <= 1e-5


def test_a_point_of_the_level_set_is_its_own_projection():
    cuts = random_cuts(1)
    level = model(cuts, cuts.anchor) + 1.0
    np.testing.assert_allclose(project_to_level(cuts, DOMAIN, level), cuts.anchor, atol=1e-5)


def test_an_empty_level_set_is_an_error():
    cuts = random_cuts(2)
    least = model(cuts, minimize_model(cuts, DOMAIN, 0.0)[0])
    with pytest.raises(CertificateError, match="cutting-plane"):
        project_to_level(cuts, DOMAIN, least - 1.0)


def test_cuts_are_the_same_functions_around_any_anchor():
    cuts, other, points = random_cuts(3), random_cuts(4), sample(3, 50)
    np.testing.assert_allclose(model(cuts.at(DOMAIN.center), points), model(cuts, points))
    both = np.maximum(model(cuts, points), model(other, points))
    np.testing.assert_allclose(model(cuts.and_also(other), points), both)


@pytest.mark.parametrize("seed", range(20))
def test_shortest_combination_satisfies_its_optimality_condition(seed):
    rng = np.random.default_rng(seed)
    tasks, dim = rng.integers(1, 8), rng.integers(1, 6)
    gradients = (rng.standard_normal((tasks, dim)) + 0.5) * 10.0 ** rng.integers(-6, 7)
    shortest = shortest_combination(gradients)
    size = np.max(np.linalg.norm(gradients, axis=1))
    # d is shortest in the hull if and only if <g, d> >= |d|^2 for every g, with d in the hull
    assert np.min(gradients @ shortest) >= shortest @ shortest - 1e-12 * size**2
    for combination in rng.dirichlet(np.ones(tasks), 200) @ gradients:
        assert np.linalg.norm(shortest) <= np.linalg.norm(combination) * (1 + 1e-12)


def test_shortest_combination_in_closed_form():
    first, second = np.array([3.0, 1.0]), np.array([-1.0, 1.0])
    both = np.array([first, second])
    np.testing.assert_allclose(shortest_combination(both), [0.0, 1.0], atol=1e-14)
    np.testing.assert_array_equal(shortest_combination(np.zeros((3, 2))), 0.0)
    opposite = np.array([first, -2 * first, second])
    np.testing.assert_allclose(shortest_combination(opposite), 0.0, atol=1e-14)
    with_zero = np.array([first, np.zeros(2), second])
    np.testing.assert_allclose(shortest_combination(with_zero), 0.0, atol=1e-14)


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_projection_to_the_simplex(tasks):
    rng = np.random.default_rng(tasks)
    vectors = 3 * rng.standard_normal((200, tasks))
    points = project_to_simplex(vectors)
    assert np.all(points >= 0)
    np.testing.assert_allclose(np.sum(points, axis=-1), 1.0, atol=1e-14)
    # variational inequality at every vertex
    gaps = vectors - points
    inner = gaps - np.sum(gaps * points, axis=-1, keepdims=True)
    assert np.max(inner) <= 1e-13
    np.testing.assert_allclose(project_to_simplex(points), points, atol=1e-15)
    np.testing.assert_allclose(project_to_simplex(vectors + 5), points, atol=1e-13)
