"""A plan over micro-batches in one process equals one batch; ranks in tests/taskrobust/distributed.

Ground truth is the ordinary step on the concatenated batch, in float64. What the first pass leaves
behind (nothing) is in test_accumulation_first_pass.py.
"""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from taskrobust import Average, Minimax, NonFiniteRiskError, plan_accumulation, smooth_max
from taskrobust.risks import TaskSums, cross_entropy, grouped_risks, task_sums
from tests.taskrobust.accumulation_cases import (
    BALANCERS,
    TASKS,
    Learned,
    assert_same_step,
    data,
    forward_of,
    gradients,
    losses,
    network,
    one_batch,
    planned,
    split,
)

every_balancer = pytest.mark.parametrize("name", BALANCERS)


@st.composite
def partitions(draw):
    """Task ids of a batch (some ignored) and how to cut it into micro-batches, empty ones too."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    groups = st.integers(-1, TASKS - 1)
    return draw(st.lists(groups, min_size=sum(sizes), max_size=sum(sizes))), sizes


@every_balancer
@given(partition=partitions(), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_any_cut_into_micro_batches_equals_one_batch(name, partition, seed):
    groups, sizes = partition
    assert_same_step(name, data(torch.tensor(groups, dtype=torch.long), seed), sizes)


@every_balancer
@pytest.mark.parametrize("sizes", [[16], [4] * 4, [1, 12, 3]], ids=str)
def test_steps_with_uneven_tasks_equal_steps_on_one_batch(name, sizes):
    # Task 3 is in the last micro-batch only, task 2 in the first two.
    groups = [0, 2, 1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 1, 0, 3, 3]
    assert_same_step(name, data(groups), sizes, steps=3)


@every_balancer
def test_weights_of_each_micro_batch_would_be_another_step(name):
    batch = data([0, 2, 1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 1, 0, 3, 3])
    single, several = network(), network()
    one_batch(single, BALANCERS[name](single), batch)
    balancer = BALANCERS[name](several)
    for micro in split(batch, [4] * 4):
        (balancer(grouped_risks(*losses(several, micro), TASKS)) / 4).backward()
    pairs = zip(gradients(several), gradients(single), strict=True)
    assert max((a - b).abs().max() for a, b in pairs) > 1e-3


def test_the_gradient_is_that_of_the_smooth_maximum_of_the_whole_step():
    model, batch = network(), data([0, 1, 1, 3, 0, 0, 0, 3, 1])
    risks, present, _ = grouped_risks(*losses(model, batch), TASKS)
    expected = torch.autograd.grad(smooth_max(risks, 2.0, present), list(model.parameters()))
    planned(model, Minimax(TASKS, alpha=2.0), split(batch, [4, 5]))
    for a, b in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_auxiliary_terms_are_backpropagated_once():
    model, balancer, batch = network(), Learned(TASKS).double(), data([0, 1, 2, 3, 0, 1])
    plan, _ = planned(model, balancer, split(batch, [2, 2, 2]))
    expected = 1 - torch.exp(-balancer.s.detach()) * plan.risks.risks
    torch.testing.assert_close(balancer.s.grad, expected)


def test_the_balancer_is_asked_once():
    balancer = Minimax(TASKS, alpha=1.0, ema=0.9)
    for step in range(1, 4):
        planned(network(), balancer, split(data([0, 1, 2, 3, 0, 1]), [2, 2, 2]))
        assert balancer.step == step


def nan_batches():
    batches = split(data([0, 1, 2, 3, 0, 1]), [2, 2, 2])
    batches[1][1][0] = math.nan  # a target of task 2
    return batches


def test_a_skipped_plan_changes_nothing():
    model, balancer = network(), Minimax(TASKS, alpha=1.0, ema=0.5, nonfinite="skip")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    before = copy.deepcopy(model.state_dict())
    plan, values = planned(model, balancer, nan_batches())
    assert plan.skipped
    assert math.isnan(plan.risks.risks[2])
    assert plan.value == 0
    assert values.tolist() == [0, 0, 0]
    assert all(g is None for g in gradients(model))
    optimizer.step()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert (balancer.step, balancer.skipped) == (0, 1)
    assert not balancer.seen.any()


def test_a_plan_is_not_skipped_otherwise():
    plan, values = planned(network(), Minimax(TASKS, alpha=1.0, nonfinite="skip"), [data([0, 1])])
    assert not plan.skipped
    assert values > 0


def test_a_non_finite_risk_raises_before_the_second_pass():
    balancer = Minimax(TASKS, alpha=1.0, task_names=["rgb", "depth", "edges", "text"])
    with pytest.raises(NonFiniteRiskError, match=r"step 0: edges = nan;"):
        planned(network(), balancer, nan_batches())
    assert balancer.step == 0


def test_an_iterator_which_the_second_pass_would_find_empty_is_an_error():
    model, batches = network(), split(data([0, 1, 2, 3, 0, 1]), [2, 4])
    for source in (iter(batches), (batch for batch in batches)):
        with pytest.raises(ValueError, match=r"`batches` should be a list .* found an iterator"):
            plan_accumulation(Minimax(TASKS, alpha=1.0), forward_of(model), source)


def test_no_micro_batch_is_an_error():
    with pytest.raises(ValueError, match="`batches` should hold at least one micro-batch; found"):
        plan_accumulation(Average(TASKS), forward_of(network()), [])


def test_an_unknown_gradient_reduction_is_an_error():
    with pytest.raises(ValueError, match=r"`gradient_reduction` should be .* found 'max'"):
        plan_accumulation(
            Average(TASKS), forward_of(network()), [data([0])], gradient_reduction="max"
        )


def test_loss_scaling_of_half_precision_training_leaves_the_weights_alone():
    torch.manual_seed(0)
    batches = [(torch.randn(6, 8), torch.randint(0, 5, (6,)), torch.arange(6) % 3)] * 2
    found = {}
    for scale in (None, 2.0**12):
        torch.manual_seed(1)
        model, balancer = nn.Linear(8, 5), Minimax(3, alpha=4.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def forward(batch, model=model):
            x, y, groups = batch
            with torch.autocast("cpu", dtype=torch.float16):
                logits = model(x)
                assert logits.dtype == torch.float16
                return task_sums(cross_entropy(logits, y), groups, 3)

        plan = plan_accumulation(balancer, forward, batches)
        for batch in batches:
            scaler.scale(plan.loss(forward(batch))).backward()
        scaler.unscale_(optimizer)
        found[scale] = [balancer.last.weights, plan.value, *gradients(model)]
    assert torch.equal(found[None][0], found[2.0**12][0])
    assert torch.equal(found[None][1], found[2.0**12][1])
    assert found[None][0].max() > 0.4
    for a, b in zip(found[None][2:], found[2.0**12][2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)  # roundings of half precision


def test_sums_in_half_a_batch_are_not_risks():
    # The plan divides by the counts of the whole step, whatever the micro-batch holds of a task.
    local = TaskSums(torch.tensor([2.0, 6.0], requires_grad=True), torch.tensor([1.0, 3.0]))
    other = TaskSums(torch.tensor([4.0, 0.0], requires_grad=True), torch.tensor([1.0, 0.0]))
    plan = plan_accumulation(Average(2), lambda sums: sums, [local, other])
    assert plan.risks.risks.tolist() == [3.0, 2.0]
    plan.loss(local).backward()
    torch.testing.assert_close(local.sums.grad, torch.tensor([1 / 4, 1 / 6]))
