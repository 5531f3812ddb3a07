r"""Per-task risks from per-example or per-token losses, global over ranks before the division.

A task risk is a mean, :math:`\ell_t = S_t / N_t` with the sum :math:`S_t` and the count :math:`N_t`
of the losses of task t. Over R ranks both are all-reduced *before* the division: an average of
per-rank means, or of per-rank softmax weights, is another objective (it silently becomes the plain
average when every rank holds one task). The gradient stays local: rank r backpropagates
:math:`R\,w_t S_t^{(r)}/N_t`, so that the mean over ranks that `DistributedDataParallel` and FSDP
take is :math:`\sum_t w_t \nabla S_t / N_t`, the gradient of the global weighted risk.
"""

from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

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


class TaskSums(NamedTuple):
    """What one rank contributes: sums ``[T]`` (with graph, float32 or wider) and counts ``[T]``."""

    sums: Tensor
    counts: Tensor  # of the dtype of the sums, without graph

    def plus(self, other: "TaskSums") -> "TaskSums":
        """Sums and counts of both, as of one batch.

        Raises:
            ValueError: another number of entries; auxiliary losses belong in all batches or none.
        """
        if self.sums.shape != other.sums.shape:
            raise ValueError(
                f"`other` should have {self.sums.numel()} sums; found {other.sums.numel()} "
                "(auxiliary losses in some batches only?)"
            )
        return TaskSums(self.sums + other.sums, self.counts + other.counts)


class TaskRisks(NamedTuple):
    """Global risks, ready for a balancer: ``balancer(risks)``."""

    risks: Tensor  # [T]; the value is global, the graph this rank's share; 0 where absent
    present: Tensor  # bool [T]: some rank has the task
    counts: Tensor  # [T], global


def task_sums(values: Tensor, groups: Tensor, num_groups: int) -> TaskSums:
    """Sum and count of the losses of each task on this rank, by one segment sum.

    Args:
        values: losses of any shape, unscaled. Half precision is upcast before it is summed, but
            what it has lost is lost: compute losses in float32 (see `cross_entropy`).
        groups: integer task ids of the same shape, 0 to T-1; entries of a negative id (such as
            -100) take no part, and their values may be anything, NaN too.
        num_groups: number of tasks T.

    Returns:
        Sums and counts ``[T]`` on the device of `values`.

    Raises:
        TypeError: values that are not floating or groups that are not integers.
        ValueError: shapes that differ, fewer than one group, or a task id of T or more (on an
            accelerator that is the device's own assertion, since nothing is read back).
    """
    if not values.is_floating_point():
        raise TypeError(f"`values` should be floating; found dtype {values.dtype}")
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise TypeError(f"`groups` should be integer task ids; found dtype {groups.dtype}")
    if values.shape != groups.shape:
        hint = "; `values` should be one loss an example (reduction='none')"
        raise ValueError(
            f"`groups` should have the shape {tuple(values.shape)} of `values`; "
            f"found {tuple(groups.shape)}{hint if values.ndim == 0 else ''}"
        )
    if num_groups < 1:
        raise ValueError(f"`num_groups` should be at least 1; found {num_groups}")
    with _full_precision(values):
        values = _at_least_float32(values).flatten()
        ids = groups.to(values.device).flatten().long()
        # Ignored entries go to one more segment, which is cut off: shapes stay static.
        segments = ids.clamp(min=-1) + 1
        # One by one, 1e5 losses added in float32 would lose three of its seven digits.
        wide = values if values.device.type == "mps" else values.double()
        zeros = wide.new_zeros(num_groups + 1)
        try:
            sums = zeros.index_add(0, segments, wide)[1:].to(values.dtype)
            counts = zeros.index_add(0, segments, torch.ones_like(wide))[1:].to(values.dtype)
        except IndexError as error:
            raise ValueError(
                f"`groups` should be task ids from 0 to {num_groups - 1} (negative ones are left "
                f"out); found {int(ids.max())}"
            ) from error
    return TaskSums(sums, counts.detach())


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
    risks = _GlobalRisk.apply(  # type: ignore[no-untyped-call]
        local.sums, sums / divisor, factor / divisor
    )
    return TaskRisks(risks, counts > 0, counts)


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
        sums_of_means(_at_least_float32(means), counts),
        process_group=process_group,
        gradient_reduction=gradient_reduction,
    )


def sums_of_means(means: Tensor, counts: Tensor) -> TaskSums:
    """Sums and counts ``[T]`` from means ``[T]``, whatever these are where the count is 0."""
    counts = counts.detach().to(means)
    return TaskSums(torch.where(counts > 0, means, 0.0) * counts, counts)


def cross_entropy(logits: Tensor, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Per-example cross-entropy in float32 or wider, whatever the dtype of the logits or autocast.

    Args:
        logits: ``[..., C]``, any floating dtype.
        targets: class ids ``[...]``; `ignore_index` gives loss 0 (mark such entries as ignored in
            the task ids too).
        ignore_index: target that is skipped.

    Returns:
        Losses ``[...]`` in nats.

    Raises:
        ValueError: targets of another shape than the logits without their last axis.
    """
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"`targets` should have shape {tuple(logits.shape[:-1])}, that of `logits` without "
            f"classes; found {tuple(targets.shape)}"
        )
    with _full_precision(logits):
        logits = _at_least_float32(logits)
        losses = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            targets.flatten(),
            ignore_index=ignore_index,
            reduction="none",
        )
    return losses.view(targets.shape)


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


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast switched off on the device of a tensor."""
    return torch.autocast(tensor.device.type, enabled=False)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor
