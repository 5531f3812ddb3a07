import cvxpy as cp
import numpy as np
import pytest

from tests.theory.instances import EVERY, RANDOM, batch, points, simplex, single
from theory.problems import (
    Ball,
    CountedProblem,
    Problem,
    jacobian,
)

every = pytest.mark.parametrize("name", EVERY)
batched = pytest.mark.parametrize("family", RANDOM)


def scale_of(problem: Problem) -> float:
    """Magnitude of the losses, for rounding."""
    return float(np.max(problem.constants().loss_range))


@every
def test_problem_meets_the_protocol(name):
    problem = single(name)
    assert isinstance(problem, Problem)
    theta = points(problem.domain, 5)
    assert problem.losses(theta).shape == (5, problem.num_tasks)
    assert problem.weighted_gradient(theta, simplex(5, problem.num_tasks)).shape == theta.shape
    assert np.shape(problem.constants().lipschitz) == ()


@every
def test_losses_are_convex_along_segments(name):
    problem = single(name)
    x, y = points(problem.domain, 60, seed=1), points(problem.domain, 60, seed=2)
    share = np.random.default_rng(3).random((60, 1))
    between = problem.losses((1 - share) * x + share * y)
    chord = (1 - share) * problem.losses(x) + share * problem.losses(y)
    assert np.all(between <= chord + 1e-13 * scale_of(problem))


@every
def test_weighted_gradient_is_a_subgradient(name):
    problem = single(name)
    weights = simplex(80, problem.num_tasks)
    x, y = points(problem.domain, 80, seed=1), points(problem.domain, 80, seed=2)
    y[::2] = problem.domain.project(x[::2] + 1e-4 * (y[::2] - x[::2]))  # near and far
    at_x, at_y = (np.sum(weights * problem.losses(p), axis=-1) for p in (x, y))
    rise = np.sum(problem.weighted_gradient(x, weights) * (y - x), axis=-1)
    assert np.all(at_y >= at_x + rise - 1e-13 * scale_of(problem))


@pytest.mark.parametrize("name", ["absolute", "Drori-Teboulle", "angled"])
def test_subgradient_at_a_kink(name):
    problem = single(name)
    if name == "absolute":
        # where three residuals of the first task vanish, all its pieces meet
        theta = np.linalg.solve(problem.features[0, :3], problem.targets[0, :3])
        assert np.sum(np.abs(problem.features[0] @ theta - problem.targets[0]) < 1e-12) == 3
    else:
        theta = problem.minimizer
    others = theta + 0.01 * points(Ball.of(np.zeros(theta.size), 1.0), 200)
    for weights in simplex(6, problem.num_tasks):
        slope = problem.weighted_gradient(theta, weights)
        here = weights @ problem.losses(theta)
        there = problem.losses(others) @ weights
        assert np.all(there >= here + (others - theta) @ slope - 1e-13)


@every
def test_weighted_gradient_matches_central_differences(name):
    problem = single(name)
    center, radius = problem.domain.center, float(problem.domain.radius)
    theta = center + 0.9 * (points(problem.domain, 6, seed=4) - center)
    step = 1e-5 * radius
    moves = step * np.eye(problem.domain.dim)
    slopes = (problem.losses(theta[:, None] + moves) - problem.losses(theta[:, None] - moves)) / (
        2 * step
    )
    # central differences are exact to third order; a second-order error would be 1e-5
    found = jacobian(problem, theta)
    allowed = 1e-8 * float(problem.constants().lipschitz)
    np.testing.assert_allclose(np.swapaxes(found, -1, -2), slopes, rtol=0, atol=allowed)


@every
def test_weighted_gradient_is_linear_in_the_weights(name):
    problem = single(name)
    theta, weights = points(problem.domain, 7), simplex(7, problem.num_tasks)
    combined = np.einsum("nt,ntd->nd", weights, jacobian(problem, theta))
    np.testing.assert_allclose(
        problem.weighted_gradient(theta, weights),
        combined,
        rtol=0,
        atol=1e-13 * float(problem.constants().lipschitz),
    )


@batched
def test_batch_row_equals_its_instance(family):
    problem = batch(family)
    theta = points(problem.domain, 2)[1]
    weights = simplex(6, problem.num_tasks)[-3:]
    constants = problem.constants()
    assert len(list(problem.instances())) == 3
    for i, alone in enumerate(problem.instances()):
        assert alone.batch_shape == ()
        close = {"rtol": 1e-13, "atol": 1e-13}
        np.testing.assert_allclose(problem.losses(theta)[i], alone.losses(theta[i]), **close)
        np.testing.assert_allclose(
            problem.weighted_gradient(theta, weights)[i],
            alone.weighted_gradient(theta[i], weights[i]),
            **close,
        )
        for field in ("lipschitz", "smoothness", "strong_convexity", "loss_bound", "loss_range"):
            together = np.broadcast_to(getattr(constants, field), (3,))[i]
            np.testing.assert_allclose(together, getattr(alone.constants(), field), **close)
        if hasattr(problem, "dual_bound") and family != "absolute":  # that one takes one instance
            expected = alone.dual_bound(weights[i])
            np.testing.assert_allclose(problem.dual_bound(weights)[i], expected, **close)


@batched
def test_extra_leading_axes_broadcast(family):
    problem = batch(family)
    theta = points(problem.domain, 8).reshape(2, 4, 3, 3)
    weights = simplex(24, problem.num_tasks).reshape(2, 4, 3, -1)
    losses, slopes = problem.losses(theta), problem.weighted_gradient(theta, weights)
    assert losses.shape == (2, 4, 3, problem.num_tasks)
    close = {"rtol": 1e-13, "atol": 1e-13}
    for s, r in np.ndindex(2, 4):
        np.testing.assert_allclose(losses[s, r], problem.losses(theta[s, r]), **close)
        expected = problem.weighted_gradient(theta[s, r], weights[s, r])
        np.testing.assert_allclose(slopes[s, r], expected, **close)
    shared = theta[0, 0, 0]  # one point for all instances
    repeated = np.tile(shared, (3, 1))
    np.testing.assert_allclose(problem.losses(shared), problem.losses(repeated), **close)


def test_slice_is_a_smaller_batch_and_a_single_instance_has_none():
    problem = batch("Huber")
    part = problem[1:]
    assert part.batch_shape == (2,)
    np.testing.assert_array_equal(part.features, problem.features[1:])
    assert part.knee == problem.knee
    alone = problem[0]
    assert list(alone.instances()) == [alone]
    with pytest.raises(IndexError, match="no batch axis"):
        alone[0]


@every
def test_least_levels_of_the_epigraph_are_the_losses(name):
    problem = single(name)
    for point in points(problem.domain, 3)[1:]:
        theta, levels = cp.Variable(problem.domain.dim), cp.Variable(problem.num_tasks)
        program = cp.Problem(
            cp.Minimize(cp.sum(levels)), [theta == point, *problem.epigraph(theta, levels)]
        )
        program.solve(solver=cp.CLARABEL)
        allowed = 1e-6 * scale_of(problem)
        np.testing.assert_allclose(levels.value, problem.losses(point), rtol=0, atol=allowed)


def test_counts_of_oracle_calls():
    problem = CountedProblem(single("logistic"))
    theta = points(problem.domain, 5)
    np.testing.assert_array_equal(problem.losses(theta), problem.inner.losses(theta))
    weights = simplex(5, problem.num_tasks)
    problem.weighted_gradient(theta, weights)
    problem.weighted_gradient(theta, weights)
    assert problem.counts.loss_evaluations == problem.num_tasks == 4
    assert problem.counts.backward_passes == 2
    assert problem.domain is problem.inner.domain
    assert problem.constants().lipschitz == problem.inner.constants().lipschitz
    assert isinstance(problem, Problem)
