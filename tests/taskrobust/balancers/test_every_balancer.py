"""What every balancer promises, asked of every balancer that the registry knows."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from taskrobust import NonFiniteRiskError
from taskrobust.risks import grouped_risks
from tests.taskrobust.balancers.cases import (
    CASES,
    GROUPS,
    TASKS,
    assert_same_bits,
    create,
    examples,
    risks_of,
    setup,
    snapshot,
    with_values,
)

every_balancer = pytest.mark.parametrize("case", CASES)


@every_balancer
@given(groups=st.lists(st.integers(-1, TASKS - 1), min_size=1, max_size=9), seed=st.integers(0, 9))
@settings(max_examples=15)
def test_weights_are_on_the_simplex_and_times_scale_the_gradient_in_the_risks(case, groups, seed):
    network, balancer = setup(case)
    for step in range(3):
        risks = risks_of(network, groups, seed + step)
        loss = balancer(risks)
        assert loss.shape == ()
        risks_seen, weights, scale, present, _ = balancer.last
        assert torch.equal(risks_seen, risks.risks.detach())
        assert torch.equal(present, risks.present)
        assert not weights[~present].any()
        assert abs(weights.sum() - float(present.any())) < 1e-12
        if case != "minimax-attached":
            assert weights.min() >= 0
        (found,) = torch.autograd.grad(loss, risks.risks, retain_graph=True)
        torch.testing.assert_close(found, scale * weights, rtol=1e-12, atol=1e-15)
        loss.backward()


@every_balancer
def test_the_log_of_a_call_is_detached_and_on_the_device_of_the_risks(case):
    network, balancer = setup(case)
    assert balancer.last is None
    balancer(risks_of(network))
    for entry in balancer.last:
        assert not entry.requires_grad
        assert entry.device == network.heads.weight.device


@every_balancer
def test_the_log_of_a_call_is_the_same_whenever_it_is_read(case):
    network, balancer = setup(case)
    other = create(case, network)
    for seed in range(3):
        risks = risks_of(network, seed=seed)
        balancer(risks)
        expected = copy.deepcopy(balancer.last)
        other(risks).backward()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter += 1.0
        other.end_epoch()
        assert_same_bits(other.last, expected)
        other.load_state_dict(balancer.state_dict())


@every_balancer
def test_no_mask_means_that_all_tasks_are_present(case):
    network, balancer = setup(case)
    reference = create(case, network)
    for seed in range(4):
        risks = risks_of(network, seed=seed)
        loss, expected = balancer(risks.risks, counts=risks.counts), reference(risks)
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(balancer.last, reference.last, rtol=1e-12, atol=1e-13)
        # GroupDRO's total is 1 to double precision without a mask, else what it started with.
        buffers, expected = (dict(b.named_buffers()) for b in (balancer, reference))
        torch.testing.assert_close(buffers, expected, rtol=1e-7, atol=0, equal_nan=True)
        balancer.end_epoch()
        reference.end_epoch()


@every_balancer
@pytest.mark.parametrize("junk", [math.nan, 1e6])
def test_values_of_absent_tasks_are_not_looked_at(case, junk):
    network, balancer = setup(case)
    reference = create(case, network)
    for seed in range(2):
        risks = risks_of(network, [0, 0, 1, 3], seed)
        assert risks.present.tolist() == [True, True, False, True]
        strange = risks._replace(risks=torch.where(risks.present, risks.risks, junk))
        loss, expected = balancer(strange), reference(risks)
        assert torch.equal(loss, expected)
        gradients = torch.autograd.grad(loss, network.trunk.weight, retain_graph=True)
        assert_same_bits(gradients, torch.autograd.grad(expected, network.trunk.weight))
        assert_same_bits(balancer.last, reference.last)
    assert_same_bits(balancer.state_dict(), reference.state_dict())


@every_balancer
def test_without_any_present_task_the_loss_is_zero_with_a_graph(case):
    network, balancer = setup(case)
    loss = balancer(risks_of(network, [-1, -1]))
    assert loss == 0
    assert not balancer.last.weights.any()
    loss.backward()
    for parameter in network.parameters():
        assert parameter.grad is None or not parameter.grad.any()


class HostReads(TorchDispatchMode):
    """Counts operations that bring values to the host: on an accelerator each is a stall."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket._qualified_op_name
        self.count += name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"}
        return func(*args, **(kwargs or {}))


@every_balancer
@pytest.mark.parametrize(("nonfinite", "expected"), [("ignore", 0), ("raise", 1), ("skip", 1)])
def test_only_the_check_of_finite_risks_reads_values_back_to_the_host(
    case, nonfinite, expected, monkeypatch
):
    # On a CPU, where nothing waits, task gradients look for rows of zeros.
    monkeypatch.setattr("taskrobust._gradient_run.READABLE", set())
    if case.startswith("torchjd"):
        pytest.skip("reads values wherever TorchJD does, as documented")
    network, balancer = setup(case, nonfinite=nonfinite)
    for seed in range(3):
        risks = risks_of(network, seed=seed)
        with HostReads() as reads:
            loss = balancer(risks)
        assert reads.count == expected
        loss.backward()


@every_balancer
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_risks_are_upcast_also_under_autocast(case, half):
    network, balancer = setup(case, torch.float32)
    reference = create(case, network)
    risks = risks_of(network)
    low = risks._replace(risks=risks.risks.to(half))
    expected = reference(risks._replace(risks=risks.risks.to(half).float()))
    with torch.autocast("cpu", dtype=half):
        loss = balancer(low)
    assert loss.dtype == balancer.last.weights.dtype == balancer.last.risks.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert_same_bits(balancer.last, reference.last)


@every_balancer
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_non_finite_risk_raises_with_name_step_and_value_before_anything_changes(case, value):
    network, balancer = setup(case, task_names=["rgb", "depth", "edges", "text"])
    for seed in range(2):
        balancer(risks_of(network, seed=seed))
    before = snapshot(balancer)
    risks = with_values(risks_of(network), [0.5, value, 1.0, value])
    message = rf"step 2: depth = {value}, text = {value}; nothing has been updated"
    with pytest.raises(NonFiniteRiskError, match=message):
        balancer(risks)
    assert_same_bits(balancer.state_dict(), before)


@pytest.mark.parametrize(
    ("case", "nonfinite"),
    [
        ("average", "ignore"), ("uncertainty", "ignore"), ("group-dro", "raise"),
        ("minimax-ema", "raise"), ("minimax-schedule", "ignore"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks
def test_a_compiled_step_is_the_eager_one_and_compiled_once(case, nonfinite):
    eager, compiled = setup(case, nonfinite=nonfinite), setup(case, nonfinite=nonfinite)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    def step(network, balancer, batch):
        return balancer(grouped_risks(network(batch), batch.groups, TASKS))

    fast = torch.compile(step, backend=counter)
    for seed in range(12):
        batch = examples(GROUPS, seed)
        losses = [f(*pair, batch) for f, pair in ((step, eager), (fast, compiled))]
        for loss in losses:
            loss.backward()
        torch.testing.assert_close(*losses, rtol=1e-14, atol=0)
        torch.testing.assert_close(compiled[1].last, eager[1].last, rtol=1e-13, atol=1e-15)
        if seed == 2:
            compilations = counter.frame_count
    for a, b in zip(*(pair[0].parameters() for pair in (eager, compiled)), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-13, atol=1e-15)
    states = (compiled[1].state_dict(), eager[1].state_dict())
    torch.testing.assert_close(*states, rtol=1e-13, atol=1e-15, equal_nan=True)
    assert compiled[1].step == 12
    assert counter.frame_count == compilations > 0
