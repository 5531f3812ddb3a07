"""The loss and gradients of a whole pre-training step on one rank or several, in float64."""

from functools import partial
from unittest import mock

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from experiments.mae.batches import MaskingCollator
from experiments.mae.model.masking import TokenMasking
from taskrobust import create_balancer, global_risks
from taskrobust import risks as risks_module
from taskrobust.accumulation import balanced_loss
from taskrobust.trainer.outputs import output_sums
from tests.experiments.mae import samples

BALANCERS = {"average": {}, "minimax": {"alpha": 3.0}, "hard-max": {}}
SAMPLES, TASKS = 8, 4


def step(rank, *, balancer, local=False):
    """Loss (the mean over ranks) and gradients of one step on 8 samples.

    Args:
        rank: of as many as there are processes.
        balancer: by name.
        local: whether each rank takes risks from its own share only, which is wrong.
    """
    model = DistributedDataParallel(samples.model())
    batch = _share(rank)
    robust = create_balancer(balancer, TASKS, **BALANCERS[balancer]).double()
    sums = output_sums(model(**batch), TASKS, len(batch["ids_keep"]))
    with mock.patch.object(risks_module, "all_sum", _alone if local else risks_module.all_sum):
        risks = global_risks(sums, gradient_reduction="sum" if local else "mean")
    loss = balanced_loss(robust, risks)
    loss.backward()
    total = loss.detach().clone()
    dist.all_reduce(total)
    gradients = {name: p.grad for name, p in model.module.named_parameters()}
    return {"loss": total / dist.get_world_size(), **gradients}


def _share(rank):
    """Samples of this rank, masked by it; some in the first half have no depth to be scored."""
    images = samples.images(samples=SAMPLES)
    images["rgb"][: SAMPLES // 2] *= 3  # the ranks have different risks
    valid = torch.ones(SAMPLES, 1, 24, 16, dtype=torch.bool)
    valid[1:3] = False
    size = SAMPLES // dist.get_world_size()
    rows = [
        {
            **{name: values[index] for name, values in images.items()},
            "depth_valid": valid[index],
            "index": index,
        }
        for index in range(rank * size, (rank + 1) * size)
    ]
    masking = TokenMasking((6, 6, 6), samples.VISIBLE, seed=1)
    return MaskingCollator(samples.SIZE.names, masking)(rows)


def _alone(values, _group):
    return values


def jobs(world_size):  # noqa: ARG001
    """Every balancer, and Minimax on local risks."""
    found = {name: partial(step, balancer=name) for name in BALANCERS}
    found["local"] = partial(step, balancer="minimax", local=True)
    return found
