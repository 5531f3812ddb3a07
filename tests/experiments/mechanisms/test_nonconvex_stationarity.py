"""Stationarity against autograd, brute force and the conditions of optimality."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.problem import gram, task_gradients
from experiments.mechanisms.nonconvex.stationarity import clarke_distance, weighted_norm
from taskrobust import softmax_weights
from tests.experiments.mechanisms.heads import random_head

seeds = st.integers(0, 2**32 - 1)


def at_a_random_point(seed, *, size=0.5):
    problem = random_head(seed)
    rng = np.random.default_rng([seed, 1])
    point = rng.normal(size=problem.head.shape)
    with torch.no_grad():
        problem.head.copy_(torch.from_numpy(size * point / np.linalg.norm(point)))
    return problem


@settings(max_examples=30)
@given(seeds, st.floats(0.1, 50))
def test_the_weighted_gradient_is_that_of_the_smooth_maximum(seed, alpha):
    problem = at_a_random_point(seed)
    smooth = torch.logsumexp(alpha * problem.risks(), dim=0) / alpha
    (expected,) = torch.autograd.grad(smooth, problem.head)
    risks = problem.risks()
    weights = softmax_weights(risks.detach(), alpha).numpy()
    combined = weights @ task_gradients(problem, risks).numpy()
    np.testing.assert_allclose(combined, expected.flatten(), atol=1e-12)
    found = weighted_norm(gram(problem, risks), weights)
    assert found == pytest.approx(float(expected.norm()), rel=1e-9)


@settings(max_examples=30)
@given(seeds, st.integers(1, 6), st.integers(1, 4))
def test_the_smallest_combination_obeys_the_conditions_of_optimality(seed, tasks, dim):
    # min ‖Jᵀw‖ over the simplex: w is optimal if and only if ⟨g_t, g⟩ ≥ ‖g‖² for every t.
    gradients = np.random.default_rng(seed).normal(size=(tasks, dim))
    products = gradients @ gradients.T
    distance, weights = clarke_distance(products, np.zeros(tasks), active=0.1)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert distance == pytest.approx(np.linalg.norm(weights @ gradients), abs=1e-7)
    assert (products @ weights >= distance**2 - 1e-5).all()


@settings(max_examples=15)
@given(seeds)
def test_the_smallest_combination_of_three_is_that_of_a_grid(seed):
    gradients = np.random.default_rng(seed).normal(size=(3, 4))
    steps = 200
    grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)])
    norms = np.linalg.norm(grid / steps @ gradients, axis=1)
    found, _ = clarke_distance(gradients @ gradients.T, np.zeros(3), active=0.1)
    assert found <= norms.min() + 1e-6
    assert found >= norms.min() - 2 * np.linalg.norm(gradients, axis=1).max() / steps


def test_only_nearly_worst_tasks_take_part():
    gradients = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.3]])
    risks = np.array([1.0, 0.99, 0.5])
    near, weights = clarke_distance(gradients @ gradients.T, risks, active=0.05)
    assert near == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0], atol=1e-6)
    alone, _ = clarke_distance(gradients @ gradients.T, risks, active=0.001)
    assert alone == pytest.approx(1)


def test_gradients_that_are_not_finite_are_refused():
    with pytest.raises(ConfigurationError, match=r"finite.*learning_rate"):
        clarke_distance(np.full((2, 2), math.nan), np.zeros(2), active=0.1)
