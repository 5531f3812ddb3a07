"""No step waits for the host: no value is read back, and none is copied from the host.

Without a GPU at hand torch's device "meta" stands in for one. Tensors have no values there, so that
a step that needs one fails; guards tell what it was that needed one, and find what works on "meta"
but makes an accelerator wait: masks as indices, and tensors built from or copied from host data.
Tensors on the CPU, such as a count of steps, are the host's own and may be read.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from taskrobust.risks import global_risks
from tests.taskrobust.balancers.cases import CASES, GROUPS, Batch, examples, setup, sums

DEVICE = "meta"
OURS = [case for case in CASES if not case.startswith("torchjd")]  # theirs do as they like
READING = {
    "_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero", "masked_select",
    "nonzero", "repeat_interleave", "unique_consecutive", "unique_dim",
}  # fmt: skip
"""Operations whose result, or its shape, the host has to wait for."""
LEAVING = {
    "__array__", "__bool__", "__float__", "__index__", "__int__", "cpu", "item", "numpy", "tolist"
}  # fmt: skip
"""Methods of a tensor that hand its values to the host."""
BUILDING = {"as_tensor", "asarray", "from_numpy", "new_tensor", "tensor"}
"""Functions that build a tensor from host data; on an accelerator they wait for the copy."""


class SynchronisationError(AssertionError):
    """An operation that makes the host wait for the device, or the other way round."""


def tensors_in(*values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def on_device(tensor):
    return isinstance(tensor, torch.Tensor) and tensor.device.type == DEVICE


class OperationGuard(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        given = tensors_in(args, kwargs)
        if any(map(on_device, given)):
            if name in READING:
                raise SynchronisationError(f"{name} reads values back")
            if name.startswith("index") and any(t.dtype == torch.bool for t in given[1:]):
                raise SynchronisationError(f"{name} with a mask reads its number of entries back")
        # Numbers on the host may enter an operation on the device, but they may not be moved there.
        devices = {t.device for t in given if t.ndim > 0 or name in {"_to_copy", "copy_"}}
        wanted = (kwargs or {}).get("device")
        if len(devices | ({torch.device(wanted)} if wanted and devices else set())) > 1:
            raise SynchronisationError(f"{name} copies between host and device")
        return func(*args, **(kwargs or {}))


class FunctionGuard(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in LEAVING and on_device(args[0]):
            raise SynchronisationError(f"{name} hands values to the host")
        result = func(*args, **(kwargs or {}))
        kept = on_device(args[0]) and name != "new_tensor" if args else False
        if name in BUILDING and on_device(result) and not kept:
            raise SynchronisationError(f"{name} copies data of the host to the device")
        return result


@pytest.fixture(autouse=True)
def neither_autocast_nor_generators_on_the_device(monkeypatch):
    # torch.autocast does not know "meta", and nothing is cast there; nor are numbers drawn.
    generator = torch.Generator
    monkeypatch.setattr(
        torch,
        "Generator",
        lambda device="cpu": generator("cpu" if torch.device(device).type == DEVICE else device),
    )
    autocast = torch.autocast
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda kind, **options: nullcontext() if kind == DEVICE else autocast(kind, **options),
    )


def guarded_steps(case, **options):
    """Training with all tasks and without some, then evaluation, under both guards."""
    network, balancer = setup(case, **options)
    network.to(DEVICE)
    balancer.to(DEVICE)
    optimizer = torch.optim.SGD([*network.parameters(), *balancer.parameters()], lr=0.1)
    batches = [
        Batch(*(field.to(DEVICE) for field in examples(groups)))
        for groups in (GROUPS, [0, 1, 1, 3], GROUPS, [2, 2, 0])
    ]
    with OperationGuard(), FunctionGuard():
        for batch in batches:
            optimizer.zero_grad()
            balancer(global_risks(sums(network, batch))).backward()
            optimizer.step()
            balancer.end_epoch()
        balancer.eval()
        balancer(global_risks(sums(network, batches[0])))
    return balancer


@pytest.mark.parametrize("case", OURS)
def test_a_step_reads_nothing_back_and_copies_nothing_from_the_host(case):
    balancer = guarded_steps(case, nonfinite="ignore")
    assert balancer.step == 4
    assert on_device(balancer.last.weights)


@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("case", OURS)
def test_the_check_for_non_finite_risks_is_noticed(case, nonfinite):
    with pytest.raises(SynchronisationError, match=r"hands values to the host|reads values back"):
        guarded_steps(case, nonfinite=nonfinite)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: bool((x > 0).all()),
        lambda x: float(x[0]),
        lambda x: int(x[0]),
        lambda x: x[0].item(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: torch.ones(3).copy_(x),
        lambda x: max(x),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.index_put_((x > 0,), x.new_ones(())),
        lambda x: x.__setitem__(x > 0, x),
        lambda x: torch.nonzero(x),
        lambda x: torch.equal(x, x),
        lambda x: torch.unique(x),
        lambda x: torch.repeat_interleave(x, x.long()),
        lambda x: x.long().bincount(),
    ],
)
def test_reading_values_back_is_noticed(read):
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(SynchronisationError), OperationGuard(), FunctionGuard():
        read(x)


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
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(SynchronisationError), OperationGuard(), FunctionGuard():
        copy(x)


def test_work_on_the_device_and_on_the_host_alone_is_allowed():
    x, steps = torch.ones(3, device=DEVICE), torch.tensor(2)
    with OperationGuard(), FunctionGuard():
        y = torch.where(x > 0, x, 0.0) * torch.ones(()) + float(steps)
        y[0] = 1.0
        z = y.new_full((), 3.0) + y[torch.zeros(2, dtype=torch.long, device=DEVICE)]
        assert torch.as_tensor(z, device=DEVICE) is z
