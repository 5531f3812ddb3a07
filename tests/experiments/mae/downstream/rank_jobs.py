"""Steps of depth fine-tuning on several ranks or without any, in float64."""

from functools import partial

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from experiments.mae.downstream.losses import berhu
from tests.experiments.mae.downstream import cases

SAMPLES = 8


def two_steps(rank):
    """Loss (the mean over ranks) and gradients of the second of two equal steps."""
    module = cases.model("depth")
    model = DistributedDataParallel(module) if dist.is_initialized() else module
    given, target = share(rank)
    for _ in range(2):
        model.zero_grad()
        loss = model(given, **target).loss
        loss.backward()
    gradients = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
    return {"loss": mean(loss), **gradients}


def bend(rank, *, across_ranks):
    """Mean over ranks of berHu, of errors whose largest is on the last rank."""
    errors = torch.arange(1.0, 1 + SAMPLES, dtype=torch.float64).square()
    size = SAMPLES // ranks()
    own = errors[rank * size : (rank + 1) * size]
    return {"loss": mean(berhu(own, torch.zeros_like(own), across_ranks=across_ranks))}


def evaluation(rank):
    """The loss of a batch that only the first rank has."""
    model = cases.model("depth").eval()
    if rank:
        return {}
    with torch.no_grad():
        return {"loss": model(cases.inputs(), **cases.targets("depth")).loss}


def share(rank):
    """Inputs and targets of this rank; every sample knows as many pixels."""
    given = cases.inputs(samples=SAMPLES)
    target = cases.targets("depth", batch=SAMPLES)
    target["depth"][SAMPLES // 2 :] += 6  # the ranks have different largest errors
    known = torch.ones(24, 16, dtype=torch.bool)
    known[:5] = False
    target["depth_valid"] = known.expand(SAMPLES, 1, -1, -1)
    size = SAMPLES // ranks()
    rows = slice(rank * size, (rank + 1) * size)
    return {k: v[rows] for k, v in given.items()}, {k: v[rows] for k, v in target.items()}


def ranks():
    return dist.get_world_size() if dist.is_initialized() else 1


def mean(loss):
    total = loss.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total / ranks()


def jobs(world_size=1):  # noqa: ARG001
    """All of the above."""
    return {
        "two steps": two_steps,
        "together": partial(bend, across_ranks=True),
        "alone": partial(bend, across_ranks=False),
        "evaluation": evaluation,
    }
