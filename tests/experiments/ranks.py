"""The step of a study on one rank or several, in float64, and its comparison."""

from unittest import mock

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from taskrobust import global_risks
from taskrobust import risks as risks_module
from taskrobust.accumulation import balanced_loss
from taskrobust.trainer.outputs import output_sums
from tests.taskrobust.distributed.harness import Failure


def take_step(model, batch, size, balancer, *, local):
    """Loss (the mean over ranks) and gradients of one step.

    Args:
        model: returns what `TaskRobustTrainer` reads.
        batch: the share of this rank.
        size: examples in it.
        balancer: in float64.
        local: whether each rank takes risks from its own share only, which is wrong.
    """
    model = DistributedDataParallel(model)
    sums = output_sums(model(**batch), balancer.num_tasks, size)
    with mock.patch.object(risks_module, "all_sum", _alone if local else risks_module.all_sum):
        risks = global_risks(sums, gradient_reduction="sum" if local else "mean")
    loss = balanced_loss(balancer, risks)
    loss.backward()
    total = loss.detach().clone()
    dist.all_reduce(total)
    gradients = {name: p.grad for name, p in model.module.named_parameters()}
    return {"loss": total / dist.get_world_size(), **gradients}


def distance(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def direction(result):
    """Gradients over their norm, so that a wrong factor alone is no other direction."""
    gradients = {name: value for name, value in result.items() if name != "loss"}
    norm = sum(value.square().sum() for value in gradients.values()).sqrt()
    return {name: value / norm for name, value in gradients.items()}


def assert_one_step(one, first, second):
    """Both of two ranks have the loss and gradients of one."""
    for result in (one, first, second):
        assert not isinstance(result, Failure), result
    assert one["loss"] > 0
    assert max(one[name].abs().max() for name in one if name != "loss") > 0.01
    assert distance(one, first) < 1e-12
    assert distance(one, second) < 1e-12


def _alone(values, _group):
    return values
