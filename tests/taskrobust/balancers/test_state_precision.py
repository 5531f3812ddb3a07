"""State stays in float32 or wider, and of one dtype, however a balancer is made."""

import math

import numpy as np
import pytest
import torch

from taskrobust import DynamicWeightAverage, GradNorm, GroupDRO, Minimax

RISKS = torch.tensor([0.5, 1.5, 1.0])


@pytest.fixture
def bfloat16_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("bfloat16_default")
@pytest.mark.parametrize(
    "make",
    [
        GroupDRO,
        DynamicWeightAverage,
        lambda tasks: Minimax(tasks, alpha=1.0, ema=0.9),
        lambda tasks: GradNorm(tasks, torch.nn.Linear(2, 2)),
    ],
    ids=["group-dro", "dwa", "ema", "gradnorm"],
)
def test_a_default_of_half_precision_does_not_reach_the_state(make):
    for name, buffer in make(3).named_buffers():
        assert not buffer.is_floating_point() or buffer.dtype == torch.float32, name


def test_wide_initial_risks_leave_gradnorm_in_its_dtype():
    layer = torch.nn.Linear(4, 3)
    balancer = GradNorm(3, layer, initial_risks=np.log([10.0, 5.0, 3.0]))
    before = {name: buffer.dtype for name, buffer in balancer.named_buffers()}
    balancer(layer(torch.randn(8, 4)).square().mean(0))
    assert {name: buffer.dtype for name, buffer in balancer.named_buffers()} == before


def test_attached_weights_of_tasks_far_below_are_zero_not_nan():
    balancer = Minimax(2, alpha=1e30, mode="attached")
    risks = torch.tensor([0.0, 1e30], requires_grad=True)
    balancer(risks).backward()
    assert risks.grad.tolist() == [0.0, 1.0]


def test_attached_takes_no_infinite_sharpness():
    balancer = Minimax(3, alpha=lambda step: math.inf, mode="attached")
    with pytest.raises(ValueError, match="`alpha` should be finite with mode 'attached'"):
        balancer(RISKS)


def test_a_call_refused_for_want_of_counts_leaves_the_averages_alone():
    balancer = Minimax(3, alpha=1.0, ema=0.9, min_count=4)
    with pytest.raises(ValueError, match="`min_count` = 4 needs `counts`"):
        balancer(RISKS)
    assert not balancer.seen.any()
