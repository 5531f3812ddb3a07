"""Losses of the dense downstream tasks, over pixels of known target only, in float32 or wider."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from taskrobust.sums import at_least_float32

__all__ = ["berhu", "labelled_cross_entropy"]


def labelled_cross_entropy(logits: Tensor, labels: Tensor, void: int) -> Tensor:
    """Mean cross-entropy in nats of the labelled pixels of a batch; 0 if there are none.

    Args:
        logits: ``[B, classes, H, W]``.
        labels: class ids, int64 ``[B, H, W]``.
        void: the id of unlabelled pixels.
    """
    total = functional.cross_entropy(
        at_least_float32(logits), labels, ignore_index=void, reduction="sum"
    )
    return total / (labels != void).sum().clamp(min=1)


def berhu(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    share: float = 0.2,
    floor: float = 1e-5,
    across_ranks: bool = False,
) -> Tensor:
    """Reverse Huber loss: |e| up to c, (e² + c²) / (2c) from there (Laina et al., 3DV 2016).

    c = max(share · max|e|, floor) over the known pixels of the batch is a constant to the gradient.

    Args:
        predicted: any shape.
        target: the same shape; what stands at unknown pixels does not matter, NaN neither.
        valid: bool of the same shape, True where the target is known; None: everywhere.
        share: of the largest error.
        floor: least c, positive, in the unit of the target.
        across_ranks: whether c is of the batches of all ranks, if there are several; then all have
            to call this alike.

    Returns:
        Mean over the known pixels of the batch (of this rank); 0 if there are none.
    """
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
    error = at_least_float32(predicted) - at_least_float32(target)
    error = torch.where(valid, error, 0.0).abs()
    largest = error.detach().amax()
    if across_ranks and dist.is_available() and dist.is_initialized():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    bend = (share * largest).clamp(min=floor)
    pixels = torch.where(error < bend, error, (error.square() + bend.square()) / (2 * bend))
    return pixels.sum() / valid.sum().clamp(min=1)
