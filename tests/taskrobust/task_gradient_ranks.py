"""Task gradients over ranks and beside DistributedDataParallel, as jobs of the distributed tests.

Imports no test framework: every process pays for what this module imports.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from taskrobust import GradNorm, _gradient_run
from taskrobust.risks import GradientReduction, TaskRisks, TaskSums, global_risks
from taskrobust.task_gradients import SharedLayer, Sketch

TASKS = 5
OWNERS = torch.tensor([0, 0, 0, 1, 0, 1, 1, 0])
"""Rank of each example."""

SKETCHED: dict[str, Any] = {"reduction": "mean", "block_bytes": 600}

WRAPPERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "find unused": {"find_unused_parameters": True},
    "static graph": {"static_graph": True},
}


class Model(nn.Module):
    """Sums of the losses of a head a task."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.trunk, self.shared = nn.Linear(3, 6), nn.Linear(6, 5)
            self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(TASKS))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        features = torch.tanh(self.shared(torch.tanh(self.trunk(x))))
        return torch.stack([head(features).square().sum() for head in self.heads])


def examples(step: int, mine: Tensor) -> Tensor:
    """This process's part of a batch."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(len(OWNERS), 3, generator=generator, dtype=torch.float64)[mine]


def risks_of(model: nn.Module, x: Tensor, reduction: GradientReduction = "mean") -> TaskRisks:
    """Global risks."""
    counts = torch.full((TASKS,), float(len(x)), dtype=torch.float64)
    return global_risks(TaskSums(model(x), counts), gradient_reduction=reduction)


def found(
    mine: Tensor, reduction: GradientReduction, block_bytes: int, sketch: Sketch | None = None
) -> dict[str, Tensor]:
    """Global gradients and norms, in one or several blocks."""
    before, _gradient_run.BLOCK_BYTES = _gradient_run.BLOCK_BYTES, block_bytes
    model = Model()
    layer = SharedLayer(model.shared)
    risks = risks_of(model, examples(0, mine), reduction).risks
    if len(mine.unique()) == 2 and mine[0]:  # another graph on the first of two ranks
        risks = (
            risks * 1 + 0 * model.heads[0](torch.tanh(model.shared(torch.ones(1, 6).double())))[0]
        )
    result = {
        "gradients": layer.global_gradients(risks, sketch=sketch, gradient_reduction=reduction),
        "norms": layer.global_norms(risks, sketch=sketch, gradient_reduction=reduction),
    }
    _gradient_run.BLOCK_BYTES = before
    return result


def train(
    mine: Tensor, wrap: Callable[[nn.Module], nn.Module], sketch_size: int | None = None
) -> dict[str, Tensor]:
    """Parameters, their last gradients and the weights after some steps with GradNorm."""
    model = Model()
    wrapped = wrap(model)
    balancer = GradNorm(TASKS, model.shared, lr=0.3, sketch_size=sketch_size).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(4):
        optimizer.zero_grad()
        balancer(risks_of(wrapped, examples(step, mine))).backward()
        optimizer.step()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return {
        "parameters": torch.cat([p.detach().flatten() for p in model.parameters()]),
        "gradients": torch.cat([gradient.flatten() for gradient in gradients]),
        "weights": balancer.task_weights,
    }


class Features(nn.Module):
    """Something for each head, beside each other."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        features = torch.tanh(self.model.shared(torch.tanh(self.model.trunk(x))))
        return [features.roll(task, 0) for task in range(TASKS)]


def norms_above(wrap: Callable[[nn.Module], nn.Module]) -> dict[str, Tensor] | str:
    """Norms of heads outside of the wrapped model, and the work in FLOP; or what is wrong."""
    model = Model()
    wrapped = wrap(Features(model))
    features = wrapped(examples(0, OWNERS >= 0))
    losses = torch.stack(
        [head(f).square().sum() for head, f in zip(model.heads, features, strict=True)]
    )
    try:
        with FlopCounterMode(display=False) as counter:
            norms = SharedLayer(model.shared).norms(losses)
    except ValueError as error:
        return str(error)
    return {"norms": norms, "work": torch.tensor(counter.get_total_flops())}


def jobs(world_size: int) -> Mapping[str, Callable[[int], Any]]:  # noqa: ARG001
    """Everything that is asked of two ranks."""
    named: dict[str, Callable[[int], Any]] = {}
    for reduction in ("mean", "sum"):
        for block_bytes in (1, 600, 2**28):
            named[f"{reduction}, {block_bytes}"] = partial(
                _found, reduction=reduction, block_bytes=block_bytes
            )
    named["sketch"] = partial(_found, **SKETCHED, sketch=Sketch(3, seed=7))
    named["sketches of their own"] = _sketches_of_their_own
    named["trained, sketch"] = partial(_train, options={}, sketch_size=3)
    for name, options in WRAPPERS.items():
        named[name] = partial(_train, options=options)
        named[f"above, {name}"] = partial(_norms_above, options=options)
    return named


def _found(rank: int, **options: Any) -> dict[str, Tensor]:
    return found(rank == OWNERS, **options)


def _sketches_of_their_own(rank: int) -> dict[str, Tensor]:
    return found(rank == OWNERS, **SKETCHED, sketch=Sketch(3, seed=7 + rank))


def _train(rank: int, options: dict[str, Any], sketch_size: int | None = None) -> dict[str, Tensor]:
    return train(rank == OWNERS, partial(DistributedDataParallel, **options), sketch_size)


def _norms_above(rank: int, options: dict[str, Any]) -> dict[str, Tensor] | str:  # noqa: ARG001
    # Heads take no part in the wrapped model.
    return norms_above(partial(DistributedDataParallel, **options))
