from decimal import Decimal

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a14_cost as a14
from theory.judge import Verdict
from theory.problems import FAMILIES, jacobian, starting_points

MISPRINTS = {"Minimax 2T", "Uncertainty 2T", "DWA 3T", "BERT rate"}
OURS = {"one pass", "two passes"}


@pytest.fixture
def instance():
    return FAMILIES["quadratic"](np.random.default_rng(0), 1, 3, 4)[0]


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a14.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert {name for name, v in found.items() if v is Verdict.CORRECTED} == OURS
    assert set(found.values()) == {Verdict.REFUTED, Verdict.CORRECTED, Verdict.HOLDS}


def test_one_backward_pass_a_task_fails(context, monkeypatch):
    def costly(problem, schedule, start):
        theta = start
        for k in range(schedule.num_steps):
            weights = a14.softmax_weights(problem.losses(theta), schedule.alpha[k])
            gradient = weights @ jacobian(problem, theta)
            theta = problem.domain.project(theta - schedule.step_size[k] * gradient)

    monkeypatch.setattr(a14, "descend", costly)
    found = verdicts(a14.CLAIM, context)
    assert found["losses"] is Verdict.HOLDS
    for line in ("gradients", "comparable", "one pass", "two passes"):
        assert found[line] is Verdict.FAILS


def test_losses_at_another_point_cost_a_pass_of_their_own(context, monkeypatch):
    """A method that looks ahead cannot share the pass, and the tape notices."""

    def ahead(problem, start, step_size, weighting):
        theta = start
        for _ in range(a14.STEPS):
            weights = weighting(problem.losses(theta + 1e-3))
            theta = theta - step_size * problem.weighted_gradient(theta, weights)

    monkeypatch.setattr(a14, "weighted_descent", ahead)
    assert verdicts(a14.CLAIM, context)["one pass"] is Verdict.FAILS


def test_twice_the_work_would_confirm_the_printed_multiple(context, monkeypatch):
    def double(problem, schedule, start):
        for k in range(schedule.num_steps):
            for shift in (0.0, 1e-3):
                weights = np.ones(problem.num_tasks)
                problem.weighted_gradient(start + k + shift, weights)

    monkeypatch.setattr(a14, "descend", double)
    assert verdicts(a14.CLAIM, context)["Minimax 2T"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize(
    ("constant", "value", "line", "verdict"),
    [
        ("MAE_RATE", Decimal("4e-4"), "MAE rate", Verdict.FAILS),
        ("REFERENCE_BATCH", 128, "MAE rate", Verdict.FAILS),
        ("BERT_TEXT_RATE", Decimal("2e-4"), "BERT rate", Verdict.NOT_REFUTED),
    ],
)
def test_another_number_changes_the_verdict(context, monkeypatch, constant, value, line, verdict):
    monkeypatch.setattr(a14, constant, value)
    assert verdicts(a14.CLAIM, context)[line] is verdict


def test_the_tape_counts_points_not_calls(instance):
    taped = a14.Taped(instance)
    theta = starting_points(instance, np.random.default_rng(1))
    weights = np.full(3, 1 / 3)
    taped.losses(theta)
    taped.weighted_gradient(theta, weights)
    taped.weighted_gradient(theta + 0.1, weights)
    assert taped.forward_passes == 2
    assert taped.cost(shared=True) == 2 + 2 * 2
    assert taped.cost(shared=False) == 3 + 2 * 2


def test_uncertainty_starts_as_the_sum_and_learns_the_reciprocal():
    weighting, losses = a14.Uncertainty(np.zeros(3)), np.array([0.5, 1.0, 4.0])
    np.testing.assert_array_equal(weighting(losses), np.ones(3))
    for _ in range(2_000):
        weights = weighting(losses)
    np.testing.assert_allclose(weights, 1 / losses, rtol=1e-9)


def test_dynamic_weights_are_one_for_two_epochs_then_favour_the_slowest():
    weighting = a14.DynamicWeightAverage(epoch=1)
    np.testing.assert_array_equal(weighting(np.array([1.0, 1.0])), np.ones(2))
    np.testing.assert_array_equal(weighting(np.array([0.9, 0.3])), np.ones(2))
    weights = weighting(np.array([0.5, 0.5]))
    expected = 2 * np.exp([0.45, 0.15]) / np.sum(np.exp([0.45, 0.15]))
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


def test_descent_on_the_average_lowers_the_average(instance):
    start = starting_points(instance, np.random.default_rng(2))
    end = a14.average_descent(instance, start, 1 / float(instance.constants().smoothness))
    assert np.mean(instance.losses(end)) < 0.5 * np.mean(instance.losses(start))


def test_equal_weights_make_weighted_descent_descent_on_the_average(instance):
    start = starting_points(instance, np.random.default_rng(3))
    mine = a14.weighted_descent(instance, start, 0.3, lambda f: np.full(f.size, 1 / f.size))
    np.testing.assert_array_equal(mine, a14.average_descent(instance, start, 0.3))
