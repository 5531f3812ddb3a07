"""Products ``deltaᵀ inputs`` over rows (examples or tokens): a weight's gradient, and its norm."""

import torch
from torch import Tensor

__all__ = ["fewer_rows", "inner_is_cheaper", "length", "norm_by_inner"]


def fewer_rows(delta: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product without zero rows of delta, and with equal neighbours merged.

    Tokens that a head does not read have no gradient; those that it averages have the same. Looks
    at the values.

    Args:
        delta: ``[n, d_out]``.
        inputs: ``[n, d_in]``.

    Returns:
        The arguments themselves if all rows are needed.
    """
    # Squares that underflow belong to rows that do not count beside others.
    rows = torch.linalg.vector_norm(delta, dim=1).nonzero()[:, 0]
    if len(rows) < len(delta):
        delta, inputs = delta[rows], inputs[rows]
    if len(delta) > 1 and torch.equal(delta[0], delta[1]):
        first = torch.ones(len(delta), dtype=torch.bool, device=delta.device)
        first[1:] = (delta[1:] != delta[:-1]).any(1)
        delta = delta[first]
        inputs = torch.zeros_like(inputs[: len(delta)]).index_add_(0, first.cumsum(0) - 1, inputs)
    return delta, inputs


def inner_is_cheaper(delta: Tensor, inputs: Tensor, shares: int) -> bool:
    """Whether inner products of rows are cheaper than the product, for its norm.

    Args:
        delta: ``[n, d_out]``.
        inputs: ``[n, d_in]``.
        shares: for how many norms the inner products of these inputs serve.
    """
    (rows, width_out), width_in = delta.shape, inputs.shape[1]
    return rows * (width_out + width_in / shares) < width_out * width_in


def norm_by_inner(delta: Tensor, inner: Tensor) -> Tensor:
    """Norm of ``deltaᵀ inputs`` from ``inner = inputs inputsᵀ``, by ⟨delta deltaᵀ, inner⟩."""
    square = torch.dot((delta @ delta.mT).flatten(), inner.flatten())
    return square.clamp(min=0.0).sqrt()  # rounding can leave a zero negative


def length(values: Tensor) -> Tensor:
    """Euclidean norm of all values."""
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm
