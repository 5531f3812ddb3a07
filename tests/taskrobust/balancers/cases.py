"""Every balancer of the registry and some variants, with a small network to train.

Imports neither pytest nor hypothesis, so that processes start fast.
"""

import copy
import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from taskrobust.balancers import Balancer, balancer_info, create_balancer, list_balancers
from taskrobust.risks import TaskRisks, TaskSums, global_risks, task_sums

TASKS = 4
GROUPS = [0, 0, 0, 1, 1, 2, 3, 3, 3, -1]
"""Task ids of a batch with every task, of uneven counts, and an example without a task."""
AT_THE_SHARED_LAYER = object()
"""Stands for the shared layer of the network until there is one."""

# Sharp enough, and with a memory short enough, that a mistake shows within a few steps.
OPTIONS: dict[str, dict[str, Any]] = {
    "dwa": {"window": 1, "temperature": 0.2},
    "group-dro": {"step_size": 0.5},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "minimax-sharp": ("minimax", {"alpha": 2.0}),
    "minimax-tolerance": ("minimax", {"tolerance": 0.5}),
    "minimax-schedule": (
        "minimax", {"alpha": {"schedule": "sharpened", "radius": 2.0, "lipschitz": 1.0}}
    ),
    "minimax-reference": ("minimax", {"alpha": 2.0, "reference": [0.5, 0.1, 2.0, 1.0]}),
    "minimax-ema": ("minimax", {"alpha": 2.0, "ema": 0.5}),
    "minimax-min-count": ("minimax", {"alpha": 2.0, "min_count": 3}),
    "gradnorm-sketch": ("gradnorm", {"sketch_size": 2}),
    "average-sum": ("average", {"scale": float(TASKS)}),
    "torchjd-stch": ("torchjd", {"method": "STCH", "options": {"mu": 0.5}}),
    "torchjd-mgda": ("torchjd", {"method": "MGDA", "shared": AT_THE_SHARED_LAYER}),
}  # fmt: skip
CASES = [*list_balancers(), *VARIANTS]


class Batch(NamedTuple):
    """Inputs ``[n, 3]``, targets ``[n]`` and task ids ``[n]``, some of them -1: no task."""

    x: Tensor
    y: Tensor
    groups: Tensor

    def take(self, index: Any) -> "Batch":
        return Batch(*(field[index] for field in self))


class Network(nn.Module):
    """Task losses of an MLP with one head a task; gives the loss of each example."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Linear(3, 6)
            self.shared = nn.Linear(6, 5)
            self.heads = nn.Linear(5, TASKS)

    def forward(self, batch: Batch) -> Tensor:
        features = torch.tanh(self.shared(torch.tanh(self.trunk(batch.x))))
        head = batch.groups.clamp(min=0)[:, None]
        return (self.heads(features).gather(1, head).squeeze(1) - batch.y).square()


def sums(network: nn.Module, batch: Batch) -> TaskSums:
    """Sums and counts of a batch; the network may be wrapped."""
    return task_sums(network(batch), batch.groups, TASKS)


def examples(groups: Any, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Examples of given tasks; the later the task, the harder."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.as_tensor(groups, dtype=torch.long)
    x = torch.randn(len(ids), 3, generator=generator, dtype=dtype)
    return Batch(x, torch.sin(2 * x.sum(1)) + 0.6 * ids.to(dtype), ids)


def create(case: str, network: Network, **options: Any) -> Balancer:
    """A balancer of the registry or a variant, in the precision of the network."""
    name, variant = VARIANTS.get(case, (case, OPTIONS.get(case, {})))
    merged = {**variant, **options}
    required = inspect.signature(balancer_info(name).balancer).parameters
    if ("shared" in required and name != "torchjd") or "shared" in merged:
        merged["shared"] = network.shared
    balancer = create_balancer(name, TASKS, **merged)
    return balancer.to(next(network.parameters()).dtype)


def setup(
    case: str, dtype: torch.dtype = torch.float64, **options: Any
) -> tuple[Network, Balancer]:
    """A network and its balancer."""
    network = Network().to(dtype)
    return network, create(case, network, **options)


def risks_of(network: Network, groups: Any = GROUPS, seed: int = 0) -> TaskRisks:
    """Risks of examples of given tasks, in one process."""
    return global_risks(sums(network, examples(groups, seed, network.heads.weight.dtype)))


def with_values(risks: TaskRisks, values: list[float]) -> TaskRisks:
    """The same graph with other values of the risks."""
    return risks._replace(risks=risks.risks * 0 + torch.tensor(values, dtype=risks.risks.dtype))


def snapshot(module: nn.Module) -> dict[str, Any]:
    """A copy of the state."""
    return copy.deepcopy(module.state_dict())


def assert_same_bits(found: Any, expected: Any) -> None:
    """Equal tensors, containers of them too; NaN equals NaN."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
