"""Extreme values of quadratics on a ball against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from theory.problems.secular import max_on_ball, min_on_ball


def value(curvature, linear, x):
    return 0.5 * np.sum(curvature * x * x, axis=-1) + np.sum(linear * x, axis=-1)


def brute_maximum(curvature, linear, radius):
    """Best of many ascents: a convex function never falls on moving to its gradient's pole."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, len(curvature)))
    for _ in range(3_000):
        norm = np.linalg.norm(x, axis=-1, keepdims=True)
        x = radius * x / np.where(norm == 0, 1.0, norm)
        best = np.max(value(curvature, linear, x))
        x = curvature * x + linear
    return best


def brute_minimum(curvature, linear, radius):
    """Best of several sequential quadratic programs, each started inside the ball."""
    starts = np.random.default_rng(0).standard_normal((3, len(curvature)))
    found = [
        minimize(
            lambda x: value(curvature, linear, x),
            0.1 * radius * start / np.linalg.norm(start),
            jac=lambda x: curvature * x + linear,
            constraints={
                "type": "ineq",
                "fun": lambda x: radius**2 - x @ x,
                "jac": lambda x: -2 * x,
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]
    return min(
        value(curvature, linear, r.x * radius / max(radius, np.linalg.norm(r.x))) for r in found
    )


CASES = {
    "generic": ([0.3, 1.0, 2.0], [0.5, -0.2, 0.1], 1.5),
    "one dimension": ([2.0], [-1.0], 0.7),
    "hard case": ([1.0, 3.0], [0.5, 0.0], 2.0),  # no linear term along the top eigenvector
    "hard case, double top": ([1.0, 3.0, 3.0], [0.5, 0.0, 0.0], 2.0),
    "nearly hard": ([1.0, 3.0], [0.5, 1e-9], 2.0),
    "easy though orthogonal": ([1.0, 3.0], [20.0, 0.0], 2.0),
    "no linear term": ([1.0, 3.0], [0.0, 0.0], 2.0),
    "no curvature": ([0.0, 0.0], [3.0, 4.0], 2.0),
    "nothing": ([0.0, 0.0], [0.0, 0.0], 2.0),
    "flat and linear": ([0.0, 1.0], [1.0, 0.0], 2.0),
    "flat without linear": ([0.0, 1.0], [0.0, 1.0], 2.0),
    "sphere": ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 1.0),
    "minimum on the sphere": ([0.1, 0.2], [3.0, -4.0], 1.0),
    "ill-conditioned": ([1e-6, 1.0], [1e-7, 0.3], 1.0),
    "small ball": ([1.0, 2.0], [1.0, 1.0], 1e-6),
    "large ball": ([1.0, 2.0], [1.0, 1.0], 1e6),
}
cases = pytest.mark.parametrize(
    ("curvature", "linear", "radius"),
    [(np.array(h), np.array(p), np.float64(r)) for h, p, r in CASES.values()],
    ids=list(CASES),
)


@cases
def test_maximum_equals_the_best_of_many_ascents(curvature, linear, radius):
    found = float(max_on_ball(curvature, linear, radius))
    assert found == pytest.approx(brute_maximum(curvature, linear, radius), rel=1e-10, abs=1e-300)


@cases
def test_minimum_equals_sequential_quadratic_programming(curvature, linear, radius):
    found = float(min_on_ball(curvature, linear, radius))
    scale = float(np.max(np.abs(linear)) * radius + np.max(curvature) * radius**2)
    best = brute_minimum(curvature, linear, radius)
    assert found <= best + 1e-15 * scale
    assert found == pytest.approx(best, abs=1e-7 * scale)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, 2.0])
@pytest.mark.parametrize("curvature", [(0.0, 1.0), (1.0, 1.0), (0.5, 4.0)])
def test_plane_maximum_equals_a_search_of_the_circle(angle, curvature):
    curvature, radius = np.array(curvature), np.float64(1.3)
    linear = 0.8 * np.array([np.cos(angle), np.sin(angle)])

    def negative(turn):
        return -value(curvature, linear, radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1))

    grid = np.linspace(0, 2 * np.pi, 20_001)
    near = grid[np.argmin(negative(grid))]
    refined = minimize_scalar(
        negative, bounds=(near - 1e-3, near + 1e-3), method="bounded", options={"xatol": 1e-9}
    )
    assert float(max_on_ball(curvature, linear, radius)) == pytest.approx(-refined.fun, rel=1e-12)


numbers = st.one_of(st.just(0.0), st.floats(1e-6, 1e3))
signed = numbers.flatmap(lambda n: st.sampled_from([n, -n]))


@given(st.data())
def test_no_feasible_point_beats_the_extremes(data):
    dim = data.draw(st.integers(1, 5))
    curvature = np.array(data.draw(st.lists(numbers, min_size=dim, max_size=dim)))
    linear = np.array(data.draw(st.lists(signed, min_size=dim, max_size=dim)))
    radius = np.float64(data.draw(st.floats(1e-3, 1e3)))
    x = np.random.default_rng(0).standard_normal((200, dim))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    x = np.concatenate([x, np.eye(dim), -np.eye(dim), np.zeros((1, dim)), 0.5 * x]) * radius
    values = value(curvature, linear, x)
    rounding = 1e-13 * float(np.max(curvature) * radius**2 + np.max(np.abs(linear)) * radius)
    assert np.max(values) <= max_on_ball(curvature, linear, radius) + rounding
    assert np.min(values) >= min_on_ball(curvature, linear, radius) - rounding


def test_rows_of_a_batch_are_independent():
    stacked = [
        np.stack([np.array(CASES[n][i]) for n in ("hard case", "no curvature")]) for i in (0, 1)
    ]
    radius = np.array([2.0, 2.0])
    for extreme in (max_on_ball, min_on_ball):
        rows = [extreme(h, p, np.float64(2.0)) for h, p in zip(*stacked, strict=True)]
        np.testing.assert_array_equal(extreme(*stacked, radius), rows)
