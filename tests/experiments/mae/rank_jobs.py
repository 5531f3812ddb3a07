"""The loss and gradients of a whole pre-training step on one rank or several, in float64."""

from functools import partial

import torch
import torch.distributed as dist

from experiments.mae.batches import MaskingCollator
from experiments.mae.model.masking import TokenMasking
from taskrobust import create_balancer
from tests.experiments.mae import samples
from tests.experiments.ranks import take_step

BALANCERS = {"average": {}, "minimax": {"alpha": 3.0}, "hard-max": {}}
SAMPLES, TASKS = 8, 4


def step(rank, *, balancer, local=False):
    """Loss (the mean over ranks) and gradients of one step on 8 samples.

    Args:
        rank: of as many as there are processes.
        balancer: by name.
        local: whether each rank takes risks from its own share only, which is wrong.
    """
    model = samples.model()
    batch = _share(rank)
    robust = create_balancer(balancer, TASKS, **BALANCERS[balancer]).double()
    return take_step(model, batch, len(batch["ids_keep"]), robust, local=local)


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


def jobs(world_size):  # noqa: ARG001
    """Every balancer, and Minimax on local risks."""
    found = {name: partial(step, balancer=name) for name in BALANCERS}
    found["local"] = partial(step, balancer="minimax", local=True)
    return found
