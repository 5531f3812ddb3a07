"""The same problem stated wastefully has the same optimum, and Algorithm 1 takes the same path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.descent import descend
from theory.optima import certify
from theory.problems import (
    AbsoluteRegression,
    Ball,
    DenseQuadratic,
    HuberRegression,
    MaxLinear,
)
from theory.problems.generate import conditioned, max_linear, starting_points
from theory.schedules import SCHEDULES, Setting
from theory.solve import solve

# Each example solves several convex programs: a tenth of the profile's examples.
fewer = settings(max_examples=settings().max_examples // 10)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))


def overlap(first, second):
    """Whether two certified intervals have a point in common."""
    return max(first.lower, second.lower) <= min(first.upper, second.upper)


def linear(tasks, dim, seed):
    rng = np.random.default_rng(seed)
    problem = max_linear(rng, 1, tasks, dim)
    return problem[0], starting_points(problem, rng)[0]


@fewer
@given(sizes)
def test_a_diagonal_quadratic_stated_densely(size):
    tasks, dim, seed = size
    rng = np.random.default_rng(seed)
    batch = conditioned(rng, 1, tasks, dim, condition=10.0)
    diagonal, start = batch[0], starting_points(batch, rng)[0]
    hessians = diagonal.curvatures[:, :, None] * np.eye(dim)
    dense = DenseQuadratic(diagonal.domain, hessians, diagonal.minimizers)
    assert overlap(certify(diagonal), certify(dense))
    assert overlap(solve(diagonal), certify(dense))
    setting = Setting(tasks, 20, 1.0, float(dense.constants().lipschitz))
    schedule = SCHEDULES["sharpened"](setting)
    runs = [descend(problem, schedule, start) for problem in (diagonal, dense)]
    np.testing.assert_allclose(runs[0].last, runs[1].last, rtol=0, atol=1e-12)


@fewer
@given(sizes)
def test_a_coordinate_that_nothing_depends_on(size):
    problem, start = linear(*size)
    slopes = np.column_stack([problem.slopes, np.zeros(problem.num_tasks)])
    domain = Ball.of(np.append(problem.domain.center, 0.0), problem.domain.radius)
    padded = MaxLinear(domain, slopes, problem.offsets)
    assert overlap(certify(problem), certify(padded))
    schedule = SCHEDULES["constant"](Setting(problem.num_tasks, 20, 1.0, 1.0))
    plain = descend(problem, schedule, start).average
    np.testing.assert_allclose(
        descend(padded, schedule, np.append(start, 0.0)).average, np.append(plain, 0.0), atol=1e-12
    )


@fewer
@given(sizes)
def test_tasks_that_are_never_the_worst(size):
    problem, _ = linear(*size)
    below = problem.offsets - float(problem.constants().loss_range) - 1.0
    slopes = np.concatenate([problem.slopes, problem.slopes])
    more = MaxLinear(problem.domain, slopes, np.concatenate([problem.offsets, below]))
    assert overlap(certify(problem), certify(more))
    assert overlap(certify(problem), solve(more))


@fewer
@given(sizes)
def test_absolute_values_as_pairs_of_linear_tasks(size):
    problem, _ = linear(*size)
    absolute = AbsoluteRegression(
        problem.domain, problem.slopes[:, None, :], -problem.offsets[:, None]
    )
    pairs = MaxLinear(
        problem.domain,
        np.concatenate([problem.slopes, -problem.slopes]),
        np.concatenate([problem.offsets, -problem.offsets]),
    )
    assert overlap(certify(absolute), certify(pairs))


@fewer
@given(sizes)
def test_huber_tasks_that_never_leave_their_quadratic_part(size):
    tasks, dim, seed = size
    rng = np.random.default_rng(seed)
    domain = Ball.of(np.zeros(dim), 2.0)
    features = rng.standard_normal((tasks, 1, dim))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    centers = rng.uniform(-1, 1, (tasks, dim)) / np.sqrt(dim)
    targets = np.sum(features * centers[:, None], axis=-1)
    huber = HuberRegression(domain, features, targets, knee=100.0)
    rows = features[:, 0]
    quadratic = DenseQuadratic(domain, rows[:, :, None] * rows[:, None, :], centers)
    assert overlap(certify(huber), certify(quadratic))


@pytest.mark.parametrize("copies", [2, 7])
def test_copies_of_all_tasks_leave_the_hard_maximum_alone(copies):
    problem, start = linear(4, 3, 0)
    more = MaxLinear(
        problem.domain, np.tile(problem.slopes, (copies, 1)), np.tile(problem.offsets, copies)
    )
    assert overlap(certify(problem), certify(more))
    schedule = SCHEDULES["sharpened"](Setting(4, 30, 1.0, 1.0))
    hard = type(schedule)(np.full(30, np.inf), schedule.step_size, schedule.averaging)
    np.testing.assert_allclose(
        descend(problem, hard, start).average, descend(more, hard, start).average, atol=1e-12
    )


def test_the_overlap_would_notice_another_optimum():
    first, second = linear(4, 3, 0)[0], linear(4, 3, 1)[0]
    assert not overlap(certify(first), certify(second))
