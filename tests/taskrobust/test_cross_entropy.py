"""Cross-entropy by example in single precision, whatever the logits come in; weights from it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional

from taskrobust import Minimax
from taskrobust.risks import cross_entropy, grouped_risks, task_sums

FLOATING = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def float64_weights(logits, targets, groups, num_groups):
    """Softmax weights (α = 1) of the risks of given logits, in double precision throughout."""
    losses = functional.cross_entropy(
        logits.double().flatten(0, -2), targets.flatten(), reduction="none"
    ).tolist()
    ids = groups.flatten().tolist()
    members = [[v for v, g in zip(losses, ids, strict=True) if g == t] for t in range(num_groups)]
    exponentials = [math.exp(math.fsum(m) / len(m)) if m else 0.0 for m in members]
    return torch.tensor(exponentials, dtype=torch.float64) / math.fsum(exponentials)


@pytest.mark.parametrize("tokens", [64, 5_000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_from_low_precision_logits_are_those_of_double_precision(dtype, tokens):
    torch.manual_seed(0)
    # Rare tasks beside a frequent one, and classes that are harder than others.
    groups = torch.multinomial(torch.tensor([0.9, 0.07, 0.03]), tokens, replacement=True)
    targets = torch.randint(0, 11, (tokens,))
    difficulty = 1.0 + groups[:, None]
    inputs, layer = torch.randn(tokens, 16) * difficulty, torch.nn.Linear(16, 11)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        logits = layer(inputs)
        assert logits.dtype == dtype
        losses = cross_entropy(logits, targets)
        balancer = Minimax(4, alpha=1.0)
        loss = balancer(grouped_risks(losses, groups, 4))
    assert losses.dtype == loss.dtype == balancer.last.weights.dtype == torch.float32
    expected = float64_weights(logits, targets, groups, 4)
    assert expected[:3].min() > 0.05
    torch.testing.assert_close(balancer.last.weights.double(), expected, rtol=0, atol=1e-6)


def test_low_precision_losses_would_miss_that_precision():
    torch.manual_seed(0)
    logits, targets = torch.randn(64, 11).bfloat16(), torch.randint(0, 11, (64,))
    groups = torch.arange(64) % 3
    losses = functional.cross_entropy(logits, targets, reduction="none")
    balancer = Minimax(3, alpha=1.0)
    balancer(grouped_risks(losses, groups, 3))
    expected = float64_weights(logits, targets, groups, 3)
    assert (balancer.last.weights - expected).abs().max() > 1e-6


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), st.sampled_from(FLOATING))
def test_cross_entropy_is_minus_the_log_probability_of_the_target(shape, dtype):
    torch.manual_seed(0)
    logits = (3 * torch.randn(*shape, 5)).to(dtype)
    targets = torch.randint(0, 5, shape)
    found = cross_entropy(logits, targets)
    assert found.shape == torch.Size(shape)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    rows = logits.double().reshape(-1, 5).tolist()
    for loss, row, target in zip(
        found.flatten().tolist(), rows, targets.flatten().tolist(), strict=True
    ):
        exact = math.log(math.fsum(map(math.exp, row))) - row[target]
        assert abs(loss - exact) <= 32 * torch.finfo(found.dtype).eps


def test_cross_entropy_of_a_single_example():
    loss = cross_entropy(torch.zeros(4), torch.tensor(2))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(math.log(4))


def test_ignored_targets_have_loss_zero_and_no_gradient():
    logits = torch.zeros(3, 4, requires_grad=True)
    losses = cross_entropy(logits, torch.tensor([1, -100, 2]))
    assert losses[1] == 0
    losses.sum().backward()
    assert not logits.grad[1].any()
    assert cross_entropy(logits, torch.tensor([1, 0, 2]), ignore_index=2)[2] == 0


def test_cross_entropy_gradient_under_autocast_keeps_the_dtype_of_the_logits():
    logits = torch.randn(3, 4).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cross_entropy(logits, torch.tensor([1, 0, 2])).sum().backward()
    assert logits.grad.dtype == torch.bfloat16
    exact = logits.detach().double().softmax(1) - torch.eye(4, dtype=torch.float64)[[1, 0, 2]]
    torch.testing.assert_close(logits.grad.double(), exact, rtol=2**-8, atol=0)


def test_targets_of_another_shape_are_refused_even_if_their_number_is_right():
    with pytest.raises(ValueError, match="`targets` should"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(3, 2, dtype=torch.long))


def test_devices_without_autocast_have_losses_and_sums():
    with torch.device("meta"):
        losses = cross_entropy(torch.empty(4, 3), torch.empty(4, dtype=torch.long))
        sums = task_sums(losses, torch.empty(4, dtype=torch.long), 2)
    assert (losses.shape, sums.sums.shape) == ((4,), (2,))
