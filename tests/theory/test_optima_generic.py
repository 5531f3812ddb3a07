"""Certificates of problems that a user states without a closed-form lower bound."""

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from tests.theory.instances import RANDOM, batch, points
from tests.theory.user_problems import (
    Stated,
    WithoutDual,
    city_blocks,
    distances,
    parabolas,
    sparse_regression,
)
from theory.optima import CertifiedOptimum, certify
from theory.problems import FAMILIES

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
TRIANGLE = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


def contains(found: CertifiedOptimum, value: float) -> bool:
    return bool(found.lower <= value <= found.upper)


@pytest.mark.parametrize("family", RANDOM)
@pytest.mark.parametrize("weights", [None, np.array([0.1, 0.2, 0.3, 0.4])])
def test_tangents_agree_with_the_closed_form_lower_bound(family, weights):
    problem = batch(family)[2]
    with_dual, without = certify(problem, weights), certify(WithoutDual(problem), weights)
    assert without.lower <= with_dual.upper
    assert with_dual.lower <= without.upper


def test_smallest_enclosing_circle_of_a_square():
    found = certify(distances(SQUARE + np.array([0.3, -0.2])))
    assert contains(found, np.sqrt(2))
    np.testing.assert_allclose(found.point, [0.3, -0.2], atol=1e-5)


def test_smallest_enclosing_circle_of_a_triangle():
    found = certify(distances(TRIANGLE))  # acute at (2, 0): all three corners are on the circle
    assert contains(found, 1.25)
    np.testing.assert_allclose(found.point, [0.75, 0.0], atol=1e-5)


def test_fermat_point_of_a_square_is_its_centre():
    assert contains(certify(distances(SQUARE), np.full(4, 0.25)), np.sqrt(2))


@pytest.mark.parametrize("dim", [1, 2, 5, 20])
def test_kink_at_the_optimum_of_a_single_task(dim):
    anchors = np.random.default_rng(dim).uniform(-0.5, 0.5, (2, dim))
    assert contains(certify(distances(anchors), np.array([1.0, 0.0])), 0.0)
    assert contains(certify(city_blocks(anchors), np.array([0.0, 1.0])), 0.0)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_kink_at_the_optimum_of_a_mixture(dim):
    anchors = np.random.default_rng(dim).uniform(-1, 1, (3, dim))
    # more than half of the weight pins the optimum to the first anchor, by the triangle inequality
    weights = np.array([0.6, 0.3, 0.1])
    for problem in (distances(anchors), city_blocks(anchors)):
        assert contains(certify(problem, weights), weights @ problem.losses(anchors[0]))


@pytest.mark.parametrize("seed", range(4))
def test_city_block_median_is_the_coordinatewise_median(seed):
    anchors = np.random.default_rng(seed).uniform(-1, 1, (5, 4))
    problem, weights = city_blocks(anchors), np.full(5, 0.2)
    median = np.median(anchors, axis=0)
    assert contains(certify(problem, weights), weights @ problem.losses(median))


@pytest.mark.parametrize("seed", range(4))
def test_city_block_centre_against_linear_programming(seed):
    anchors = np.random.default_rng(seed).uniform(-1, 1, (4, 3))
    found = certify(city_blocks(anchors))
    assert contains(found, city_block_centre(anchors))
    assert np.linalg.norm(found.point) < 2.9  # the ball is idle, as the program assumes


def city_block_centre(anchors):
    """min over x of the largest l1 distance: variables x, the parts |x_i - a_ti|, the level."""
    tasks, dim = anchors.shape
    parts = np.eye(tasks * dim)
    coordinates = np.tile(np.eye(dim), (tasks, 1))
    none = np.zeros((tasks * dim, 1))
    sums = np.kron(np.eye(tasks), np.ones(dim))
    rows = np.block(
        [
            [coordinates, -parts, none],
            [-coordinates, -parts, none],
            [np.zeros((tasks, dim)), sums, -np.ones((tasks, 1))],
        ]
    )
    bounds = np.concatenate([anchors.ravel(), -anchors.ravel(), np.zeros(tasks)])
    cost = np.append(np.zeros(rows.shape[1] - 1), 1.0)
    return linprog(cost, A_ub=rows, b_ub=bounds, bounds=[(None, None)] * len(cost)).fun


@pytest.mark.parametrize("seed", range(3))
def test_sparse_regression_has_a_certificate(seed):
    problem = sparse_regression(4, seed)
    found = certify(problem)
    assert np.min(np.max(problem.losses(points(problem.domain, 2_000)), axis=-1)) >= found.lower
    assert np.sum(np.abs(found.point) < 1e-6) >= 1  # at a kink indeed


def test_optimum_on_the_sphere():
    outside = parabolas(np.array([[3.0, 0.2], [3.0, -0.2]]))
    one = np.hypot(3.0, 0.2) - 1  # distance of the first minimiser from the disc
    assert contains(certify(outside, np.array([1.0, 0.0])), one**2)
    both = certify(outside)  # equally far from both, at (1, 0)
    assert contains(both, 2.0**2 + 0.2**2)
    np.testing.assert_allclose(both.point, [1.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(both.weights, 0.5, atol=1e-5)


def test_kink_on_the_sphere():
    problem = Stated(
        dim=2,
        num_tasks=1,
        losses=lambda theta: np.abs(theta[..., 1:]) - 2 * theta[..., :1],
        gradients=lambda theta: np.stack(
            [np.full(theta.shape[:-1], -2.0), np.sign(theta[..., 1])], axis=-1
        )[..., None, :],
        constraints=lambda theta, levels: [cp.abs(theta[1]) - 2 * theta[0] <= levels[0]],
        lipschitz=5**0.5,
    )
    found = certify(problem)
    assert contains(found, -2.0)
    np.testing.assert_allclose(found.point, [1.0, 0.0], atol=1e-6)


def test_constant_tasks_and_a_single_point_of_contact():
    flat = Stated(
        dim=3,
        num_tasks=2,
        losses=lambda theta: np.broadcast_to([0.5, 0.7], (*theta.shape[:-1], 2)),
        gradients=lambda theta: np.zeros((*theta.shape[:-1], 2, 3)),
        constraints=lambda theta, levels: [np.array([0.5, 0.7]) <= levels],
    )
    assert contains(certify(flat), 0.7)
    touching = parabolas(np.array([[0.0, 0.0], [0.0, 0.0]]))
    assert contains(certify(touching), 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_kinks_in_many_coordinates_at_once(seed):
    certify(sparse_regression(20, seed))
    rng = np.random.default_rng(seed)
    certify(WithoutDual(FAMILIES["absolute"](rng, 1, 6, 20)[0]), np.full(6, 1 / 6))
    certify(distances(rng.uniform(-1, 1, (3, 20))), np.array([0.6, 0.3, 0.1]))
