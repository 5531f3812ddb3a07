r"""Per-task risks from per-example or per-token losses, global over ranks before the division.

A task risk is a mean, :math:`\ell_t = S_t / N_t` with the sum :math:`S_t` and the count :math:`N_t`
of the losses of task t. Over R ranks both are all-reduced *before* the division: an average of
per-rank means, or of per-rank softmax weights, is another objective (it silently becomes the plain
average when every rank holds one task). The gradient stays local: rank r backpropagates
:math:`R\,w_t S_t^{(r)}/N_t`, so that the mean over ranks that `DistributedDataParallel` and FSDP
take is :math:`\sum_t w_t \nabla S_t / N_t`, the gradient of the global weighted risk.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from taskrobust.sums import TaskSums, at_least_float32, cross_entropy, sums_of_means, task_sums

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "GradientReduction",
    "ProcessGroup",
    "TaskRisks",
    "TaskSums",
    "all_sum",
    "check_gradient_reduction",
    "cross_entropy",
    "global_risks",
    "grouped_risks",
    "mean_risks",
    "num_ranks",
    "sums_of_means",
    "task_sums",
]

ProcessGroup = dist.ProcessGroup | None
"""Ranks to reduce over; None for all of them (or for one process, when there is no group)."""

GradientReduction = Literal["mean", "sum"]
"""What the data-parallel wrapper does to gradients over ranks; DDP and FSDP take the mean."""


class TaskRisks(NamedTuple):
    """Global risks, ready for a balancer: ``balancer(risks)``."""

    risks: Tensor  # [T]; the value is global, the graph this rank's share; 0 where absent
    present: Tensor  # bool [T]: some rank has the task
    counts: Tensor  # [T], global


def global_risks(
    local: TaskSums,
    *,
    process_group: ProcessGroup = None,
    gradient_reduction: GradientReduction = "mean",
) -> TaskRisks:
    """Risks over all ranks from each rank's sums and counts: one all-reduce of 2T numbers.

    Args:
        local: this rank's sums and counts; every rank of the group has to call.
        process_group: ranks to reduce over; None for all. Without an initialised
            `torch.distributed` this rank is all there is.
        gradient_reduction: "mean" if gradients are averaged over these ranks afterwards (DDP,
            FSDP), "sum" if they are added.

    Returns:
        Risks whose value is the same on every rank and whose gradient is this rank's share, scaled
        so that the reduced gradient is that of the global risk.

    Raises:
        ValueError: an unknown gradient reduction.
    """
    check_gradient_reduction(gradient_reduction)
    totals = all_sum(torch.stack([local.sums.detach(), local.counts]), process_group)
    sums, counts = totals[0], totals[1]
    divisor = counts.clamp(min=1.0)
    factor = num_ranks(process_group) if gradient_reduction == "mean" else 1
    apply: Callable[..., Tensor] = _GlobalRisk.apply
    return TaskRisks(apply(local.sums, sums / divisor, factor / divisor), counts > 0, counts)


def grouped_risks(
    values: Tensor,
    groups: Tensor,
    num_groups: int,
    *,
    process_group: ProcessGroup = None,
    gradient_reduction: GradientReduction = "mean",
) -> TaskRisks:
    """Global per-task risks from per-example or per-token losses: `task_sums`, then `global_risks`.

    A task that no rank has is absent: masked out of every weight, never a loss of zero.

    Args:
        values: losses of any shape, as in `task_sums`.
        groups: task ids of the same shape, as in `task_sums`.
        num_groups: number of tasks T.
        process_group: as in `global_risks`.
        gradient_reduction: as in `global_risks`.

    Returns:
        Risks, presence and counts ``[T]``; pass them to a balancer as they are.

    Raises:
        TypeError: as `task_sums`.
        ValueError: as `task_sums` and `global_risks`.

    >>> values = torch.tensor([1.0, 3.0, 5.0])
    >>> grouped_risks(values, torch.tensor([0, 0, 2]), 3).risks
    tensor([2., 0., 5.])
    """
    return global_risks(
        task_sums(values, groups, num_groups),
        process_group=process_group,
        gradient_reduction=gradient_reduction,
    )


def mean_risks(
    means: Tensor,
    counts: Tensor,
    *,
    process_group: ProcessGroup = None,
    gradient_reduction: GradientReduction = "mean",
) -> TaskRisks:
    """Global per-task risks from this rank's own means and how many examples each is over.

    For losses that are averaged already: under data parallelism, local means passed to a balancer
    as they are would be weighted by each rank for itself.

    Args:
        means: ``[T]`` mean loss of each task on this rank; anything, NaN too, where the count is 0.
        counts: ``[T]`` examples of each task on this rank.
        process_group: as in `global_risks`.
        gradient_reduction: as in `global_risks`.

    Returns:
        Risks, presence and counts ``[T]``.

    Raises:
        TypeError: means that are not floating.
        ValueError: shapes that differ, and as `global_risks`.
    """
    if not means.is_floating_point():
        raise TypeError(f"`means` should be floating; found dtype {means.dtype}")
    if counts.shape != means.shape:
        raise ValueError(
            f"`counts` should have the shape {tuple(means.shape)} of `means`; "
            f"found {tuple(counts.shape)}"
        )
    return global_risks(
        sums_of_means(at_least_float32(means), counts),
        process_group=process_group,
        gradient_reduction=gradient_reduction,
    )


def check_gradient_reduction(value: str) -> None:
    """Raise a ValueError if a value is no `GradientReduction`."""
    if value not in ("mean", "sum"):
        raise ValueError(f"`gradient_reduction` should be 'mean' or 'sum'; found {value!r}")


def num_ranks(process_group: ProcessGroup = None) -> int:
    """Number of ranks of a group; 1 without an initialised `torch.distributed`."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    ranks = dist.get_world_size(process_group)
    if ranks < 1:  # torch's answer to a rank outside
        raise ValueError("`process_group` should include this rank; found a group without it")
    return ranks


def all_sum(tensor: Tensor, process_group: ProcessGroup = None) -> Tensor:
    """Sum of a tensor over ranks, without graph; the tensor itself in one process."""
    if num_ranks(process_group) == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total, group=process_group)
    return total


class _GlobalRisk(torch.autograd.Function):
    """The global risk forward; backward the gradient of this rank's share of it."""

    @staticmethod
    def forward(sums: Tensor, risks: Tensor, share: Tensor) -> Tensor:  # noqa: ARG004
        return risks.clone()

    @staticmethod
    def setup_context(
        ctx: torch.autograd.function.FunctionCtx,
        inputs: tuple[Tensor, Tensor, Tensor],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:  # type: ignore[type-arg]
        (share,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * share, None, None
