import numpy as np
import pytest
from scipy.optimize import brentq

from tests.theory.instances import EVERY, QUADRATIC, points, simplex, single
from theory.problems import FAMILIES, Ball, DenseQuadratic, appendix_c

# Huber and logistic tasks have none: their lower bounds come from tangents (test_optima_generic)
WITH_DUAL = [name for name in EVERY if name not in ("Huber", "logistic", "digits")]


@pytest.mark.parametrize("name", WITH_DUAL)
def test_dual_bound_is_below_the_weighted_risk_everywhere(name):
    problem = single(name)
    theta = points(problem.domain, 400)
    if hasattr(problem, "minimizer"):
        theta = np.concatenate([theta, problem.minimizer[None]])
    for weights in simplex(8, problem.num_tasks):
        lowest = np.min(problem.losses(theta) @ weights)
        assert problem.dual_bound(weights) <= lowest + 1e-13 * float(problem.constants().loss_range)


@pytest.mark.parametrize("name", ["max-linear", "near-ties", "two slopes"])
def test_dual_bound_of_linear_tasks_is_attained_at_a_pole(name):
    problem = single(name)
    for weights in simplex(8, problem.num_tasks):
        slope = weights @ problem.slopes
        pole = problem.domain.center - problem.domain.radius * slope / np.linalg.norm(slope)
        value = weights @ problem.losses(pole)
        np.testing.assert_allclose(problem.dual_bound(weights), value, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", QUADRATIC)
def test_dual_bound_of_quadratics_is_attained(name):
    problem = single(name)
    for weights in simplex(8, problem.num_tasks):
        value = weights @ problem.losses(minimizer_on_ball(problem, weights))
        scale = float(problem.constants().loss_bound)
        assert problem.dual_bound(weights) == pytest.approx(value, abs=1e-12 * scale)


def test_dual_bound_of_quadratics_is_attained_on_the_boundary():
    # two narrow valleys through the poles (1, 0) and (0, 1) meet outside the ball, at (1.25, 1.25)
    across = np.array([[1.0, -0.2], [-0.2, 1.0]])
    hessians = across[:, :, None] * across[:, None, :] + 1e-3 * np.eye(2)
    problem = DenseQuadratic(Ball.of(np.zeros(2), 1.0), hessians, np.eye(2))
    weights = np.array([0.4, 0.6])
    theta = minimizer_on_ball(problem, weights)
    assert np.linalg.norm(theta) == pytest.approx(1.0, rel=1e-12)
    value = weights @ problem.losses(theta)
    assert value > 0.01
    assert problem.dual_bound(weights) == pytest.approx(value, rel=1e-12)


def minimizer_on_ball(problem, weights):
    """Minimiser of a weighted quadratic by a root search for its multiplier."""
    center, radius = problem.domain.center, float(problem.domain.radius)
    slope = problem.weighted_gradient(center, weights)
    moved = problem.weighted_gradient(
        center + np.eye(center.size), np.tile(weights, (center.size, 1))
    )
    hessian = moved - slope

    def step(multiplier):
        return -np.linalg.solve(hessian + multiplier * np.eye(center.size), slope)

    def excess(multiplier):
        return np.linalg.norm(step(multiplier)) - radius

    if excess(0.0) <= 0:
        return center + step(0.0)
    return center + step(brentq(excess, 0.0, np.linalg.norm(slope) / radius, xtol=1e-300))


def test_dual_bound_of_appendix_c_is_its_closed_form():
    problem = appendix_c(4.0, 2)
    assert problem.dual_bound(np.array([1.0, 0.0])) == pytest.approx(0.0, abs=1e-15)
    assert problem.dual_bound(np.array([0.5, 0.5])) == pytest.approx(0.5 * 4 / 5, rel=1e-13)


def test_dual_bound_of_absolute_regression_is_the_best_breakpoint_in_one_dimension():
    problem = FAMILIES["absolute"](np.random.default_rng(5), 1, 3, 1)[0]
    ends = problem.domain.center + problem.domain.radius * np.array([-1.0, 1.0])
    kinks = (problem.targets / problem.features[..., 0]).ravel()
    candidates = np.concatenate([ends, kinks[(kinks > ends[0]) & (kinks < ends[1])]])[:, None]
    for weights in simplex(8, 3):
        lowest = np.min(problem.losses(candidates) @ weights)
        assert problem.dual_bound(weights) == pytest.approx(lowest, abs=1e-9)


def test_dual_bound_of_the_angled_case_is_its_optimum_where_the_tilts_balance():
    problem = single("angled")
    share = 1 / (1 + problem.sharp_constant)
    weights = np.full(problem.num_tasks, (1 - share) / (problem.num_tasks - 1))
    weights[0] = share
    assert problem.dual_bound(weights) == pytest.approx(problem.optimum, rel=1e-12)
    assert problem.dual_bound(np.eye(problem.num_tasks)[0]) < problem.optimum - 0.1
