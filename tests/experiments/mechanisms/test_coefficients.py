import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.mechanisms.coefficients import (
    Trace,
    attached_coefficients,
    below_threshold,
    by_task,
    condition,
    rises,
    trace,
)
from experiments.records import RecordError
from taskrobust import create_balancer

TASKS = ("rgb", "depth", "semseg")
risks = arrays(np.float64, (5, 3), elements=st.floats(0.01, 8.0))
sharpness = st.floats(0.05, 5.0)


def result(rows, **fields):
    return {"arm": "attached", "seed": 3, "history": rows, **fields}


def log(step, values, weights, scale=1.0):
    named = {f"risk/{task}": value for task, value in zip(TASKS, values, strict=True)}
    named |= {f"weight/{task}": weight for task, weight in zip(TASKS, weights, strict=True)}
    return {"step": step, "loss": 1.0, "weight_scale": scale, **named}


@given(risks, sharpness)
def test_attached_coefficients_are_the_derivative_of_the_softmax_weighted_risk(values, alpha):
    leaf = torch.tensor(values, requires_grad=True)
    (torch.softmax(alpha * leaf, dim=1) * leaf).sum().backward()
    found = attached_coefficients(values, alpha)
    np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


@given(risks, sharpness)
def test_they_are_those_that_the_balancer_of_the_authors_form_uses(values, alpha):
    balancer = create_balancer("minimax-attached", 3, alpha=alpha).double()
    for row, expected in zip(values, attached_coefficients(values, alpha), strict=True):
        balancer(torch.tensor(row, requires_grad=True))
        np.testing.assert_allclose(balancer.last.weights.numpy(), expected, atol=1e-12)


@given(risks, sharpness)
def test_a_coefficient_is_negative_exactly_below_the_threshold(values, alpha):
    for row, found in zip(values, below_threshold(values, alpha), strict=True):
        total = sum(math.exp(alpha * each) for each in row)
        mean = sum(math.exp(alpha * each) / total * each for each in row)
        expected = [each < mean - 1 / alpha for each in row]
        margin = [abs(each - mean + 1 / alpha) > 1e-9 for each in row]
        assert [a for a, m in zip(found, margin, strict=True) if m] == [
            a for a, m in zip(expected, margin, strict=True) if m
        ]
    coefficients = attached_coefficients(values, alpha)
    recorded = Trace(TASKS, np.arange(1, 6), values, coefficients)
    assert condition(recorded, alpha)["largest_difference"] == 0
    sure = np.abs(coefficients) > 1e-12
    assert ((coefficients < 0) == below_threshold(values, alpha))[sure].all()


def test_coefficients_that_are_not_of_the_form_violate_the_condition():
    values = np.array([[0.3, 0.4, 4.0], [1.0, 1.1, 1.2]])
    honest = Trace(TASKS, np.arange(1, 3), values, attached_coefficients(values, 1.0))
    assert condition(honest, 1.0) == {"pairs": 6, "violations": 0, "largest_difference": 0.0}
    weights = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    found = condition(Trace(TASKS, honest.steps, values, weights), 1.0)
    assert found["violations"] == 2  # both easy tasks of the first step
    assert found["largest_difference"] > 0.05


@given(arrays(np.float64, (20, 3), elements=st.floats(-1, 2)))
def test_signs_are_counted_as_one_would_by_hand(coefficients):
    found = by_task(np.arange(1, 21), coefficients, TASKS)
    for place, task in enumerate(TASKS):
        column = [float(row[place]) for row in coefficients]
        steps = [number for number, each in enumerate(column, 1) if each < 0]
        turns = sum((a < 0) != (b < 0) for a, b in pairwise(column))
        assert found[task] == {
            "negative_share": pytest.approx(len(steps) / 20),
            "first_negative": min(steps, default=None),
            "last_negative": max(steps, default=None),
            "turns": turns,
            "smallest": min(column),
            "largest_absolute": max(abs(each) for each in column),
            "mean": pytest.approx(sum(column) / 20),
            "first": column[0],
            "last": column[-1],
        }


def test_a_trace_has_weights_times_their_scale_and_leaves_out_steps_without_a_task():
    rows = [
        log(1, (1.0, 2.0, 3.0), (0.2, -0.1, 0.9), scale=3.0),
        {"step": 1, "eval_loss": 1.0},
        log(2, (1.0, 2.0, 3.0), (0.5, 0.5, 0.0)),
        log(3, (1.5, 2.5, 3.5), (0.1, 0.2, 0.7)),
    ]
    del rows[2]["risk/semseg"]
    found = trace(result(rows), TASKS)
    assert found.steps.tolist() == [1, 3]
    np.testing.assert_allclose(found.coefficients, [[0.6, -0.3, 2.7], [0.1, 0.2, 0.7]])
    np.testing.assert_allclose(found.risks, [[1, 2, 3], [1.5, 2.5, 3.5]])


def test_a_risk_that_rises_is_told_with_its_step():
    values = np.array([[1.0, 5.0], [3.0, 4.0], [2.0, 4.5]])
    found = rises(Trace(("a", "b"), np.array([1, 2, 4]), values, values))
    assert found == {
        "a": {"first": 1.0, "last": 2.0, "largest": 3.0, "largest_at": 2},
        "b": {"first": 5.0, "last": 4.5, "largest": 5.0, "largest_at": 1},
    }


def test_a_history_of_means_over_several_steps_has_no_signs():
    rows = [log(step, (1.0, 2.0, 3.0), (0.2, 0.3, 0.5)) for step in (50, 100)]
    with pytest.raises(RecordError, match=r"history of attached/seed-3 .* log_every=1"):
        trace(result(rows), TASKS)
    with pytest.raises(RecordError, match="log_every=1"):
        trace(result([]), TASKS)


def test_a_history_without_weights_is_refused():
    rows = [log(1, (1.0, 2.0, 3.0), (0.2, 0.3, 0.5))]
    del rows[0]["weight/depth"]
    with pytest.raises(RecordError, match="has no 'weight/depth'"):
        trace(result(rows), TASKS)
    with pytest.raises(RecordError, match="history"):
        trace({"arm": "attached", "seed": 0}, TASKS)
