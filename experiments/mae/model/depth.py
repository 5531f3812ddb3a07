"""Depth without unit: every image by its own truncated mean and deviation."""

import torch
from torch import Tensor

__all__ = ["FEW", "standardise_depth"]

FEW = 10
"""So few values have no tenths."""


def standardise_depth(depth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Standardise each image by the middle 80 % of its values.

    Of the N valid values in order, those of rank ⌊0.1·N⌋ to ⌊0.9·N⌋ - 1 (from 0) give the mean and
    the unbiased variance v; all become (d - mean) / √(v + 1e-6), outliers too. The result does not
    change with unit or offset of depth (up to the 1e-6). If the middle is constant, what lies
    outside of it is up to 1000 times its distance. Of fewer than `FEW` values all are taken.

    Args:
        depth: ``[B, 1, H, W]``; upcast to float32 if narrower.
        valid: bool of the same shape, True where depth is known; None: everywhere. What stands
            elsewhere does not matter.

    Returns:
        The same shape, 0 where depth is not known.
    """
    depth = depth.float() if depth.dtype.itemsize < 4 else depth
    flat = depth.flatten(1)
    known = (
        torch.ones_like(flat, dtype=torch.bool)
        if valid is None
        else valid.expand_as(depth).flatten(1)
    )
    ranked = torch.where(known, flat, torch.inf).sort(1).values
    count = known.sum(1, keepdim=True)
    rank = torch.arange(flat.shape[1], device=flat.device)
    middle = (rank >= count // 10) & (rank < 9 * count // 10)
    kept = torch.where(count < FEW, rank < count, middle)
    size = kept.sum(1, keepdim=True)
    mean = torch.where(kept, ranked, 0.0).sum(1, keepdim=True) / size.clamp(min=1)
    squares = torch.where(kept, ranked - mean, 0.0).square().sum(1, keepdim=True)
    deviation = (squares / (size - 1).clamp(min=1) + 1e-6).sqrt()
    return torch.where(known, (flat - mean) / deviation, 0.0).view_as(depth)
