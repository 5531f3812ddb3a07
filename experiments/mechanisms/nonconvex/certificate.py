"""The certified minimax value of the convex control: an interval, never one number.

The upper end is the worst risk, recomputed, at the solver's point put into the domain. The lower
end trusts no solver: for weights w on the simplex min max_t f_t ≥ min Σ w_t f_t, which is at least
the minimum over the ball of a tangent plane of Σ w_t f_t.
"""

import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

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
    """The minimax value over the ball by cvxpy, with a proof.

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
    program = cp.Problem(cp.Minimize(level), [below, cp.norm(head, "fro") <= problem.radius])
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
    point = head.value * min(1.0, problem.radius / float(np.linalg.norm(head.value)))
    multipliers = np.clip(below.dual_value, 0, None)
    weights = multipliers / multipliers.sum()
    upper = float(evaluated(problem, point, weights)[0].max())
    lower = max(
        _tangent_bound(problem, point, weights),
        _tangent_bound(problem, _polished(problem, point, weights), weights),
    )
    if upper - lower > width:
        raise ConfigurationError(
            f"the minimax value of the convex control should be known to {width:g} nats; found "
            f"[{lower:.9g}, {upper:.9g}]; {_REMEDY}"
        )
    return Certificate(lower, upper, point, weights, program.status, seconds)


def _tangent_bound(problem: HeadTasks, point: Floats, weights: Floats) -> float:
    """Minimum over the ball of the tangent plane of the weighted risk at a point."""
    risks, gradient = evaluated(problem, point, weights)
    level = weights @ risks - (gradient * point).sum()
    return float(level - problem.radius * np.linalg.norm(gradient))


def _polished(problem: HeadTasks, point: Floats, weights: Floats) -> Floats:
    """A point where the weighted risk is flatter, put into the ball; any point gives a bound."""

    def objective(flat: Floats) -> tuple[float, Floats]:
        risks, gradient = evaluated(problem, flat.reshape(point.shape), weights)
        return float(weights @ risks), gradient.ravel()

    options = {"maxiter": 200, "ftol": 0.0, "gtol": 1e-11}
    found = minimize(objective, point.ravel(), jac=True, method="L-BFGS-B", options=options).x
    inside = found * min(1.0, problem.radius / float(np.linalg.norm(found)))
    return np.asarray(inside.reshape(point.shape))


_REMEDY = "lower `control.examples_per_task`, `control.pieces_per_task` or `control.radius`"


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
