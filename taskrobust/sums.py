"""Per-example or per-token losses on one rank, and their sums and counts by task."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["TaskSums", "at_least_float32", "cross_entropy", "sums_of_means", "task_sums"]


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
        logits = at_least_float32(logits)
        losses = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            targets.flatten(),
            ignore_index=ignore_index,
            reduction="none",
        )
    return losses.view(targets.shape)


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
        values = at_least_float32(values).flatten()
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


def sums_of_means(means: Tensor, counts: Tensor) -> TaskSums:
    """Sums and counts ``[T]`` from means ``[T]``, whatever these are where the count is 0."""
    counts = counts.detach().to(means)
    return TaskSums(torch.where(counts > 0, means, 0.0) * counts, counts)


def at_least_float32(tensor: Tensor) -> Tensor:
    """A floating tensor, upcast if it is in half precision."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def _full_precision(tensor: Tensor) -> AbstractContextManager[Any]:
    """Autocast switched off on the device of a tensor, if the device (not "meta") has it."""
    device = tensor.device.type
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
