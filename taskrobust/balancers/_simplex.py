"""Weights on the simplex of present tasks."""

import math

import torch
from torch import Tensor

from taskrobust.weights import softmax_weights

__all__ = ["on_simplex", "softmax"]

LARGE = 1e30
"""Sharpness below which, and above one over which, single precision needs no special care."""


def on_simplex(weights: Tensor, present: Tensor | None) -> Tensor:
    """Nonnegative numbers ``[T]``, normalised over the present tasks; all 0 if none is.

    Args:
        weights: anything where absent.
        present: boolean ``[T]``, or None for all.
    """
    if present is not None:
        weights = torch.where(present, weights, 0.0)
    total = weights.sum()
    return weights / torch.where(total > 0, total, 1.0)


def softmax(risks: Tensor, alpha: float, present: Tensor | None, *, finite: bool) -> Tensor:
    r"""Weights :math:`\mathrm{softmax}(\alpha\ell)` of the present tasks; all 0 if none is.

    Args:
        risks: ``[T]`` without graph, in float32 or wider.
        alpha: sharpness, at least 0; infinite for the hard maximum.
        present: boolean ``[T]``, or None for all.
        finite: whether all risks are known to be. Then `softmax_weights`, which is for any risks,
            is done in a fifth of its operations.
    """
    if alpha == 0:
        return on_simplex(torch.ones_like(risks), present)
    if present is not None:
        risks = torch.where(present, risks, -math.inf)
    if finite and alpha == 1:  # torch's softmax subtracts the maximum itself
        weights = torch.softmax(risks, 0)
    elif finite and 1 / LARGE < alpha < LARGE:
        weights = torch.softmax(alpha * (risks - risks.max()), 0)
    elif finite and alpha == math.inf:
        worst = (risks == risks.max()).to(risks.dtype)
        weights = worst / worst.sum()
    else:
        weights = softmax_weights(risks, alpha, validate=False)
    return weights if present is None else torch.where(present, weights, 0.0)
