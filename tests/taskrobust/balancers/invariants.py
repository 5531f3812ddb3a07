"""What holds for any balancer that looks at losses only, as checks for the tests of each."""

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.taskrobust.balancers.cases import assert_same_bits

FLOATS = (torch.float32, torch.float64)


class History:
    """Risks ``[K, T]`` (float64) and masks ``[K, T]`` of K calls."""

    def __init__(self, risks, present):
        self.risks, self.present = torch.as_tensor(risks), torch.as_tensor(present)
        self.num_calls, self.num_tasks = self.risks.shape

    def part(self, first, last):
        return History(self.risks[first:last], self.present[first:last])

    def permuted(self, order):
        return History(self.risks[:, order], self.present[:, order])

    def to(self, dtype):
        return History(self.risks.to(dtype), self.present)


@st.composite
def histories(draw, max_calls=7, max_tasks=5, decades=4):
    """Positive risks over some decades around 1 and any masks, empty ones too."""
    seed = draw(st.integers(0, 2**32 - 1))
    shape = draw(st.integers(1, max_calls)), draw(st.integers(1, max_tasks))
    rng = np.random.default_rng(seed)
    risks = 10 ** rng.uniform(-decades / 2, decades / 2, shape)
    present = rng.random(shape) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    return History(risks, present)


class Training:
    """A balancer with an optimiser of its own parameters, if it has any; epochs of two calls."""

    def __init__(self, balancer):
        self.balancer = balancer
        groups = balancer.param_groups(lr=0.1)
        self.optimizer = torch.optim.SGD(groups, momentum=0.9) if groups else None
        self.calls = 0

    def step(self, risks, present):
        loss = self.balancer(risks, present)
        if self.optimizer is not None and self.balancer.training:
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.calls += 1
        if self.calls % 2 == 0:
            self.balancer.end_epoch()
        return loss.detach(), self.balancer.last

    def run(self, history):
        return [self.step(*row) for row in zip(history.risks, history.present, strict=True)]

    def save(self):
        file = io.BytesIO()
        own = None if self.optimizer is None else self.optimizer.state_dict()
        torch.save((self.balancer.state_dict(), own, self.calls), file)
        return file.getvalue()

    def load(self, saved):
        state, own, self.calls = torch.load(io.BytesIO(saved), weights_only=True)
        self.balancer.load_state_dict(state)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(own)


def precise(make, num_tasks):
    return Training(make(num_tasks).double())


def assert_same(first, second):
    """Losses and weightings bit for bit."""
    assert len(first) == len(second)
    for (loss, last), (other_loss, other_last) in zip(first, second, strict=True):
        assert torch.equal(loss, other_loss)
        assert_same_bits(last, other_last)


def state(module):
    return copy.deepcopy(module.state_dict())


def assert_same_state(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, equal_nan=True)


def check_simplex_and_gradient(make, history):
    """Weights on the simplex of present tasks; scale · weights is the gradient in the risks."""
    training = precise(make, history.num_tasks)
    for risks, present in zip(history.risks, history.present, strict=True):
        risks = torch.where(present, risks, torch.nan).requires_grad_()
        before = state(training.balancer)
        loss = training.balancer(risks, present)
        loss.backward()
        last = training.balancer.last
        assert torch.isfinite(loss)
        assert torch.all(last.weights >= 0)
        assert torch.all(last.weights[~present] == 0)
        assert abs(float(last.weights.sum()) - bool(present.any())) <= 1e-14
        assert torch.all(risks.grad[~present] == 0)
        torch.testing.assert_close(risks.grad, last.scale * last.weights, rtol=1e-13, atol=0)
        # The call above, once more and with the own parameters' step.
        training.balancer.load_state_dict(before)
        assert torch.equal(training.step(risks.detach(), present)[0], loss.detach())


def check_permutation(make, history, order):
    """Tasks in another order: the same losses, and the weights in that order."""
    found = precise(make, history.num_tasks).run(history.permuted(order))
    for (loss, last), (other, plain) in zip(
        found, precise(make, history.num_tasks).run(history), strict=True
    ):
        torch.testing.assert_close(loss, other, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(last.weights, plain.weights[order], rtol=1e-11, atol=1e-300)


def check_resume(make, history, cut, dtype):
    """Stop, load, continue equals never stopped, bit for bit."""
    history = history.to(dtype)
    whole = Training(make(history.num_tasks).to(dtype))
    expected = whole.run(history)
    first = Training(make(history.num_tasks).to(dtype))
    found = first.run(history.part(0, cut))
    second = Training(make(history.num_tasks).to(dtype))
    second.load(first.save())
    assert second.balancer.step == cut
    assert_same(found + second.run(history.part(cut, None)), expected)
    assert_same_state(second.balancer.state_dict(), whole.balancer.state_dict())


def check_evaluation_freezes(make, history):
    """Calls in evaluation mode give the same loss each time and leave no trace."""
    training = precise(make, history.num_tasks)
    training.run(history)
    before, step = state(training.balancer), training.balancer.step
    training.balancer.eval()
    row = history.risks[0], torch.ones(history.num_tasks, dtype=torch.bool)
    first, second = training.balancer(*row), training.balancer(*row)
    assert torch.equal(first, second)
    assert_same_state(training.balancer.state_dict(), before)
    assert training.balancer.step == step == history.num_calls
    training.balancer.train()
    training.balancer(*row)
    assert training.balancer.step == step + 1


def check_half_precision_casts(make, history):
    """A cast of the module that holds the balancer leaves its state in float32, value for value."""
    for cast in (nn.Module.half, nn.Module.bfloat16):
        training = Training(make(history.num_tasks))
        training.run(history.to(torch.float32))
        before = state(training.balancer)
        cast(nn.ModuleDict({"balancer": training.balancer}))
        assert_same_state(training.balancer.state_dict(), before)
        low = history.risks[0].bfloat16()
        loss = training.balancer(low, history.present[0])
        assert loss.dtype == training.balancer.last.weights.dtype == torch.float32
        torch.testing.assert_close(
            training.balancer.last.risks, torch.where(history.present[0], low.float(), 0.0)
        )


def check_single_precision(make, history):
    """float32 follows float64 to its accuracy, with state in either."""
    expected = precise(make, history.num_tasks).run(history)
    for dtype in FLOATS:
        found = Training(make(history.num_tasks).to(dtype)).run(history.to(torch.float32))
        for (loss, last), (wanted, exact) in zip(found, expected, strict=True):
            assert loss.dtype == last.weights.dtype == torch.float32
            torch.testing.assert_close(loss.double(), wanted, rtol=2e-5, atol=2e-5)
            torch.testing.assert_close(last.weights.double(), exact.weights, rtol=2e-4, atol=1e-6)


def check_no_read_back(balancer):
    """A training epoch on tensors without values, where reading one back to the host raises."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        risks = torch.ones(balancer.num_tasks, requires_grad=True)
        for _ in range(5):
            balancer(risks, risks > 0).backward()
            balancer.end_epoch()
        with pytest.raises(DataDependentOutputException):
            float(balancer.last.weights.sum())
    assert balancer.step == 5
