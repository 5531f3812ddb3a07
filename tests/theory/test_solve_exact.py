"""The certificate of `theory.solve`, recomputed in rational arithmetic from the definition."""

from fractions import Fraction

import numpy as np
import pytest

from theory import solve as module
from theory.problems import Ball, MaxLinear
from theory.solve import solve


def rational(array):
    """The same numbers, exactly."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, dtype=float))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("height", [0.0, 1e3])
def test_both_ends_of_the_interval_hold_exactly(scale, height):
    for seed in range(15):
        rng = np.random.default_rng(seed)
        tasks, dim = int(rng.integers(1, 8)), int(rng.integers(1, 6))
        ball = Ball.of(rng.standard_normal(dim), rng.uniform(0.5, 2))
        offsets = rng.standard_normal(tasks) + height
        problem = MaxLinear(ball, scale * rng.standard_normal((tasks, dim)), scale * offsets)
        found = solve(problem, 1e-9)
        slopes, heights = rational(problem.slopes), rational(problem.offsets)
        assert max(slopes @ rational(found.point) + heights) <= Fraction(found.upper)
        weights = rational(found.weights) / sum(rational(found.weights))
        slope = weights @ slopes
        # the bound w.b + g.c - R |g| is at least `lower`, without a square root
        above = weights @ heights + slope @ rational(ball.center) - Fraction(found.lower)
        assert above >= 0
        assert Fraction(float(ball.radius)) ** 2 * (slope @ slope) <= above * above


@pytest.mark.parametrize("shift", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("depth", [0.5, 1.0, 3.0])
def test_judged_points_lie_inside_in_exact_arithmetic(shift, depth):
    rng = np.random.default_rng(0)
    for _ in range(30):
        ball = Ball.of(rng.standard_normal(4) + shift, rng.uniform(0.1, 2.0))
        direction = rng.standard_normal(4)
        proposal = ball.center + depth * ball.radius * direction / np.linalg.norm(direction)
        judged = module._inside(ball, proposal)
        offset = rational(judged) - rational(ball.center)
        assert offset @ offset <= Fraction(float(ball.radius)) ** 2
        nearest = ball.project(proposal)
        np.testing.assert_allclose(judged, nearest, rtol=0, atol=1e-13 * (1 + shift))
