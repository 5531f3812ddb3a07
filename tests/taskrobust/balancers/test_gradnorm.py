import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from taskrobust import GradNorm
from tests.taskrobust.balancers.gradnorm_cases import TASKS, Network, PaperGradNorm, batch, masks


def train(network, loss_of, steps):
    """Losses of some steps of gradient descent."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(network, step)
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return torch.stack(found)


@pytest.mark.parametrize("layer", ["shared", "trunk"])
@given(
    masks=masks,
    asymmetry=st.sampled_from([0.0, 0.12, 1.5]),
    lr=st.sampled_from([0.025, 0.4]),
    initial=st.sampled_from([None, [0.5, 1.0, 2.0, 8.0]]),
)
@settings(max_examples=15)
def test_training_is_that_of_the_algorithm_as_printed(layer, masks, asymmetry, lr, initial):
    expected_network, network = Network(), Network()
    parameters = getattr(expected_network, layer).parameters()
    paper = PaperGradNorm(TASKS, parameters, asymmetry, lr, 0.01, initial)
    balancer = GradNorm(
        TASKS,
        getattr(network, layer),
        asymmetry=asymmetry,
        lr=lr,
        min_weight=0.01,
        initial_risks=initial,
    ).double()

    def expected_loss(model, step):
        return paper(list(model(batch(step)).mean(0).unbind()), masks[step])

    def loss(model, step):
        present = torch.tensor(masks[step])
        total = balancer.task_weights[present].sum()
        return total * balancer(model.risks(batch(step)), present)

    losses = train(network, loss, len(masks))
    expected = train(expected_network, expected_loss, len(masks))
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-12)
    weights = torch.stack(paper.weights).detach()
    torch.testing.assert_close(balancer.task_weights, weights, rtol=1e-10, atol=1e-12)
    for found, wanted in zip(network.parameters(), expected_network.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_scale_of_the_number_of_tasks_is_the_papers_loss():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, scale=TASKS, lr=0.3).double()
    for step in range(5):
        weights = balancer.task_weights.clone()
        risks = network.risks(batch(step))
        loss = balancer(risks)
        torch.testing.assert_close(loss, weights @ risks, rtol=1e-14, atol=0)
        torch.testing.assert_close(balancer.last.scale * balancer.last.weights, weights)
    assert (weights - 1).abs().min() > 0.1


def test_gradient_norms_of_risks_that_do_not_change_end_up_equal():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, asymmetry=0.0, lr=0.05).double()
    sizes = torch.tensor([1.0, 3.0, 0.5, 8.0], dtype=torch.float64)
    common = network.risks(batch(0))[0]
    for _ in range(300):
        balancer(torch.stack([size * common for size in sizes]))
        balancer.lr *= 0.985
    expected = TASKS / sizes / (1 / sizes).sum()
    torch.testing.assert_close(balancer.task_weights, expected, rtol=0, atol=0.02)


def test_with_asymmetry_a_task_that_lags_behind_gets_the_larger_gradient():
    network = Network()
    common = network.risks(batch(0))[0]
    slow, fast = 0.9, 0.3
    value = float(common.detach())
    initial = [value / slow, value / fast]
    balancer = GradNorm(2, network.shared, asymmetry=1.0, lr=0.05, initial_risks=initial).double()
    for _ in range(200):
        balancer(torch.stack([common, common * 1]))
        balancer.lr *= 0.98
    ratio = balancer.task_weights[0] / balancer.task_weights[1]
    assert ratio == pytest.approx(slow / fast, rel=0.02)


@given(
    rate=st.floats(0.3, 1.2),
    asymmetry=st.sampled_from([0.12, 1.0, 1.5, 3.0]),
    other=st.floats(0.1, 10.0),
)
def test_a_weight_falls_if_and_only_if_its_norm_is_above_the_target(rate, asymmetry, other):
    # Of two tasks the first is at `rate` of the mean, and its norm just on its target.
    factor = rate**asymmetry
    assume(factor < 1.9)
    norm = factor * other / (2 - factor)
    risks = torch.tensor([rate, 2 - rate], dtype=torch.float64, requires_grad=True)
    moved = []
    for side in (1 - 1e-9, 1 + 1e-9):
        balancer = GradNorm(
            2, nn.Linear(1, 1), asymmetry=asymmetry, initial_risks=[1.0, 1.0]
        ).double()
        rows = [[0.6 * norm * side, 0.8 * norm * side], [0.0, other]]
        balancer(risks, task_gradients=torch.tensor(rows, dtype=torch.float64))
        moved.append(float(balancer.momentum[0]))
    torch.testing.assert_close(moved, [-0.1 * norm, 0.1 * norm], rtol=1e-6, atol=0)


@given(masks=masks)
@settings(max_examples=20)
def test_weights_stay_positive_and_sum_to_the_number_of_tasks(masks):
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=2.0, min_weight=1e-3).double()
    for step, mask in enumerate(masks):
        before = balancer.task_weights.clone()
        present = torch.tensor(mask)
        balancer(network.risks(batch(step)), present)
        after = balancer.task_weights
        assert torch.all(after > 0)
        assert after.sum() == pytest.approx(TASKS, rel=1e-12)
        assert after[present].sum() == pytest.approx(float(before[present].sum()), rel=1e-12)
        assert torch.equal(after[~present], before[~present])


def test_weights_that_adam_takes_below_the_bound_are_set_to_it():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=5.0, min_weight=0.5).double()
    balancer(network.risks(batch(0)))
    # Adam's first step has size lr: up for small gradients, down to the bound for large ones.
    small, large = balancer.task_weights.min(), balancer.task_weights.max()
    assert large / small == pytest.approx((1 + 5) / 0.5)


def test_the_first_risk_of_a_task_is_remembered_until_it_is_given():
    network = Network()
    balancer = GradNorm(3, network.shared).double()
    assert torch.isnan(balancer.initial_risks).all()
    first = network.risks(batch(0))[:3]
    balancer(first, torch.tensor([True, False, True]))
    second = network.risks(batch(1))[:3]
    balancer(second)
    expected = torch.stack([first[0], second[1], first[2]]).detach()
    assert torch.equal(balancer.initial_risks, expected)
    given = GradNorm(3, network.shared, initial_risks=torch.tensor([1, 2, 3])).double()
    given(first)
    assert given.initial_risks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("trouble", ["overflow", "negative", "zero at first"])
def test_tasks_without_a_usable_norm_or_rate_are_left_out_like_absent_ones(trouble):
    network = Network()
    found, expected = (GradNorm(TASKS, network.shared, lr=0.3).double() for _ in range(2))
    if trouble != "zero at first":
        for balancer in (found, expected):
            balancer(network.risks(batch(0)))
    risks = network.risks(batch(1))
    factor = torch.ones(TASKS, dtype=torch.float64)
    if trouble == "overflow":  # a gradient of task 2 that is too large, with a normal risk
        large = torch.tensor([0, 0, 1e300, 0], dtype=torch.float64)
        risks = risks + large * (risks - risks.detach())
    else:
        factor[2] = -1.0 if trouble == "negative" else 0.0
    found(risks * factor)
    expected(network.risks(batch(1)), torch.tensor([True, True, False, True]))
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), equal_nan=True)
    assert (found.task_weights - 1).abs()[[0, 1, 3]].min() > 1e-3


def test_losses_are_weighted_with_the_weights_from_before_the_step():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=0.5).double()
    balancer(network.risks(batch(0)))
    assert torch.equal(balancer.last.weights, torch.full((TASKS,), 0.25, dtype=torch.float64))
    before = balancer.task_weights / TASKS
    balancer(network.risks(batch(1)))
    torch.testing.assert_close(balancer.last.weights, before)
    assert (before - 0.25).abs().min() > 0.01
