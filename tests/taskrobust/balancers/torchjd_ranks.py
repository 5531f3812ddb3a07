"""Steps of TorchJD's methods on one process or many, as jobs of the distributed tests' harness."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from taskrobust.risks import all_sum, grouped_risks, num_ranks
from tests.taskrobust.balancers.torchjd_cases import EVERY_METHOD, TASKS, Network, make

GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3])
OWNERS = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0])
"""Rank of each example: task 0 is on the first rank only, task 2 on the second only."""


def train(method: str, mine: Tensor) -> Tensor:
    """Gradients (averaged over ranks as by DDP) and weights after each of three steps.

    Args:
        method: one of the cases.
        mine: which examples this process has.
    """
    network = Network()
    balancer = make(method, network)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3):
        x = torch.randn(len(GROUPS), 3, generator=generator, dtype=torch.float64)[mine]
        outputs = network.heads(torch.tanh(network.shared(x)))
        values = outputs.gather(1, GROUPS[mine][:, None]).squeeze(1) - x.sum(1)
        network.zero_grad()
        balancer.zero_grad()
        balancer(grouped_risks(values.square(), GROUPS[mine], TASKS)).backward()
        own = [p.grad for group in balancer.param_groups() for p in group["params"]]
        gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
        found.append(torch.cat([all_sum(gradient) / num_ranks(), *own, balancer.last.weights]))
    return torch.stack(found)


def on_rank(rank: int, method: str) -> Tensor:
    """`train` on the examples of a rank, whose process draws its own random numbers."""
    torch.manual_seed(rank)
    return train(method, rank == OWNERS)


def jobs(world_size: int) -> Mapping[str, Callable[[int], Any]]:  # noqa: ARG001
    """Every method."""
    return {method: partial(on_rank, method=method) for method in EVERY_METHOD}
