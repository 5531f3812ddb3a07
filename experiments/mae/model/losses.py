"""Reconstruction risks of single samples, over masked patches only.

All are in float32 or wider, ``[B]``, with a presence ``[B]``: a sample without a pixel to be scored
has the value 0 and is not counted, so that every counted sample weighs the same however many of its
patches are masked. Pixels come as patches ``[B, N, pixels, channels]``.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from taskrobust import cross_entropy
from taskrobust.sums import at_least_float32

__all__ = ["SampleRisks", "image_risks", "label_risks", "masked_means"]


class SampleRisks(NamedTuple):
    """A risk for each sample."""

    values: Tensor  # [B]
    present: Tensor  # bool [B]


def masked_means(losses: Tensor, scored: Tensor) -> SampleRisks:
    """Mean loss of the scored pixels of every sample.

    Neither value nor gradient is affected by the other pixels, nor is one NaN if there are none.

    Args:
        losses: ``[B, N, pixels]``, finite.
        scored: bool of the same shape.
    """
    count = scored.sum((1, 2))
    total = torch.where(scored, losses, 0.0).sum((1, 2))
    return SampleRisks(total / count.clamp(min=1), count > 0)


def image_risks(
    predicted: Tensor,
    target: Tensor,
    mask: Tensor,
    loss: Literal["squared", "absolute"],
    valid: Tensor | None = None,
) -> SampleRisks:
    """Mean squared or absolute error of the masked patches.

    Args:
        predicted: ``[B, N, pixels, C]``.
        target: of the same shape.
        mask: bool ``[B, N]``, True for patches that are scored.
        loss: which error; the mean over channels is taken.
        valid: bool ``[B, N, pixels]``, False for pixels whose target is unknown and may be
            anything, NaN too; None: all known.
    """
    if valid is not None:
        target = torch.where(valid[..., None], target, 0.0)
    error = at_least_float32(predicted) - at_least_float32(target)
    pixels = (error.square() if loss == "squared" else error.abs()).mean(-1)
    return masked_means(pixels, _scored(pixels, mask, valid))


def label_risks(
    logits: Tensor, labels: Tensor, mask: Tensor, void: int | None = None
) -> SampleRisks:
    """Mean cross-entropy in nats of the masked patches.

    Args:
        logits: ``[B, N, pixels, classes]``.
        labels: class ids ``[B, N, pixels]``.
        mask: bool ``[B, N]``, True for patches that are scored.
        void: an id whose pixels are not scored.
    """
    ignored = -100 if void is None else void
    pixels = cross_entropy(logits, labels, ignore_index=ignored)
    return masked_means(pixels, _scored(pixels, mask, None if void is None else labels != void))


def _scored(pixels: Tensor, mask: Tensor, valid: Tensor | None) -> Tensor:
    """Bool ``[B, N, pixels]``: of a masked patch, and valid."""
    scored = mask[..., None].expand_as(pixels)
    return scored if valid is None else scored & valid
