"""The convex control: its certificate against SLSQP, its constants, what descent makes of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex import descent
from experiments.mechanisms.nonconvex.certificate import certify, evaluated
from experiments.mechanisms.nonconvex.configuration import Arm, Control
from experiments.mechanisms.nonconvex.control import head_tasks
from experiments.mechanisms.nonconvex.descent import descend
from experiments.mechanisms.nonconvex.problem import Constants, sharpness
from taskrobust import sharp_constant, softmax_weights
from tests.experiments.mechanisms.heads import random_head, recipe

seeds = st.integers(0, 2**32 - 1)
STEPS = 600
ARMS = {
    "average": Arm(alpha=0.0),
    "small": Arm(alpha=0.3),
    "large": Arm(alpha=30.0),
    "square-root": Arm(schedule="square-root", alpha=30.0),
    "sharpened": Arm(schedule="sharpened"),
    "printed": Arm(schedule="printed"),
    "hard": Arm(alpha=math.inf),
}


def worst(problem, point):
    return evaluated(problem, point, np.ones(problem.num_tasks))[0].max()


@pytest.fixture(scope="module")
def certified():
    return certify(random_head(3))


def by_theorem(problem, certificate, arm):
    """Algorithm 1 with the constants of Theorem 3.1: the trace and bound (8')."""
    radius = float(np.linalg.norm(certificate.point))
    known = Constants(radius, problem.lipschitz, problem.loss_bound, certified=True)
    alpha = sharpness(arm, STEPS, problem.num_tasks, known)
    rate = radius / (problem.lipschitz * math.sqrt(STEPS))
    trace = descend(problem, alpha, recipe(STEPS, rate, averaging=True))
    with np.errstate(divide="ignore"):
        softmax = sharp_constant(problem.num_tasks) * float(np.mean(1 / alpha))
    return trace, radius * problem.lipschitz / math.sqrt(STEPS) + softmax


@settings(max_examples=8)
@given(seeds)
def test_the_certified_interval_is_that_of_slsqp(seed):
    problem = random_head(seed)
    found = certify(problem)
    assert 0 <= found.upper - found.lower <= 1e-6
    size = problem.head.numel()

    def risks(flat):
        return evaluated(problem, flat[:size].reshape(problem.head.shape), np.ones(3) / 3)[0]

    other = minimize(
        lambda x: x[-1],
        np.append(np.zeros(size), 2.0),
        constraints=[{"type": "ineq", "fun": lambda x: x[-1] - risks(x)}],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert other.fun == pytest.approx(found.upper, abs=1e-5)


@settings(max_examples=8)
@given(seeds)
def test_no_head_is_below_the_lower_end_and_the_best_is_in_the_ball(seed):
    problem, rng = random_head(seed), np.random.default_rng(seed)
    found = certify(problem)
    directions = rng.normal(size=(100, *problem.head.shape))
    sizes = problem.radius * 10.0 ** rng.uniform(-6, 0, size=(100, 1, 1))
    steps = sizes * directions / np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    assert min(worst(problem, point) for point in [*steps, *(found.point + steps)]) >= found.lower
    assert worst(problem, found.point) == found.upper
    assert np.linalg.norm(found.point) <= problem.radius


@settings(max_examples=20)
@given(seeds)
def test_constants_hold_in_the_ball(seed):
    problem, rng = random_head(seed), np.random.default_rng([seed, 1])
    for scale in (0.1, 1.0):
        point = rng.normal(size=problem.head.shape)
        point *= scale * problem.radius / np.linalg.norm(point)
        for task in range(problem.num_tasks):
            risks, gradient = evaluated(problem, point, np.eye(problem.num_tasks)[task])
            assert np.linalg.norm(gradient) <= problem.lipschitz * (1 + 1e-12)
        assert risks.max() <= problem.loss_bound


def test_an_interval_that_does_not_close_is_refused():
    with pytest.raises(ConfigurationError, match=r"known to -1 nats.*control\.ridge"):
        certify(random_head(0), width=-1)


@pytest.mark.parametrize("name", ARMS)
def test_descent_keeps_the_corrected_bound_of_theorem_3_1(certified, name):
    problem = random_head(3)
    trace, bound = by_theorem(problem, certified, ARMS[name])
    gap = trace.averaged_worst[-1] - certified.upper
    assert certified.lower - certified.upper <= gap
    assert name == "average" or gap <= bound


def test_the_plateau_of_a_small_sharpness_is_above_that_of_a_large_one(certified):
    gaps = {
        name: max(by_theorem(random_head(3), certified, ARMS[name])[0].risks[-1]) - certified.upper
        for name in ("average", "small", "large")
    }
    assert gaps["average"] > gaps["small"] > gaps["large"]
    assert gaps["large"] < sharp_constant(3) / 30


def test_descent_with_weights_on_the_best_tasks_does_not_come_near(certified, monkeypatch):
    right = max(by_theorem(random_head(3), certified, ARMS["large"])[0].risks[-1])
    monkeypatch.setattr(descent, "softmax_weights", lambda f, alpha: softmax_weights(-f, alpha))
    wrong = max(by_theorem(random_head(3), certified, ARMS["large"])[0].risks[-1])
    assert right - certified.upper < 0.05
    assert wrong - certified.upper > 0.2


CONTROL = Control(pieces_per_task=2, examples_per_task=3, features=2)


def states(seed=0, count=60, tasks=2):
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(rng.normal(size=(count, 4)) @ rng.normal(size=(4, 4))),
        torch.from_numpy(rng.integers(10, 14, count)),
        torch.from_numpy(np.arange(count) % tasks),
    )


def test_a_control_is_made_of_frequent_pieces_and_whitened_features():
    hidden, pieces, tasks = states()
    problem = head_tasks(CONTROL, hidden, pieces, tasks, 2)
    assert problem.inputs.shape == (6, 3)
    np.testing.assert_allclose(problem.inputs.T @ problem.inputs / 6, np.eye(3), atol=1e-12)
    frequent = set()
    for task in (0, 1):
        values, counts = np.unique(pieces.numpy()[tasks.numpy() == task], return_counts=True)
        frequent |= set(values[np.argsort(-counts, kind="stable")[:2]])
    assert problem.num_classes <= len(frequent)
    np.testing.assert_array_equal(np.bincount(problem.tasks), [3, 3])


def test_too_few_examples_or_features_are_refused():
    hidden, pieces, tasks = states()
    with pytest.raises(ConfigurationError, match=r"examples_per_task.*at most \d+.*found 99"):
        head_tasks(replace(CONTROL, examples_per_task=99), hidden, pieces, tasks, 2)
    with pytest.raises(ConfigurationError, match=r"features.*at most 1, the rank"):
        head_tasks(CONTROL, hidden[:, :1], pieces, tasks, 2)
