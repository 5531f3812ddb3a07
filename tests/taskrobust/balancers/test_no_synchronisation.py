"""No step waits for the host: no value is read back, and none is copied from the host.

Without a GPU at hand two stand-ins are used. On the CPU a guard refuses every operation that would
make the host wait for an accelerator. On torch's device "meta" tensors have no values at all, so
that a step which needs one fails, and so does one that builds a tensor there from host data.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from taskrobust.risks import global_risks
from tests.taskrobust.balancers.cases import CASES, GROUPS, Batch, examples, setup, sums

OURS = [case for case in CASES if not case.startswith("torchjd")]  # theirs do as they like
READING = {
    "_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero", "masked_select",
    "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip
"""Operations whose result, or its shape, the host has to wait for."""
LEAVING = {"__array__", "cpu", "item", "numpy", "tolist"}
"""Methods of a tensor that hand its values to the host."""
BUILDING = {"as_tensor", "asarray", "from_numpy", "new_tensor", "tensor"}
"""Functions that build a tensor from host data; on an accelerator they wait for the copy."""


class SynchronisationError(AssertionError):
    """An operation that makes the host wait for the device, or the other way round."""


class OperationGuard(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name in READING:
            raise SynchronisationError(f"{name} reads values back")
        if name.startswith("index") and any(t.dtype == torch.bool for t in tensors[1:]):
            raise SynchronisationError(f"{name} with a mask reads the number of its entries back")
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        # Numbers on the host may enter an operation on the device, but they may not be moved there.
        moving = [t for t in tensors if t.ndim > 0 or name in {"_to_copy", "copy_"}]
        if len({t.device for t in moving + results}) > 1:
            raise SynchronisationError(f"{name} copies between host and device")
        return result


class FunctionGuard(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        result = func(*args, **(kwargs or {}))
        if name in LEAVING:
            raise SynchronisationError(f"{name} hands values to the host")
        built = name in BUILDING and result.device.type == "meta"
        if built and not (isinstance(args[0], torch.Tensor) and name != "new_tensor"):
            raise SynchronisationError(f"{name} copies data of the host to the device")
        return result


@pytest.fixture(params=["cpu", "meta"])
def device(request, monkeypatch):
    # On a CPU, where nothing waits, task gradients look for rows of zeros.
    monkeypatch.setattr("taskrobust.task_gradients.READABLE", set())
    if request.param == "meta":  # torch.autocast does not know it, and nothing is cast there
        autocast = torch.autocast
        monkeypatch.setattr(
            torch,
            "autocast",
            lambda kind, **options: nullcontext() if kind == "meta" else autocast(kind, **options),
        )
    return request.param


def batches(device):
    """Batches with every task, and without some, on a device."""
    for seed, groups in enumerate([GROUPS, [0, 1, 1, 3], GROUPS, [2, 2, 0]]):
        yield Batch(*(field.to(device) for field in examples(groups, seed)))


def guarded_steps(case, device, **options):
    """Some steps of training and one of evaluation under both guards; ends two epochs."""
    network, balancer = setup(case, **options)
    network.to(device)
    balancer.to(device)
    optimizer = torch.optim.SGD([*network.parameters(), *balancer.parameters()], lr=0.1)
    given = list(batches(device))
    with OperationGuard(), FunctionGuard():
        for i, batch in enumerate(given):
            optimizer.zero_grad()
            balancer(global_risks(sums(network, batch))).backward()
            optimizer.step()
            if i % 2:
                balancer.end_epoch()
        balancer.eval()
        balancer(global_risks(sums(network, given[0])))
    return balancer


@pytest.mark.parametrize("case", OURS)
def test_a_step_reads_nothing_back_and_copies_nothing_from_the_host(case, device):
    balancer = guarded_steps(case, device, nonfinite="ignore")
    assert balancer.step == 4
    assert balancer.last.weights.device.type == device


@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("case", OURS)
def test_the_check_for_non_finite_risks_is_noticed(case, nonfinite):
    with pytest.raises(SynchronisationError, match="reads values back"):
        guarded_steps(case, "cpu", nonfinite=nonfinite)


@pytest.mark.parametrize(
    "synchronise",
    [
        lambda x: bool((x > 0).all()),
        lambda x: float(x[0]),
        lambda x: x[0].item(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: max(x),
        lambda x: x[x > 0],
        lambda x: x.clone().masked_select(x > 0),
        lambda x: x.clone().index_put_((x > 0,), x.new_ones(())),
        lambda x: torch.nonzero(x),
        lambda x: torch.equal(x, x),
        lambda x: torch.unique(x),
        lambda x: x.long().bincount(),
    ],
)
def test_reading_values_back_is_noticed(synchronise):
    with pytest.raises(SynchronisationError), OperationGuard(), FunctionGuard():
        synchronise(torch.ones(3))


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x.new_tensor(2.0),
        lambda x: torch.tensor(2.0, device=x.device),
        lambda x: torch.as_tensor([2.0], device=x.device),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.ones(()).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x[torch.tensor([0, 2])],
    ],
)
def test_copying_from_the_host_is_noticed(copy):
    with pytest.raises(SynchronisationError), OperationGuard(), FunctionGuard():
        copy(torch.ones(3, device="meta"))


@pytest.mark.parametrize("device_type", ["cpu", "meta"])
def test_work_on_the_device_alone_is_allowed(device_type):
    x = torch.ones(3, device=device_type)
    with OperationGuard(), FunctionGuard():
        y = torch.where(x > 0, x, 0.0) * torch.ones(()) + 2.0
        y[0] = 1.0
        assert (y.new_full((), 3.0) + y[torch.zeros(2, dtype=torch.long, device=x.device)]).ndim
        assert torch.as_tensor(y) is y
