"""Constants of the problems against local maximisation over the ball."""

import numpy as np
import pytest

from tests.theory.instances import EVERY, QUADRATIC, RANDOM, batch, points, single
from theory.problems import (
    FAMILIES,
    Ball,
    Constants,
    Float,
    Logistic,
    Problem,
    appendix_c,
    jacobian,
)

every = pytest.mark.parametrize("name", EVERY)
EXACT_VALUES = ("max-linear", "near-ties", "two slopes", *QUADRATIC)
EXACT_SLOPES = (*EXACT_VALUES, "Drori-Teboulle", "angled")
SMOOTH = tuple(
    name for name in EVERY if name not in ("absolute", "Drori-Teboulle", "angled", "digits")
)

STARTS, ASCENTS = 8, 100


def highest_loss(problem: Problem) -> float:
    """Largest loss found: a convex loss never falls when moving to the pole of its gradient."""
    theta = starts(problem)
    for _ in range(ASCENTS):
        theta = poles(problem.domain, own_slopes(problem, theta))
    return float(np.max(np.einsum("tnt->tn", problem.losses(theta))))


def steepest_slope(problem: Problem) -> float:
    """Largest gradient norm found, by the same ascent on the squared norm of a task's gradient."""
    theta = starts(problem)
    step = 1e-5 * float(problem.domain.radius)
    best = 0.0
    for _ in range(ASCENTS):
        slopes = own_slopes(problem, theta)
        norms = np.linalg.norm(slopes, axis=-1, keepdims=True)
        best = max(best, float(np.max(norms)))
        # Hessian times gradient is half the gradient of the squared norm
        ahead = theta + step * slopes / np.where(norms == 0, 1.0, norms)
        theta = poles(problem.domain, own_slopes(problem, ahead) - slopes)
    return best


def own_slopes(problem: Problem, theta: Float) -> Float:
    """Gradient of task t at ``theta[t, n]``, ``[T, n, d]``."""
    weights = np.broadcast_to(np.eye(problem.num_tasks)[:, None], (*theta.shape[:2], len(theta)))
    return problem.weighted_gradient(theta, weights)


def starts(problem: Problem) -> Float:
    """The same points of the ball for every task, ``[T, n, d]``."""
    theta = points(problem.domain, STARTS, seed=7)
    return np.tile(theta, (problem.num_tasks, 1, 1))


def poles(domain: Ball, direction: Float) -> Float:
    """Farthest points of the ball in each direction; a zero direction stays at the centre."""
    norm = np.linalg.norm(direction, axis=-1, keepdims=True)
    return domain.center + domain.radius * direction / np.where(norm == 0, 1.0, norm)


@every
def test_loss_bound_covers_the_highest_loss(name):
    problem = single(name)
    bound = float(problem.constants().loss_bound)
    found = highest_loss(problem)
    assert found <= bound * (1 + 1e-12)
    if name in EXACT_VALUES:
        assert found == pytest.approx(bound, rel=1e-9)


@every
def test_lipschitz_constant_covers_the_steepest_slope(name):
    problem = single(name)
    bound = float(problem.constants().lipschitz)
    random = np.linalg.norm(jacobian(problem, points(problem.domain, 400)), axis=-1)
    found = max(steepest_slope(problem), float(np.max(random)))
    assert found <= bound * (1 + 1e-12)
    if name in EXACT_SLOPES:
        assert found == pytest.approx(bound, rel=1e-9)


@every
def test_loss_range_covers_the_values_found(name):
    problem = single(name)
    constants = problem.constants()
    theta = starts(problem)
    rate = float(problem.domain.radius) / float(constants.lipschitz)
    lowest = np.inf
    for k in range(ASCENTS):
        lowest = min(lowest, float(np.min(problem.losses(theta))))
        descent = rate / (k + 1) ** 0.5 * own_slopes(problem, theta)
        theta = problem.domain.project(theta - descent)
    assert highest_loss(problem) - lowest <= float(constants.loss_range) * (1 + 1e-12)


@pytest.mark.parametrize("name", ["max-linear", "near-ties", "two slopes"])
def test_exact_range_of_linear_tasks_is_attained_at_the_poles(name):
    problem = single(name)
    tops = poles(problem.domain, problem.slopes)
    bottoms = poles(problem.domain, -problem.slopes)
    spread = np.max(problem.losses(tops)) - np.min(problem.losses(bottoms))
    assert float(problem.constants().loss_range) == pytest.approx(spread, rel=1e-12)


@pytest.mark.parametrize("name", QUADRATIC)
def test_exact_range_of_quadratics_is_their_bound_because_each_attains_zero(name):
    problem = single(name)
    own = np.diagonal(problem.losses(problem.minimizers))
    np.testing.assert_array_equal(own, 0.0)
    assert problem.constants().loss_range == problem.constants().loss_bound


@pytest.mark.parametrize("name", SMOOTH)
def test_curvature_between_modulus_and_smoothness(name):
    problem = single(name)
    constants = problem.constants()
    x, y = points(problem.domain, 300, seed=1), points(problem.domain, 300, seed=2)
    x, y = x[apart := np.linalg.norm(x - y, axis=-1) > 0.01], y[apart]
    y[::2] = x[::2] + 1e-4 * (y[::2] - x[::2])  # near pairs see the local curvature
    change = jacobian(problem, x) - jacobian(problem, y)
    distance = np.linalg.norm(x - y, axis=-1)
    rounding = 1e-14 * float(constants.lipschitz) / distance[:, None]
    steepness = np.linalg.norm(change, axis=-1) / distance[:, None]
    assert np.all(steepness <= float(constants.smoothness) * (1 + 1e-12) + rounding)
    along = np.einsum("ntd,nd->nt", change, x - y) / (distance**2)[:, None]
    assert np.all(along >= float(constants.strong_convexity) - rounding)


@pytest.mark.parametrize("name", QUADRATIC)
def test_exact_curvatures_are_eigenvalues_of_difference_hessians(name):
    problem = single(name)
    center, dim = problem.domain.center, problem.domain.dim
    columns = jacobian(problem, center + np.eye(dim)) - jacobian(problem, center)  # linear gradient
    eigenvalues = np.linalg.eigvalsh(np.swapaxes(columns, 0, 1))
    constants = problem.constants()
    largest = float(np.max(eigenvalues))
    assert float(constants.smoothness) == pytest.approx(largest, rel=1e-9)
    assert float(constants.strong_convexity) == pytest.approx(
        float(np.min(eigenvalues)), abs=1e-9 * largest
    )


def test_smoothness_of_logistic_tasks_is_attained_where_all_margins_vanish():
    problem = single("logistic")
    assert np.linalg.norm(problem.domain.center) < problem.domain.radius  # 0 is inside
    step = 1e-6
    moves = step * np.eye(problem.domain.dim)
    columns = (jacobian(problem, moves) - jacobian(problem, -moves)) / (2 * step)
    steepest = np.max(np.linalg.eigvalsh(np.swapaxes(columns, 0, 1)))
    assert float(problem.constants().smoothness) == pytest.approx(steepest, rel=1e-8)


def test_logistic_modulus_is_attained_by_one_sample_in_one_dimension():
    problem = Logistic(Ball.of(np.array([0.4]), 1.1), np.full((1, 1, 1), 2.0), np.ones((1, 1)))
    edge = np.array([1.5])  # the largest margin, 3
    step = 1e-5
    curvature = (jacobian(problem, edge + step) - jacobian(problem, edge - step)) / (2 * step)
    modulus = float(problem.constants().strong_convexity)
    assert modulus == pytest.approx(float(curvature[0, 0]), rel=1e-8)
    assert modulus > 0.1


def test_logistic_tasks_with_fewer_samples_than_dimensions_are_not_strongly_convex():
    problem = FAMILIES["logistic"](np.random.default_rng(0), 50, 1, 10)  # 8 samples
    np.testing.assert_array_equal(problem.constants().strong_convexity, 0.0)


@pytest.mark.parametrize("family", ["absolute", "Huber", "logistic"])
def test_bounds_are_met_when_one_sample_makes_a_task(family):
    # with one sample the triangle inequality is an equality, so the bounds are values attained
    whole = batch(family)[0]
    parts = {"features": whole.features[:, :1], "shares": np.ones((4, 1))}
    if family != "logistic":
        parts["targets"] = whole.targets[:, :1]
        del parts["shares"]
    options = {"knee": whole.knee} if family == "Huber" else {}
    problem = type(whole)(domain=whole.domain, **parts, **options)
    constants = problem.constants()
    assert highest_loss(problem) == pytest.approx(float(constants.loss_bound), rel=1e-9)
    if family != "logistic":  # whose slope only tends to the bound
        assert steepest_slope(problem) == pytest.approx(float(constants.lipschitz), rel=1e-9)


@pytest.mark.parametrize("steepness", [1.0, 4.0, 9.0])
def test_constants_of_appendix_c_are_those_stated(steepness):
    constants = appendix_c(steepness, 10).constants()
    found = (
        constants.lipschitz,
        constants.smoothness,
        constants.strong_convexity,
        constants.loss_bound,
    )
    np.testing.assert_allclose(found, (2 * steepness, 2 * steepness, 2.0, steepness), rtol=1e-12)


@pytest.mark.parametrize("family", RANDOM)
def test_provenance_says_what_is_exact(family):
    constants = batch(family).constants()
    expected = "exact" if family in EXACT_VALUES else "bound"
    for field in ("lipschitz", "smoothness", "strong_convexity", "loss_bound", "loss_range"):
        assert constants.provenance(field) == expected
    assert Constants(1.0, exact=frozenset({"lipschitz"})).provenance("smoothness") == "bound"
