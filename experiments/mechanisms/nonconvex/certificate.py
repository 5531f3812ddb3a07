"""The certified minimax value of the convex control: an interval, never one number.

The upper end is the worst risk, recomputed, at the solver's point. The lower end trusts no solver:
for weights w on the simplex min max_t f_t ≥ min Σ w_t f_t, and Σ w_t f_t, which the ridge makes
λ-strongly convex, is at least its value at any point less ‖gradient‖² / 2λ.
"""

import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from numpy.typing import NDArray

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.control import HeadTasks

__all__ = ["Certificate", "certify", "evaluated"]

Floats = NDArray[np.float64]

WIDTH = 1e-6
"""Largest width of the interval, nats."""


@dataclass(frozen=True)
class Certificate:
    """An interval that contains the minimax value, nats.

    Attributes:
        lower: lower end.
        upper: upper end, the worst risk at `point`.
        point: head ``[p, C]``.
        weights: of the tasks ``[T]``, the solver's multipliers.
        status: what the solver says of itself.
        seconds: of the solver.
    """

    lower: float
    upper: float
    point: Floats
    weights: Floats
    status: str
    seconds: float

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON; the point by its norm."""
        kept = {name: value for name, value in asdict(self).items() if name != "point"}
        return kept | {
            "weights": [round(float(weight), 6) for weight in self.weights],
            "norm": float(np.linalg.norm(self.point)),
        }


def certify(problem: HeadTasks, *, width: float = WIDTH) -> Certificate:
    """The minimax value by cvxpy, with a proof.

    Args:
        problem: of a size that Clarabel can solve: some thousand examples times classes.
        width: largest width of the interval.

    Raises:
        ConfigurationError: the solver failed, or the interval is wider.
    """
    began = time.perf_counter()
    head = cp.Variable((problem.inputs.shape[1], problem.num_classes))
    logits = problem.inputs @ head
    targets = np.eye(problem.num_classes)[problem.classes]
    losses = cp.log_sum_exp(logits, axis=1) - cp.sum(cp.multiply(targets, logits), axis=1)
    level = cp.Variable()
    below = problem.averages @ losses <= level
    program = cp.Problem(cp.Minimize(level + problem.ridge / 2 * cp.sum_squares(head)), [below])
    try:
        with warnings.catch_warnings():
            # "may be inaccurate" is for the interval to judge, not for the solver
            warnings.simplefilter("ignore", UserWarning)
            program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    except cp.error.SolverError as error:
        raise ConfigurationError(
            f"the convex control was not solved ({error}); {_REMEDY}"
        ) from None
    if head.value is None:
        raise ConfigurationError(f"the convex control is {program.status}; {_REMEDY}")
    seconds = time.perf_counter() - began
    point = np.asarray(head.value)
    multipliers = np.clip(below.dual_value, 0, None)
    weights = multipliers / multipliers.sum()
    risks, gradient = evaluated(problem, point, weights)
    lower = float(weights @ risks - (gradient**2).sum() / (2 * problem.ridge))
    upper = float(risks.max())
    if upper - lower > width:
        raise ConfigurationError(
            f"the minimax value of the convex control should be known to {width:g} nats; found "
            f"[{lower:.9g}, {upper:.9g}]; {_REMEDY}"
        )
    return Certificate(lower, upper, point, weights, program.status, seconds)


_REMEDY = "lower `control.examples_per_task` or `control.pieces_per_task`, or raise `control.ridge`"


def evaluated(problem: HeadTasks, point: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Risks ``[T]`` at a head ``[p, C]``, and the gradient of their weighted sum ``[p, C]``."""
    before = problem.head.detach().clone()
    with torch.no_grad():
        problem.head.copy_(torch.from_numpy(point))
    risks = problem.risks()
    (gradient,) = torch.autograd.grad(torch.from_numpy(weights) @ risks, problem.head)
    with torch.no_grad():
        problem.head.copy_(before)
    return risks.detach().numpy(), gradient.numpy()
