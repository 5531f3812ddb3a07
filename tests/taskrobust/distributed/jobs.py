"""Training on shards of batches, and the same training in one process to compare it with.

Every function here runs in one process and on many alike: the ranks only see their shard.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from taskrobust.accumulation import plan_accumulation
from taskrobust.balancers import Balancer, NonFiniteRiskError
from taskrobust.risks import GradientReduction, ProcessGroup, global_risks
from tests.taskrobust.balancers.cases import CASES, Batch, Network, create, sums
from tests.taskrobust.distributed.batches import (
    COURSE,
    MICRO_SIZES,
    STEPS,
    UNBALANCED,
    UNEVEN,
    micro_batches,
    shards,
    with_nan,
)

Record = dict[str, Any]
"""Tensors by name; what a step did is stacked over steps."""


def train(
    case: str,
    step_of: Callable[[nn.Module, Balancer, int], Tensor],
    steps: int = STEPS,
    *,
    wrap: Callable[[Network], nn.Module] = lambda network: network,
    after_backward: Callable[[Network, Balancer], None] = lambda network, balancer: None,
    **options: Any,
) -> Record:
    """A few optimiser steps; `step_of` backpropagates and returns the loss."""
    network = Network().double()
    model = wrap(network)
    balancer = create_with(case, network, **options)
    groups = [{"params": network.parameters()}, *balancer.param_groups(lr=0.5)]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.5)
    seen: dict[str, list[Tensor]] = {"losses": [], "gradients": [], "own": [], "weights": []}
    for step in range(steps):
        optimizer.zero_grad()
        seen["losses"].append(step_of(model, balancer, step).detach())
        after_backward(network, balancer)
        seen["gradients"].append(flat(network, lambda p: p.grad))
        seen["own"].append(flat(balancer, lambda p: p.grad))
        last = balancer.last
        seen["weights"].append(torch.full((0,), 0.0) if last is None else last.weights)
        optimizer.step()
    skipped = any(w.numel() == 0 for w in seen["weights"])
    record: Record = {k: torch.stack(v) for k, v in seen.items() if k != "weights" or not skipped}
    record["parameters"] = flat(network, lambda p: p.detach())
    record["state"] = dict(balancer.state_dict())
    return record


def create_with(case: str, network: Network, **options: Any) -> Balancer:
    """A balancer; options that only some know are for those."""
    probe = type(create(case, network))
    known = inspect.signature(probe).parameters
    return create(case, network, **{k: v for k, v in options.items() if k in known})


def flat(module: nn.Module, of: Callable[[nn.Parameter], Tensor | None]) -> Tensor:
    """Something of every parameter in one vector, zero where there is nothing."""
    parts = [of(p) if of(p) is not None else torch.zeros_like(p) for p in module.parameters()]
    return torch.cat([p.flatten() for p in parts if p is not None] or [torch.zeros(0)]).clone()


def plain_step(
    model: nn.Module,
    balancer: Balancer,
    step: int,
    *,
    batch_of: Callable[[int], Batch],
    process_group: ProcessGroup = None,
    gradient_reduction: GradientReduction = "mean",
) -> Tensor:
    """Risks, balancer, backward."""
    risks = global_risks(
        sums(model, batch_of(step)),
        process_group=process_group,
        gradient_reduction=gradient_reduction,
    )
    loss: Tensor = balancer(risks)
    loss.backward()
    return loss


def planned_step(
    model: nn.Module,
    balancer: Balancer,
    step: int,
    *,
    batches_of: Callable[[int], list[Batch]],
    gradient_reduction: GradientReduction = "mean",
    guarded: bool = True,
) -> Tensor:
    """Two passes over micro-batches; gradients are synchronised at the last one only.

    Args:
        model: the network, wrapped or not.
        balancer: asked once.
        step: number of the step.
        batches_of: micro-batches of a step.
        gradient_reduction: as in `plan_accumulation`.
        guarded: whether the first pass is kept from arming the wrapper's synchronisation here.

    Returns:
        The plan's value, then the sum of the values of this rank's losses.
    """
    batches = batches_of(step)
    no_sync = model.no_sync if isinstance(model, DistributedDataParallel) else nullcontext
    with no_sync() if guarded else nullcontext():
        plan = plan_accumulation(
            balancer,
            partial(sums, model),
            batches,
            model=model,
            gradient_reduction=gradient_reduction,
        )
    values = []
    for batch in batches:
        with nullcontext() if batch is batches[-1] else no_sync():
            loss = plan.loss(sums(model, batch))
            loss.backward()
        values.append(loss.detach())
    return torch.stack([plan.value, torch.stack(values).sum()])


def add_over_ranks(*modules: nn.Module) -> None:
    """What a wrapper that adds gradients does."""
    for module in modules:
        for parameter in module.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)


def message_of_error(case: str, step_of: Callable[..., Tensor], **options: Any) -> str:
    """What the non-finite step of a training says."""
    try:
        train(case, step_of, **options)
    except NonFiniteRiskError as error:
        return str(error)
    return "no error"


# The jobs of the processes.


def jobs(world_size: int) -> Mapping[str, Callable[[int], Any]]:
    """Everything that is asked of a number of ranks, by name."""
    alone = [dist.new_group([rank]) for rank in range(world_size)]
    pair = dist.new_group([0, 1])
    found: dict[str, Callable[[int], Any]] = {}
    for case in CASES:
        found[f"course: {case}"] = partial(_course, case, world_size)
        for scenario in ("balanced", "unbalanced", "one task a rank"):
            found[f"per rank, {scenario}: {case}"] = partial(
                _per_rank, case, scenario, world_size, alone
            )
        found[f"sum: {case}"] = partial(_summed, case, world_size)
        found[f"plan: {case}"] = partial(_planned, case, world_size)
        found[f"plan, sum: {case}"] = partial(_planned_sum, case, world_size)
        found[f"communication: {case}"] = partial(_communication, case)
        found[f"skip: {case}"] = partial(_with_nan_on_rank_0, train, case, world_size, "skip")
        if world_size > 2:
            found[f"pair: {case}"] = partial(_in_a_pair, case, pair)
    found["raise: minimax"] = partial(
        _with_nan_on_rank_0, message_of_error, "minimax", world_size, "raise"
    )
    return found


def _course(case: str, world_size: int, rank: int) -> Record:
    batch_of = partial(_shard, COURSE, world_size, rank)
    step_of = partial(plain_step, batch_of=batch_of)
    return train(case, step_of, len(COURSE), wrap=DistributedDataParallel)


def _per_rank(
    case: str, scenario: str, world_size: int, alone: list[ProcessGroup], rank: int
) -> Record:
    """Weights from the risks of this rank, gradients averaged: not what is wanted."""
    batch_of = partial(_shard, [scenario] * STEPS, world_size, rank)
    step_of = partial(plain_step, batch_of=batch_of, process_group=alone[rank])
    return train(case, step_of, wrap=DistributedDataParallel, process_group=alone[rank])


def _summed(case: str, world_size: int, rank: int) -> Record:
    batch_of = partial(_shard, UNEVEN, world_size, rank)
    step_of = partial(plain_step, batch_of=batch_of, gradient_reduction="sum")

    def add(network: Network, balancer: Balancer) -> None:  # noqa: ARG001
        add_over_ranks(network)  # the balancer's parameters have the whole gradient everywhere

    return train(case, step_of, after_backward=add, gradient_reduction="sum")


def _planned(case: str, world_size: int, rank: int) -> Record:
    step_of = partial(planned_step, batches_of=partial(_micro_batches, world_size, rank))
    return train(case, step_of, wrap=DistributedDataParallel)


def _communication(case: str, rank: int) -> Tensor:
    """How many gradient buckets have been reduced by the end of each step of two micro-batches."""
    count = 0
    counts = []

    def counted(group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        nonlocal count
        count += 1
        return allreduce_hook(group, bucket)

    def wrap(network: Network) -> nn.Module:
        model = DistributedDataParallel(network)
        model.register_comm_hook(dist.group.WORLD, counted)
        return model

    def step_of(model: nn.Module, balancer: Balancer, step: int) -> Tensor:
        batches = micro_batches(step, [4, 4], skip=8 * (rank % 2))
        loss = planned_step(model, balancer, step, batches_of=lambda _: batches, guarded=False)
        counts.append(count)
        return loss

    train(case, step_of, wrap=wrap)
    return torch.tensor(counts)


def _planned_sum(case: str, world_size: int, rank: int) -> Record:
    batches_of = partial(_micro_batches, world_size, rank)
    step_of = partial(planned_step, batches_of=batches_of, gradient_reduction="sum")
    return train(case, step_of, after_backward=add_over_ranks, gradient_reduction="sum")


def _in_a_pair(case: str, pair: ProcessGroup, rank: int) -> Record | None:
    """Ranks 0 and 1 by themselves, among others."""
    if rank > 1:
        return None
    step_of = partial(plain_step, batch_of=partial(_shard, UNEVEN, 2, rank), process_group=pair)
    wrap = partial(DistributedDataParallel, process_group=pair)
    return train(case, step_of, wrap=wrap, process_group=pair)


def _with_nan_on_rank_0(
    run: Callable[..., Any], case: str, world_size: int, nonfinite: str, rank: int
) -> Any:
    def batch_of(step: int) -> Batch:
        batch = _shard(UNBALANCED, world_size, rank, step)
        return with_nan(batch, step) if rank == 0 else batch

    return run(
        case,
        partial(plain_step, batch_of=batch_of),
        wrap=DistributedDataParallel,
        nonfinite=nonfinite,
    )


def _shard(course: Sequence[str], world_size: int, rank: int, step: int) -> Batch:
    return shards(course, world_size, step)[rank]


def _micro_batches(world_size: int, rank: int, step: int) -> list[Batch]:
    sizes = MICRO_SIZES[world_size]
    return micro_batches(step, sizes[rank], skip=sum(map(sum, sizes[:rank])))
