"""What descent needs of a problem: differentiable task risks, and constants for the schedules."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.mechanisms.nonconvex.configuration import Arm
from taskrobust import paper_alpha, sharpened_alpha

__all__ = ["Constants", "Problem", "gram", "sharpness", "task_gradients"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """Of the schedules; guarantees of Theorem 3.1 go with them if they are certified.

    Attributes:
        radius: R₀, distance of the start from a minimiser.
        lipschitz: L', of every task risk, in nats per unit of the parameters.
        loss_bound: B, upper bound of the risks, nats.
        certified: whether they are such bounds, or only what was seen in one run.
    """

    radius: float
    lipschitz: float
    loss_bound: float
    certified: bool


class Problem(ABC):
    """Task risks f_t(θ) ``[T]`` of parameters that are changed in place."""

    num_tasks: int
    parameters: list[Tensor]
    """Leaves, float64."""

    @abstractmethod
    def risks(self) -> Tensor:
        """Training risks ``[T]`` over all examples, nats, with graph."""

    def held_out_risks(self) -> Tensor | None:
        """Risks ``[T]`` on other examples, without graph; None if there are none."""
        return None

    def project(self) -> None:  # noqa: B027, there is nothing to do without a domain
        """Put the parameters at the nearest point of the domain, which here is everything."""


def task_gradients(problem: Problem, risks: Tensor) -> Tensor:
    """Gradients of every task ``[T, n]``, by a backward pass each.

    Args:
        problem: whose parameters they are with respect to, flattened one after the other.
        risks: ``[T]``, with graph, which is kept.
    """
    rows = []
    for risk in risks:
        found = torch.autograd.grad(
            risk, problem.parameters, retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(rows)


def gram(problem: Problem, risks: Tensor) -> Floats:
    """Inner products ``[T, T]`` of task gradients.

    Args:
        problem: at the point.
        risks: ``[T]``, with graph, which is kept.
    """
    rows = task_gradients(problem, risks)
    found: Floats = (rows @ rows.T).numpy()
    return found


def sharpness(arm: Arm, steps: int, num_tasks: int, constants: Constants | None) -> Floats:
    """Sharpness of every step.

    Args:
        arm: says how.
        steps: K.
        num_tasks: T.
        constants: for schedules that follow from them.

    Returns:
        ``[K]``, in 1 / nats.

    Raises:
        ValueError: such a schedule without constants.
    """
    step = np.arange(steps)
    if arm.alpha is not None:
        root = np.sqrt((step + 1) / steps) if arm.schedule == "square-root" else np.ones(steps)
        return np.asarray(arm.alpha * root)
    if constants is None:
        raise ValueError(f"schedule {arm.schedule!r} needs constants; found none")
    known: dict[str, Any] = {
        "num_tasks": num_tasks,
        "radius": constants.radius,
        "lipschitz": constants.lipschitz,
    }
    if arm.schedule == "sharpened":
        return sharpened_alpha(step, **known)
    return paper_alpha(step, **known, loss_bound=constants.loss_bound)
