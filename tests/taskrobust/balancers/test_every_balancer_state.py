"""What every balancer promises about its state, asked of every balancer that the registry knows."""

import copy
import io
import math

import pytest
import torch
from safetensors.torch import load, save

from tests.taskrobust.balancers.cases import (
    CASES,
    GROUPS,
    TASKS,
    assert_same_bits,
    risks_of,
    setup,
    snapshot,
    with_values,
)

every_balancer = pytest.mark.parametrize("case", CASES)


class Training:
    """A network, its balancer and an optimiser of both; all their state."""

    def __init__(self, case):
        self.network, self.balancer = setup(case, torch.float32)
        parameters = [{"params": self.network.parameters()}, *self.balancer.param_groups(lr=0.1)]
        self.optimizer = torch.optim.Adam(parameters, lr=0.03)

    def run(self, steps):
        for seed in steps:
            groups = [g for g in GROUPS if g != seed % 5]  # one task is absent now and then
            self.optimizer.zero_grad()
            self.balancer(risks_of(self.network, groups, seed)).backward()
            self.optimizer.step()
            if seed % 3 == 2:
                self.balancer.end_epoch()
        return self

    def parts(self):
        return self.network, self.balancer, self.optimizer


@every_balancer
def test_state_of_an_absent_task_is_untouched(case):
    network, balancer = setup(case)
    for seed in range(3):
        balancer(risks_of(network, seed=seed))
    before = snapshot(balancer)
    balancer(risks_of(network, [0, 0, 1, 3])).backward()
    for name, value in balancer.state_dict().items():
        if value.shape == (TASKS,):
            assert torch.equal(value[2], before[name][2]), name
    for parameter in balancer.parameters():
        if parameter.shape == (TASKS,) and parameter.grad is not None:
            assert parameter.grad[2] == 0


@every_balancer
@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.to(torch.bfloat16)])
def test_casts_to_half_precision_leave_the_state_as_it_is(case, cast):
    training = Training(case).run(range(3))
    before = snapshot(training.balancer)
    holder = torch.nn.ModuleList([training.balancer, torch.nn.Linear(1, 1)])
    cast(holder)
    assert holder[1].weight.dtype.itemsize == 2
    assert_same_bits(training.balancer.state_dict(), before)


@every_balancer
def test_double_precision_goes_all_the_way(case):
    network, balancer = setup(case, torch.float32)
    network.double(), balancer.double()
    for seed in range(3):
        loss = balancer(risks_of(network, seed=seed))
        assert loss.dtype == balancer.last.weights.dtype == torch.float64
        loss.backward()
    for value in balancer.state_dict().values():
        assert value.dtype != torch.float32


@every_balancer
def test_state_changes_only_in_training_mode(case):
    training = Training(case).run(range(3))
    network, balancer, _ = training.parts()
    before = snapshot(balancer)
    balancer.eval()
    for seed in range(3):
        balancer(risks_of(network, seed=seed)).backward()
    assert_same_bits(balancer.state_dict(), before)
    assert balancer.last.weights.sum() == pytest.approx(1)
    balancer.train()
    balancer(risks_of(network))
    assert balancer.step == 4


def by_torch(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def by_safetensors(state):
    return load(save({key: value.contiguous() for key, value in state.items()}))


@every_balancer
@pytest.mark.parametrize("through", [by_torch, by_safetensors])
@pytest.mark.parametrize("at", [1, 5])
def test_stop_load_and_continue_equals_never_stopped_bit_for_bit(case, through, at):
    never = Training(case).run(range(9))
    stopped = Training(case).run(range(at))
    resumed = Training(case)
    for old, new in zip(stopped.parts(), resumed.parts(), strict=True):
        to_disk = by_torch if isinstance(old, torch.optim.Optimizer) else through
        new.load_state_dict(to_disk(old.state_dict()))
    resumed.run(range(at, 9))
    assert_same_bits(resumed.network.state_dict(), never.network.state_dict())
    assert_same_bits(resumed.balancer.state_dict(), never.balancer.state_dict())
    assert_same_bits(resumed.balancer.last, never.balancer.last)
    assert resumed.balancer.step == 9


@every_balancer
def test_a_deep_copy_goes_on_alike_and_on_its_own(case):
    original = Training(case).run(range(3))
    clone = copy.deepcopy(original)
    before = snapshot(clone.balancer)
    original.run(range(3, 6))
    assert_same_bits(clone.balancer.state_dict(), before)
    clone.run(range(3, 6))
    assert_same_bits(clone.balancer.state_dict(), original.balancer.state_dict())
    assert_same_bits(clone.network.state_dict(), original.network.state_dict())


@every_balancer
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_skipped_step_is_no_step(case, value):
    network, balancer = setup(case, nonfinite="skip")
    parameters = [*network.parameters(), *balancer.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1.0, weight_decay=0.1)
    balancer(risks_of(network)).backward()
    optimizer.zero_grad()
    before, trained = snapshot(balancer), copy.deepcopy(network.state_dict())
    loss = balancer(with_values(risks_of(network), [0.5, value, 1.0, 2.0]))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None for p in parameters)
    optimizer.step()
    assert_same_bits(network.state_dict(), trained)
    assert balancer.last is None
    assert (balancer.step, balancer.skipped) == (1, 1)
    before["_extra_state"] = balancer.get_extra_state()
    assert_same_bits(balancer.state_dict(), before)
    balancer(risks_of(network)).backward()
    assert balancer.last is not None
