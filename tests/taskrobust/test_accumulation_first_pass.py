"""The first pass of an accumulated step leaves nothing behind but its plan."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from taskrobust import Average, Minimax, plan_accumulation, task_sums
from tests.taskrobust.accumulation_cases import (
    TASKS,
    Learned,
    data,
    forward_of,
    gradients,
    network,
    planned,
    split,
)


def test_in_evaluation_mode_no_state_changes():
    balancer = Minimax(TASKS, alpha=1.0, ema=0.9).eval()
    before = copy.deepcopy(balancer.state_dict())
    plan, _ = planned(network(), balancer, split(data([0, 1, 2, 3]), [2, 2]))
    torch.testing.assert_close(balancer.state_dict(), before, rtol=0, atol=0)
    assert plan.value > 0


def test_the_first_pass_leaves_no_gradient_behind():
    model, balancer = network(), Learned(TASKS).double()
    plan_accumulation(balancer, forward_of(model), [data([0, 1, 2])])
    assert all(g is None for g in gradients(model, balancer))


def test_the_second_pass_repeats_the_dropout_of_the_first():
    model = network(nn.Dropout(0.5))
    batches = split(data([0, 1, 2, 3, 0, 1, 1, 2]), [3, 5])
    torch.manual_seed(7)
    plan = plan_accumulation(Minimax(TASKS, alpha=1.0), forward_of(model), batches)
    second = [forward_of(model)(batch) for batch in batches]
    third = [forward_of(model)(batch) for batch in batches]
    assert torch.equal(second[0].plus(second[1]).sums / plan.risks.counts, plan.risks.risks)
    assert not torch.equal(third[0].plus(third[1]).sums, second[0].plus(second[1]).sums)


def test_the_random_state_is_put_back_even_if_the_pass_fails():
    def fail(batch):  # noqa: ARG001
        torch.rand(1)
        raise KeyError("labels")

    torch.manual_seed(7)
    before = torch.get_rng_state()
    with pytest.raises(KeyError, match="labels"):
        plan_accumulation(Average(TASKS), fail, [data([0])])
    assert torch.equal(torch.get_rng_state(), before)


class Counter(nn.Module):
    """Counts forward passes in a buffer that it replaces, as `Minimax` does with its averages."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes = self.passes + 1
        return x


@pytest.mark.parametrize("extra", [nn.BatchNorm1d(5), Counter()], ids=lambda m: type(m).__name__)
def test_buffers_of_the_model_change_once_a_step(extra):
    model = network(copy.deepcopy(extra))
    reference = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    batches = split(data([0, 1, 2, 3, 0, 1, 1, 2]), [3, 5])
    plan_accumulation(Average(TASKS), forward_of(model), batches, model=model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    for batch in batches:
        forward_of(model)(batch), forward_of(reference)(batch)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    assert not torch.equal(*(next(m.buffers()) for m in (model, network(copy.deepcopy(extra)))))


def test_without_the_model_its_buffers_change_in_the_first_pass_too():
    model = network(nn.BatchNorm1d(5))
    plan_accumulation(Average(TASKS), forward_of(model), [data([0, 1, 2, 3])])
    assert model[2].num_batches_tracked == 1


def test_buffers_are_put_back_even_if_the_pass_fails():
    model = network(nn.BatchNorm1d(5))
    batches = [data([0, 1, 2]), data([0])]  # a batch of one is an error of batch normalisation
    with pytest.raises(ValueError, match="more than 1 value"):
        plan_accumulation(Average(TASKS), forward_of(model), batches, model=model)
    assert model[2].num_batches_tracked == 0


class Lazy(nn.Module):
    """Sets a buffer in the first pass that was none before, and draws with NumPy and Python."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", None)
        self.draws = []

    def forward(self, x):
        if self.mean is None:
            self.mean = x.detach().mean()
        self.draws.append((np.random.rand(), random.random()))  # noqa: NPY002
        return x


def test_buffers_that_were_none_and_other_random_states_go_back():
    lazy = Lazy()
    model = nn.Sequential(nn.Linear(3, 2), lazy)

    def forward(batch):
        return task_sums(model(batch).sum(1), torch.tensor([0, 1]), 2)

    batches = [torch.randn(2, 3), torch.randn(2, 3)]
    plan = plan_accumulation(Average(2), forward, batches, model=model)
    assert lazy.mean is None
    for batch in batches:
        plan.loss(forward(batch))
    assert lazy.draws[:2] == lazy.draws[2:]


def test_the_broadcast_of_buffers_is_left_to_the_second_pass():
    model = nn.Linear(3, 2)
    model.require_forward_param_sync = True

    def forward(batch):
        model.require_forward_param_sync = False  # as DDP's forward does
        return task_sums(model(batch).sum(1), torch.tensor([0, 1]), 2)

    plan_accumulation(Average(2), forward, [torch.randn(2, 3)], model=model)
    assert model.require_forward_param_sync is True
