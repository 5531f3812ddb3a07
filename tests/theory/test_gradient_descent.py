import numpy as np
import pytest

from theory.gradient_descent import Risk, follow
from theory.judge import Outcome
from theory.problems import Ball

HESSIAN = np.diag([0.2, 1.0])
MINIMIZER = np.array([1.0, -2.0])


def quadratic(domain=None):
    """One instance with known minimiser (1, -2), mu = 0.2 and L = 1, started at the origin."""

    def gradient(theta):
        return (theta - MINIMIZER) @ HESSIAN

    return Risk(
        "quadratic",
        lambda theta: 0.5 * np.sum((theta - MINIMIZER) * gradient(theta), axis=-1),
        gradient,
        np.array([0.2]),
        np.array([1.0]),
        np.zeros((1, 2)),
        domain,
    )


def test_minimizer_is_found_within_its_certified_error():
    best, error = quadratic().minimizer()
    assert np.linalg.norm(best - MINIMIZER) <= error + 1e-15
    assert error < 1e-13


def test_minimizer_on_a_ball_is_found():
    # optimality on the boundary: minus the gradient points straight outwards
    best, error = quadratic(Ball.of(np.zeros((1, 2)), np.array([1.0]))).minimizer()
    assert np.linalg.norm(best) == pytest.approx(1, abs=1e-15)
    pull = (MINIMIZER - best[0]) @ HESSIAN
    np.testing.assert_allclose(pull / np.linalg.norm(pull), best[0], atol=1e-12)
    assert error < 1e-12


def test_the_certificate_is_honest_far_from_the_minimum():
    risk = quadratic()
    rng = np.random.default_rng(0)
    for theta in 5 * rng.standard_normal((100, 1, 2)):
        residual = np.linalg.norm(theta - risk.step(theta, 1.0), axis=-1)
        certified = residual * risk.smoothness / risk.modulus
        assert np.linalg.norm(theta - MINIMIZER) <= certified * (1 + 1e-12)


def test_path_is_gradient_descent():
    path = follow(quadratic(), (0.5, 2.0), 7)
    for s, factor in enumerate((0.5, 2.0)):
        expected = [
            np.linalg.norm(np.linalg.matrix_power(np.eye(2) - factor * HESSIAN, k) @ MINIMIZER)
            for k in range(8)
        ]
        np.testing.assert_allclose(path.distance[:, s, 0], expected, rtol=1e-12)
    assert path.excess == pytest.approx(0.5 * (0.2 + 4))


def test_comparison_picks_the_iterate_nearest_to_violation():
    path = follow(quadratic(), (1.0,), 5)
    bound = np.full((6, 1, 1), 100.0)
    bound[3] = path.distance[3, 0, 0] / 2
    (found,) = path.compare(bound)
    assert found.witness.endswith("k=3")
    assert found.outcome("<=") is Outcome.FALSIFIED
    (found,) = path.compare(bound, first=4)
    assert found.witness.endswith("k=4")
    assert found.outcome("<=") is Outcome.CONFIRMED
