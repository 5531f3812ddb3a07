"""Gradients of several risks on two halves of data, and the inner products of all of them.

Two halves are two independent measurements of the same gradient: the products of different halves
are free of sampling noise on average, those of a half with itself are not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["HALVES", "Measured", "Sums", "inner_products", "measure", "random_like"]

Floats = NDArray[np.float64]
HALVES = 2
_COLUMNS = 2**17
"""Parameters at a time in float64; bounds the memory."""


@dataclass(frozen=True)
class Sums:
    """Losses of a batch, added up by risk.

    Attributes:
        totals: ``[T]``, with a graph.
        counts: ``[T]``, what the totals are divided by; 0 for a risk with nothing in the batch.
    """

    totals: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Measured:
    """Risks and their gradients.

    Attributes:
        names: of the risks, T.
        risks: ``[T]``, means over both halves, each half weighing the same.
        gradients: by half and risk, the gradient by name of the parameter.
    """

    names: tuple[str, ...]
    risks: Floats
    gradients: tuple[tuple[dict[str, Tensor], ...], ...]

    def only(self, kept: Sequence[int]) -> "Measured":
        """Some of the risks."""
        return Measured(
            tuple(self.names[t] for t in kept),
            self.risks[list(kept)],
            tuple(tuple(half[t] for t in kept) for half in self.gradients),
        )


def measure(
    names: Sequence[str],
    parameters: Mapping[str, Tensor],
    batches: Iterable[Any],
    sums: Callable[[Any], Sums],
) -> Measured:
    """Run all batches, every other one into the other half.

    Args:
        names: of the T risks.
        parameters: by name, with ``requires_grad``.
        batches: at least 2; of different examples.
        sums: losses of a batch by risk.

    Returns:
        Means over each half, of those risks that have something in both; in the dtype of the
        parameters. T gradients of both halves are kept: 2·T times the memory of the parameters.
    """
    totals = np.zeros((HALVES, len(names)))
    counts = np.zeros((HALVES, len(names)))
    kept = [[_zeros(parameters) for _ in names] for _ in range(HALVES)]
    for number, batch in enumerate(batches):
        half = number % HALVES
        found = sums(batch)
        totals[half] += found.totals.detach().double().cpu().numpy()
        counts[half] += found.counts.detach().double().cpu().numpy()
        present = [t for t in range(len(names)) if found.counts[t] > 0]
        for t in present:
            gradients = torch.autograd.grad(
                found.totals[t],
                list(parameters.values()),
                retain_graph=t != present[-1],
                allow_unused=True,
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    kept[half][t][name] += gradient
    known = [t for t in range(len(names)) if (counts[:, t] > 0).all()]
    for half in range(HALVES):
        for t in known:
            for gradient in kept[half][t].values():
                gradient /= counts[half, t]
    risks = (totals[:, known] / counts[:, known]).mean(0)
    chosen = tuple(tuple(each[t] for t in known) for each in kept)
    return Measured(tuple(names[t] for t in known), risks, chosen)


def inner_products(vectors: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> Floats:
    """Inner products ``[n, n]`` of n vectors, float64.

    Args:
        vectors: parts by name; a name that one lacks counts as 0.
        names: of the parts that count.
    """
    total = np.zeros((len(vectors), len(vectors)))
    for name in names:
        size = next(each[name].numel() for each in vectors if name in each)
        for start in range(0, size, _COLUMNS):
            columns = min(_COLUMNS, size - start)
            rows = [
                each[name].flatten()[start : start + columns].double().cpu()
                if name in each
                else torch.zeros(columns, dtype=torch.float64)
                for each in vectors
            ]
            matrix = torch.stack(rows)
            total += (matrix @ matrix.T).numpy()
    return total


def random_like(parameters: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A direction that has nothing to do with any risk: independent normal entries."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(values.shape, generator=generator) for name, values in parameters.items()
    }


def _zeros(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(values) for name, values in parameters.items()}
