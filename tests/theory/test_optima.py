"""Certified optima against closed forms and independent solvers."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from taskrobust.schedules import sharp_constant
from tests.theory.instances import EVERY, RANDOM, batch, points, simplex, single
from tests.theory.user_problems import WithoutDual
from theory import optima
from theory.optima import CLOSE_TOLERANCE, certify, certify_batch
from theory.problems import (
    AngledWorstCase,
    Ball,
    DiagonalQuadratic,
    DroriTeboulle,
    MaxLinear,
    appendix_c,
    two_slope,
)
from theory.tangents import tangent_bound

SMOOTH = [name for name in RANDOM if name not in ("absolute", "max-linear", "near-ties")]


def contains(optimum, value, slack=0.0):
    return optimum.lower - slack <= value <= optimum.upper + slack


@pytest.mark.parametrize("tasks", [3, 10, 1_000])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_appendix_c_closed_forms(tasks, share):
    steepness = 1 + share * (tasks - 2)
    problem = appendix_c(steepness, tasks)
    root = np.sqrt(steepness)
    minimax = certify(problem)
    assert contains(minimax, steepness / (root + 1) ** 2)
    assert minimax.point[0] == pytest.approx(root / (root + 1), abs=1e-6)
    average = certify(problem, np.full(tasks, 1 / tasks))
    assert contains(average, steepness * (tasks - 1) / (tasks * (steepness + tasks - 1)))
    assert average.point[0] == pytest.approx(steepness / (steepness + tasks - 1), abs=1e-5)


@pytest.mark.parametrize("tasks", [2, 9, 100])
def test_two_slopes_have_optimum_zero_at_zero(tasks):
    found = certify(two_slope(tasks, sharp_constant(tasks)))
    assert contains(found, 0.0)
    assert abs(found.point[0]) <= 1e-8
    # the lower bound balances the slopes: w_1 = (1 - w_1) / c_T
    assert found.weights[0] == pytest.approx(1 / (1 + sharp_constant(tasks)), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_drori_teboulle_closed_form(steps, radius):
    problem = DroriTeboulle(steps, num_tasks=3, start_radius=radius)
    assert contains(certify(problem), -radius / np.sqrt(steps))
    assert contains(certify(problem, np.array([0.2, 0.0, 0.8])), -radius / np.sqrt(steps))


def test_angled_worst_case_closed_form():
    problem = AngledWorstCase(50, 10, sharp_constant(10), sine=0.3)
    found = certify(problem)
    assert contains(found, -problem.cosine * problem.hard_radius / np.sqrt(50))


@pytest.mark.parametrize("seed", range(5))
def test_linear_tasks_in_one_dimension_against_linear_programming(seed):
    rng = np.random.default_rng(seed)
    slopes, offsets = rng.standard_normal((6, 1)), rng.standard_normal(6)
    problem = MaxLinear(Ball.of([0.3], 1.5), slopes, offsets)
    program = linprog(
        [0.0, 1.0],
        A_ub=np.column_stack([slopes, -np.ones(6)]),
        b_ub=-offsets,
        bounds=[(-1.2, 1.8), (None, None)],
        method="highs",
    )
    assert contains(certify(problem), program.fun, slack=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_linear_tasks_against_linear_programming_where_the_ball_is_idle(seed):
    rng = np.random.default_rng(seed)
    slopes, offsets = rng.standard_normal((12, 3)), rng.standard_normal(12)
    slopes -= np.mean(slopes, axis=0)  # 0 in the convex hull: bounded below on the whole space
    program = linprog(
        [0.0, 0.0, 0.0, 1.0],
        A_ub=np.column_stack([slopes, -np.ones(12)]),
        b_ub=-offsets,
        bounds=[(None, None)] * 4,
        method="highs",
    )
    problem = MaxLinear(
        Ball.of(np.zeros(3), 2 * np.linalg.norm(program.x[:3]) + 1), slopes, offsets
    )
    assert contains(certify(problem), program.fun, slack=1e-12)


def independent_optimum(problem, weights=None):
    """Best feasible value that sequential quadratic programming finds."""
    center, radius = problem.domain.center, float(problem.domain.radius)
    tasks, dim = problem.num_tasks, problem.domain.dim

    def gradient(theta, w):
        return problem.weighted_gradient(theta, w)

    inside = {
        "type": "ineq",
        "fun": lambda x: radius**2 - np.sum((x[:dim] - center) ** 2),
        "jac": lambda x: np.concatenate([-2 * (x[:dim] - center), np.zeros(x.size - dim)]),
    }
    options = {"ftol": 1e-15, "maxiter": 1_000}
    if weights is not None:
        found = minimize(
            lambda x: float(weights @ problem.losses(x)),
            center,
            jac=lambda x: gradient(x, weights),
            constraints=inside,
            method="SLSQP",
            options=options,
        )
        return float(weights @ problem.losses(problem.domain.project(found.x)))
    below = {
        "type": "ineq",
        "fun": lambda x: x[-1] - problem.losses(x[:dim]),
        "jac": lambda x: np.column_stack(
            [-np.stack([gradient(x[:dim], row) for row in np.eye(tasks)]), np.ones(tasks)]
        ),
    }
    level = np.max(problem.losses(center))
    found = minimize(
        lambda x: x[-1],
        np.append(center, level),
        jac=lambda x: np.append(np.zeros(dim), 1.0),
        constraints=[inside, below],
        method="SLSQP",
        options=options,
    )
    return float(np.max(problem.losses(problem.domain.project(found.x[:dim]))))


@pytest.mark.parametrize("family", SMOOTH)
@pytest.mark.parametrize("weights", [None, np.full(4, 0.25), np.array([0.0, 0.7, 0.0, 0.3])])
def test_smooth_tasks_against_sequential_quadratic_programming(family, weights):
    problem = batch(family)[1]
    found = certify(problem, weights)
    reference = independent_optimum(problem, weights)
    scale = float(problem.constants().loss_range)
    assert reference >= found.lower  # a feasible value is never below a rigorous lower bound
    assert reference <= found.upper + 1e-6 * scale
    assert found.upper <= reference + 1e-8 * scale


@pytest.mark.parametrize("name", EVERY)
def test_interval_is_tight_and_said_by_a_point_and_weights(name):
    problem = single(name)
    found = certify(problem)
    losses = problem.losses(found.point)
    scale = max(
        float(np.max(np.abs(losses))),
        float(problem.domain.radius) * float(problem.constants().lipschitz),
    )
    assert 0 <= found.upper - found.lower <= CLOSE_TOLERANCE * scale
    assert np.linalg.norm(found.point - problem.domain.center) <= problem.domain.radius * (
        1 + 1e-15
    )
    # rounding, and nothing more, is allowed for
    assert 0 <= found.upper - np.max(losses) <= 1e-13 * scale
    assert np.min(found.weights) >= 0
    assert np.sum(found.weights) == pytest.approx(1.0, abs=1e-14)
    assert np.shape(found.lower) == np.shape(found.upper) == ()


@pytest.mark.parametrize("name", EVERY)
def test_no_point_of_the_domain_is_below_the_lower_bound(name):
    problem = single(name)
    found = certify(problem)
    nearby = problem.domain.project(
        found.point + 1e-4 * points(Ball.of(np.zeros(problem.domain.dim), 1.0), 500)
    )
    theta = np.concatenate([points(problem.domain, 500), nearby, found.point[None]])
    assert np.min(np.max(problem.losses(theta), axis=-1)) >= found.lower


@pytest.mark.parametrize("name", RANDOM)
def test_weighted_optimum_at_every_vertex_and_inside(name):
    problem = single(name)
    theta = points(problem.domain, 500)
    minimax = certify(problem)
    for weights in simplex(6, problem.num_tasks):
        found = certify(problem, weights)
        np.testing.assert_array_equal(found.weights, weights)
        assert np.min(problem.losses(theta) @ weights) >= found.lower
        value = weights @ problem.losses(found.point)
        assert found.lower <= value <= found.upper
        assert found.lower <= minimax.upper  # a mixture is never above the maximum


@pytest.mark.parametrize("family", RANDOM)
def test_batch_stacks_the_single_certificates(family):
    problem = batch(family)
    together = certify_batch(problem)
    assert together.point.shape == (3, 3)
    assert together.weights.shape == (3, 4)
    for i, instance in enumerate(problem.instances()):
        alone = certify(instance)
        assert together.lower[i] == alone.lower
        assert together.upper[i] == alone.upper
        np.testing.assert_array_equal(together.point[i], alone.point)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("seed", range(3))
def test_interval_holds_whatever_the_solver_says(name, seed, monkeypatch):
    problem = single(name)
    truth = certify(problem)
    point = points(problem.domain, 4, seed)[seed]
    weights = simplex(9, problem.num_tasks, seed)[-1]
    monkeypatch.setattr(optima, "_solve", lambda *_: (point, weights))
    poor = certify(problem, tolerance=1e3)
    assert poor.lower <= truth.upper
    assert poor.upper >= truth.lower
    assert poor.upper - poor.lower > truth.upper - truth.lower
    with pytest.raises(optima.CertificateError, match="could not be certified"):
        certify(problem)


@pytest.mark.parametrize("name", EVERY)
def test_tangent_bound_is_below_the_optimum_for_any_points_weights_and_mixture(name):
    problem = single(name)
    best = certify(problem)
    rng = np.random.default_rng(5)
    theta = points(problem.domain, 9)
    theta[0] = best.point
    weights = simplex(9, problem.num_tasks)
    for _ in range(5):
        assert tangent_bound(problem, theta, weights, rng.dirichlet(np.full(9, 0.3))) <= best.upper


def test_tangent_bound_of_a_linear_weighted_risk_is_its_minimum():
    problem = single("max-linear")
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    theta = points(problem.domain, 5)
    rows = np.tile(weights, (5, 1))
    bound = tangent_bound(problem, theta, rows, np.full(5, 0.2))
    assert bound == pytest.approx(float(problem.dual_bound(weights)), abs=1e-14)


@pytest.mark.parametrize(
    "center",
    [
        0.0,
        1e4,
    ],
)
def test_interval_contains_the_optimum_in_exact_arithmetic(center):
    # a (theta - c) and c - theta meet at about c; the numbers of the problem are exact fractions
    for slope in np.random.default_rng(0).uniform(0.3, 2, 20):
        offsets = np.array([-slope * center, center])
        problem = MaxLinear(Ball.of([center + 0.3], 1.0), np.array([[slope], [-1.0]]), offsets)
        a, (b1, b2) = Fraction(slope), (Fraction(b) for b in offsets)
        optimum = b2 - (b2 - b1) / (a + 1)
        for stated in (problem, WithoutDual(problem)):
            found = certify(stated)
            assert Fraction(float(found.lower)) <= optimum <= Fraction(float(found.upper))


@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_loss_units_do_not_matter(scale):
    problem = single("max-linear")
    scaled = MaxLinear(problem.domain, scale * problem.slopes, scale * problem.offsets)
    one, other = certify(problem), certify(scaled)
    assert contains(other, scale * one.upper, slack=scale * 1e-9)


@pytest.mark.parametrize(
    ("loss_unit", "length"), [(1e-4, 1.0), (1e-2, 1e-2), (1e-2, 1e2), (1e2, 1e-2), (1e2, 1e4)]
)
def test_units_of_losses_and_parameters_do_not_matter(loss_unit, length):
    rng = np.random.default_rng(3)
    for _ in range(3):
        domain = Ball.of(np.zeros(4), length)
        slopes, offsets = rng.standard_normal((5, 4)), rng.standard_normal(5)
        certify(MaxLinear(domain, loss_unit / length * slopes, loss_unit * offsets))
        curvatures = loss_unit / length**2 * np.abs(rng.standard_normal((5, 4)))
        certify(DiagonalQuadratic(domain, curvatures, length * rng.uniform(-0.4, 0.4, (5, 4))))
