"""Checks of the arguments of balancers."""

import math

import torch
from torch import Tensor

__all__ = ["checked", "positive"]

FULL_PRECISION = (torch.float32, torch.float64)


def positive(name: str, value: float) -> float:
    """A finite positive number, or an error that names the argument.

    Raises:
        TypeError: a value that is no number.
        ValueError: a number that is not positive and finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` should be a number; found {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` should be positive and finite; found {value}")
    return float(value)


def checked(
    num_tasks: int, losses: Tensor, present: Tensor | None, counts: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The arguments of a call, on one device, the risks in float32 or wider and 0 where absent.

    Raises:
        TypeError: losses that are not floating, or a mask that is not boolean.
        ValueError: a shape other than ``[T]``.
    """
    if losses.dtype not in FULL_PRECISION:
        if not losses.is_floating_point():
            raise TypeError(f"`losses` should be floating; found dtype {losses.dtype}")
        losses = losses.float()
    shape = (num_tasks,)
    if losses.shape != shape:
        raise ValueError(
            f"`losses` should have shape {shape}, one risk a task; found {tuple(losses.shape)}"
        )
    if counts is not None:
        counts = _one_a_task("counts", counts, losses)
    if present is not None:
        present = _one_a_task("present", present, losses)
        if present.dtype != torch.bool:
            raise TypeError(f"`present` should be boolean; found dtype {present.dtype}")
        losses = torch.where(present, losses, 0.0)
    return losses, present, counts


def _one_a_task(name: str, argument: Tensor, losses: Tensor) -> Tensor:
    """An argument ``[T]`` on the device of the losses."""
    if not isinstance(argument, Tensor):
        raise TypeError(f"`{name}` should be a tensor; found {type(argument).__name__}")
    if argument.shape != losses.shape:
        raise ValueError(
            f"`{name}` should have shape {tuple(losses.shape)}; found {tuple(argument.shape)}"
        )
    return argument.to(losses.device)
