"""Downstream heads fitted on a frozen encoder: a gradient at a random head says nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.configuration import Settings

__all__ = ["Fitted", "chosen", "fit_head", "halves_batch"]


@dataclass(frozen=True)
class Fitted:
    """How a head was fitted.

    Attributes:
        start: training risk before the first step, over all batches.
        end: and after the last.
    """

    start: float
    end: float


def fit_head(
    title: str,
    head: nn.Module,
    batches: Sequence[Any],
    risk: Callable[[Any], Tensor],
    how: Settings,
) -> Fitted:
    """Minimise a risk over the parameters of a head by AdamW, whose rate falls along a cosine.

    Args:
        title: of the task, for errors.
        head: whose parameters move, and no others.
        batches: of training examples; each pass takes them in a new order.
        risk: mean loss of a batch.
        how: steps, rates, seed.

    Returns:
        Training risks before and after.

    Raises:
        ConfigurationError: the risk is not finite.
    """
    parameters = [each for each in head.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=how.head_learning_rate, weight_decay=how.head_weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.head_steps)
    start = _mean(batches, risk)
    for batch in _in_passes(batches, how.head_steps, how.seed):
        gradients = torch.autograd.grad(risk(batch), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        schedule.step()
    end = _mean(batches, risk)
    if not np.isfinite(end):
        raise ConfigurationError(
            f"{title}: fitting the head diverged; lower `head_learning_rate` from "
            f"{how.head_learning_rate:g}"
        )
    return Fitted(start, end)


def chosen(total: int, wanted: int, seed: int) -> list[int]:
    """Indices of `wanted` of `total` examples, or of all, in a random order."""
    return [int(i) for i in np.random.default_rng(seed).permutation(total)[:wanted]]


def halves_batch(examples: int, batch_size: int) -> int:
    """A batch size that gives an even number of batches, as equal as can be, of few examples."""
    return min(batch_size, max(1, -(-examples // 2)))


def _mean(batches: Sequence[Any], risk: Callable[[Any], Tensor]) -> float:
    with torch.no_grad():
        return float(np.mean([float(risk(batch)) for batch in batches]))


def _in_passes(batches: Sequence[Any], steps: int, seed: int) -> Iterator[Any]:
    rng, done = np.random.default_rng(seed), 0
    while done < steps:
        for index in rng.permutation(len(batches))[: steps - done]:
            yield batches[index]
            done += 1
