"""Softmax weighting of the risks (Eq. 7), against smooth_max, autograd and Python loops.

TorchJD as an independent reference is in test_minimax_oracle.py, departures from Algorithm 1 in
test_minimax_departures.py.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrobust import (
    Minimax,
    alpha_for_tolerance,
    paper_alpha,
    sharp_constant,
    sharpened_alpha,
    smooth_max,
)
from tests.taskrobust.balancers.cases import TASKS, Network, examples, risks_of
from tests.taskrobust.helpers import losses, masked_losses, sharpness


def value_and_gradient(function, risks):
    leaf = torch.as_tensor(risks).clone().requires_grad_()
    value = function(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@given(f_and_mask=masked_losses(), alpha=sharpness(), scale=st.floats(0.1, 10))
def test_the_gradient_is_that_of_the_smooth_maximum_of_present_tasks(f_and_mask, alpha, scale):
    f, present = torch.tensor(f_and_mask[0]), torch.tensor(f_and_mask[1])
    balancer = Minimax(len(f), alpha, scale=scale)
    loss, found = value_and_gradient(lambda risks: balancer(risks, present), f)
    _, expected = value_and_gradient(lambda risks: smooth_max(risks, alpha, present), f)
    torch.testing.assert_close(found, scale * expected, rtol=1e-12, atol=1e-12)
    average = torch.sum(balancer.last.weights * torch.where(present, f, 0.0))
    torch.testing.assert_close(loss, scale * average, rtol=1e-12, atol=1e-11)


def test_the_gradient_of_a_network_is_that_of_the_smooth_maximum_of_its_risks():
    network = Network().double()
    risks = risks_of(network, [0, 0, 1, 3])
    loss = Minimax(TASKS, alpha=2.0)(risks)
    expected = smooth_max(risks.risks, 2.0, risks.present)
    parameters = list(network.parameters())
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    for a, b in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


@given(f=losses(), exponent=st.floats(-3, 1))
def test_with_a_tolerance_the_loss_is_that_close_to_the_worst_risk(f, exponent):
    tolerance = 10.0**exponent
    loss = Minimax(len(f), tolerance=tolerance)(torch.tensor(f)).item()
    assert -1e-12 <= f.max() - loss <= tolerance * (1 + 1e-12)


@pytest.mark.parametrize("num_tasks", [2, 3, 9, 100])
@pytest.mark.parametrize("tolerance", [0.01, 0.5, 3.0])
def test_the_tolerance_is_used_up_at_the_extremal_risks(num_tasks, tolerance):
    balancer = Minimax(num_tasks, tolerance=tolerance)
    constant = sharp_constant(num_tasks)
    assert balancer.alpha() == alpha_for_tolerance(num_tasks, tolerance)
    risks = torch.full((num_tasks,), -(1 + constant) / balancer.alpha(), dtype=torch.float64)
    risks[0] = 0.0
    assert 0 - balancer(risks).item() == pytest.approx(tolerance, rel=1e-12)
    # Less sharpness would not do.
    duller = Minimax(num_tasks, alpha=0.99 * balancer.alpha())
    assert 0 - duller(risks).item() > tolerance


def test_a_single_task_gets_all_weight_at_any_tolerance():
    balancer = Minimax(1, tolerance=0.1)
    assert balancer.alpha() == 0
    assert balancer(torch.tensor([3.0])) == 3
    assert balancer.last.weights.tolist() == [1.0]


@given(f=losses())
def test_without_sharpness_it_is_the_mean(f):
    assert Minimax(len(f), 0)(torch.tensor(f)).item() == pytest.approx(f.mean(), abs=1e-12)


@given(f_and_mask=masked_losses())
def test_hard_mode_shares_all_weight_among_the_worst(f_and_mask):
    f, present = f_and_mask
    balancer = Minimax(len(f), mode="hard")
    loss = balancer(torch.tensor(f), torch.tensor(present))
    worst = present & (f == f[present].max())
    np.testing.assert_array_equal(balancer.last.weights, worst / worst.sum())
    assert loss.item() == pytest.approx(f[present].max(), rel=1e-15)
    assert balancer.alpha() == math.inf


def test_hard_mode_is_the_limit_of_sharpness():
    risks = torch.tensor([1.0, 2.0, 2.0, 1.9])
    hard, sharp, infinite = Minimax(4, mode="hard"), Minimax(4, 1e4), Minimax(4, math.inf)
    hard(risks), sharp(risks), infinite(risks)
    assert hard.last.weights.tolist() == [0, 0.5, 0.5, 0]
    assert torch.equal(sharp.last.weights, hard.last.weights)
    assert torch.equal(infinite.last.weights, hard.last.weights)


@given(f=losses(), alpha=sharpness(-2, 1), shift=st.floats(-50, 50))
def test_a_constant_added_to_all_risks_changes_no_weight(f, alpha, shift):
    balancer = Minimax(len(f), alpha)
    balancer(torch.tensor(f))
    before = balancer.last.weights
    balancer(torch.tensor(f + shift))
    torch.testing.assert_close(balancer.last.weights, before, rtol=0, atol=1e-12 * (1 + alpha))


CONSTANTS = {"radius": 3.0, "lipschitz": 2.0}
SCHEDULES = [
    (
        {"schedule": "sharpened", **CONSTANTS},
        lambda k: sharpened_alpha(k, num_tasks=5, **CONSTANTS),
    ),
    (
        {"schedule": "paper", "loss_bound": 7.0, **CONSTANTS},
        lambda k: paper_alpha(k, num_tasks=5, loss_bound=7.0, **CONSTANTS),
    ),
    (lambda k: 0.5 * k, lambda k: 0.5 * k),
    (3, lambda k: 3),
]


@pytest.mark.parametrize(("alpha", "expected"), SCHEDULES, ids=["sharpened", "paper", "call", "3"])
def test_a_schedule_gives_the_sharpness_of_each_step(alpha, expected):
    balancer = Minimax(5, alpha)
    risks = torch.tensor([1.0, 2.0, 1.5, 0.2, 0.0], dtype=torch.float64)
    for step in range(4):
        assert balancer.alpha() == expected(step)
        assert balancer.alpha(10 + step) == expected(10 + step)
        balancer(risks)
        weights = torch.softmax(float(expected(step)) * risks, 0)
        torch.testing.assert_close(balancer.last.weights, weights)
    balancer.eval()
    balancer(risks)
    assert balancer.alpha() == expected(4)


def test_a_schedule_goes_on_where_a_loaded_state_left_off():
    stopped, resumed = (Minimax(5, {"schedule": "sharpened", **CONSTANTS}) for _ in range(2))
    for _ in range(3):
        stopped(torch.ones(5))
    resumed.load_state_dict(stopped.state_dict())
    assert resumed.alpha() == sharpened_alpha(3, num_tasks=5, **CONSTANTS)


def test_skipped_steps_do_not_advance_a_schedule():
    balancer = Minimax(2, lambda step: step, nonfinite="skip")
    balancer(torch.tensor([1.0, math.nan]))
    assert balancer.alpha() == 0


def test_sharpness_beyond_single_precision_is_the_hard_maximum():
    balancer = Minimax(3, 1e39)
    balancer(torch.tensor([1.0, 2.0, 2.0]))
    assert balancer.last.weights.tolist() == [0, 0.5, 0.5]


@given(seed=st.integers(0, 99), alpha=st.floats(0.01, 3))
@settings(max_examples=30)
def test_attached_minus_detached_gradient_is_alpha_times_a_covariance(seed, alpha):
    network = Network(seed).double()
    risks = risks_of(network, [0, 0, 1, 1, 1, 2, 3], seed)
    balancers = [Minimax(TASKS, alpha, mode=mode) for mode in ("attached", "softmax")]
    losses = [balancer(risks) for balancer in balancers]
    torch.testing.assert_close(*losses, rtol=1e-14, atol=0)
    w, f = balancers[1].last.weights, risks.risks.detach()
    for parameter in network.parameters():
        attached, detached = (
            torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in losses
        )
        single = torch.stack(
            [torch.autograd.grad(r, parameter, retain_graph=True)[0] for r in risks.risks]
        )
        mean = torch.tensordot(w, single, 1)
        covariance = torch.tensordot(w * (f - w @ f), single - mean, 1)
        torch.testing.assert_close(attached - detached, alpha * covariance, rtol=0, atol=1e-11)


def test_attached_and_detached_gradients_differ():
    network = Network().double()
    risks = risks_of(network)
    found = [
        torch.autograd.grad(Minimax(TASKS, 1.0, mode=mode)(risks), risks.risks, retain_graph=True)
        for mode in ("attached", "softmax")
    ]
    assert (found[0][0] - found[1][0]).abs().max() > 0.1


def test_attached_mode_gives_the_numbers_of_the_authors_code():
    balancer = Minimax(3, alpha=1.0, mode="attached")
    f = torch.tensor([1.0, 0.8, 4.89], dtype=torch.float64)
    value, gradient = value_and_gradient(balancer, f)
    assert value.item() == pytest.approx(4.7473, abs=5e-5)
    assert gradient.tolist() == pytest.approx([-0.0542, -0.0476, 1.1017], abs=5e-5)
    assert gradient.sum().item() == pytest.approx(1, abs=1e-14)
    torch.testing.assert_close(balancer.last.weights, gradient)


@given(f=losses(bound=5.0, min_tasks=2), alpha=st.floats(0.1, 5))
def test_attached_coefficients_are_negative_far_below_the_weighted_mean(f, alpha):
    value, gradient = value_and_gradient(Minimax(len(f), alpha, mode="attached"), torch.tensor(f))
    below = value.numpy() - f  # the value is the weighted mean
    assert (gradient.numpy()[below > 1 / alpha + 1e-9] <= 0).all()
    assert (gradient.numpy()[below < 1 / alpha - 1e-9] >= 0).all()
    assert gradient.sum().item() == pytest.approx(1, abs=1e-9)
    # It lies between the mean and the worst, as the detached one does.
    assert f.mean() - 1e-9 <= value <= f.max() + 1e-9


@pytest.mark.parametrize(("gap", "sign"), [(1.27, 1), (1.29, -1)])
def test_with_two_tasks_the_easy_one_is_maximised_beyond_a_gap_of_1_278(gap, sign):
    _, gradient = value_and_gradient(Minimax(2, 1.0, mode="attached"), [0.0, gap])
    assert torch.sign(gradient[0]) == sign


@pytest.mark.parametrize(("mode", "rises"), [("attached", True), ("softmax", False)])
def test_training_attached_makes_an_easy_task_worse(mode, rises):
    parameters = torch.tensor([1.0, 3.0], requires_grad=True)  # one a task, risk θ²/2
    optimizer = torch.optim.SGD([parameters], lr=0.1)
    balancer = Minimax(2, alpha=1.0, mode=mode)
    for _ in range(5):
        optimizer.zero_grad()
        balancer(parameters.square() / 2).backward()
        optimizer.step()
    assert (parameters[0].item() > 1) == rises
    assert parameters[1] < 3


def test_attached_is_not_convex_in_convex_risks():
    def value(x, mode):
        return Minimax(2, 1.0, mode=mode)(torch.tensor([0.0, x], dtype=torch.float64)).item()

    assert value(-4.0, "attached") > (value(-6.0, "attached") + value(-2.0, "attached")) / 2


def test_data_of_low_precision_keep_their_weights():
    batch = examples([0, 1, 2, 3] * 4)
    network = Network().double()
    risks = risks_of(network, batch.groups).risks.detach()
    balancer = Minimax(TASKS, alpha=2.0)
    for half in (torch.bfloat16, torch.float16):
        balancer(risks.to(half))
        expected = torch.softmax(2.0 * risks.to(half).double(), 0)
        torch.testing.assert_close(balancer.last.weights.double(), expected, rtol=1e-6, atol=0)


def test_at_alpha_zero_an_absent_task_takes_no_share():
    balancer = Minimax(3, alpha=0.0)
    balancer(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True]))
    assert balancer.last.weights.tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("alpha", [0.5, 1.0, math.inf])
def test_an_infinite_risk_that_is_ignored_takes_all_weight(alpha):
    balancer = Minimax(3, alpha, nonfinite="ignore")
    balancer(torch.tensor([1.0, math.inf, 2.0]))
    assert balancer.last.weights.tolist() == [0, 1, 0]
