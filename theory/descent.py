r"""Algorithm 1, softmax weighted gradient descent, on a whole batch of instances at once.

.. math:: \theta_{k+1} = \Pi_\Theta\left(\theta_k - \eta_k g_k\right), \qquad
          g_k = \sum_t w_t \nabla f_t(\theta_k), \quad w = \mathrm{softmax}(\alpha_k f(\theta_k)).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import softmax_weights
from theory.problems import Problem
from theory.schedules import Schedule

Float = NDArray[np.float64]
IndexConvention = Literal["proof", "algorithm"]


@dataclass(frozen=True)
class Iterate:
    """What a callback sees at iteration k, before the step is taken.

    Attributes:
        step: k.
        theta: ``[..., d]``.
        losses: ``[..., T]`` at theta.
        weights: ``[..., T]``.
        gradient: ``[..., d]``, the weighted gradient.
        average: ``[..., d]``, the running average of iterates 0 to k.
    """

    step: int
    theta: Float
    losses: Float
    weights: Float
    gradient: Float
    average: Float


@dataclass(frozen=True)
class Run:
    """Outcome of Algorithm 1.

    Attributes:
        average: weighted average ``[..., d]`` of the iterates 0 to K - 1, the paper's output.
        last: last iterate ``[..., d]``: number K by the proof's indices, K - 1 by the algorithm's.
        lower_bound: certified lower bound ``[...]`` of the minimax optimum from the run itself,
            without a solver, B1 (e).
        updates: number of updates made.
    """

    average: Float
    last: Float
    lower_bound: Float
    updates: int


def descend(
    problem: Problem,
    schedule: Schedule,
    start: Float,
    *,
    index_convention: IndexConvention = "proof",
    project: bool = True,
    callback: Callable[[Iterate], None] | None = None,
) -> Run:
    r"""Run Algorithm 1.

    The printed loop and the proof disagree by one index (A2). ``"proof"``: the step from
    :math:`\theta_k` uses :math:`\alpha_k`, k = 0..K-1. ``"algorithm"``: it uses
    :math:`\alpha_{k+1}`, k = 0..K-2, so that :math:`\alpha_0` is never used and :math:`\theta_K`
    never computed. The average is over :math:`\theta_0,\dots,\theta_{K-1}` in both.

    Args:
        problem: one instance or a batch.
        schedule: K iterations of sharpness, step size and averaging weights; trailing axes
            broadcast against the batch, and add to it (see `theory.schedules.stack`).
        start: theta_0, ``[..., d]``, in the domain.
        index_convention: see above.
        project: project onto the domain; without it the iterates stay within 2 R0 of the minimiser
            if the constants hold there (A3).
        callback: called with every `Iterate` whose gradient is taken.

    Returns:
        The run.

    Raises:
        ValueError: a start of the wrong dimension or outside the domain; an unknown convention.
        FloatingPointError: the iterates stopped being finite.
    """
    if index_convention not in ("proof", "algorithm"):
        raise ValueError(
            f"`index_convention` should be 'proof' or 'algorithm'; found {index_convention!r}"
        )
    theta = _checked_start(problem, schedule, start)
    shift = 1 if index_convention == "algorithm" else 0
    updates = schedule.num_steps - shift
    mass = np.cumsum(schedule.averaging, axis=0)
    average = theta.copy()
    tangents = _Tangents(theta)
    for k in range(updates):
        if k:
            average += (schedule.averaging[k] / mass[k])[..., None] * (theta - average)
        losses = problem.losses(theta)
        weights = softmax_weights(losses, schedule.alpha[k + shift], validate=False)
        gradient = problem.weighted_gradient(theta, weights)
        tangents.add(schedule.averaging[k], theta, np.sum(weights * losses, axis=-1), gradient)
        if callback is not None:
            callback(Iterate(k, theta, losses, weights, gradient, average.copy()))
        theta = theta - schedule.step_size[k + shift][..., None] * gradient
        if project:
            theta = problem.domain.project(theta)
    if index_convention == "algorithm":
        average += (schedule.averaging[-1] / mass[-1])[..., None] * (theta - average)
    if not np.all(np.isfinite(theta)):
        raise FloatingPointError(
            f"Algorithm 1 diverged on {type(problem).__name__}; are losses and gradients finite?"
        )
    return Run(average, theta, tangents.lower_bound(problem), updates)


class _Tangents:
    """Running mixture of tangent planes, for the certificate B1 (e)."""

    def __init__(self, theta: Float) -> None:
        self.mass = np.zeros(())
        self.intercept = np.zeros(theta.shape[:-1])
        self.slope = np.zeros_like(theta)

    def add(self, share: Float, theta: Float, value: Float, gradient: Float) -> None:
        self.mass = self.mass + share
        self.intercept += share * (value - np.sum(gradient * theta, axis=-1))
        self.slope += share[..., None] * gradient

    def lower_bound(self, problem: Problem) -> Float:
        if not np.any(self.mass):
            return np.full(self.intercept.shape, -np.inf)
        slope = self.slope / self.mass[..., None]
        return np.asarray(self.intercept / self.mass + problem.domain.min_linear(slope))


def _checked_start(problem: Problem, schedule: Schedule, start: Float) -> Float:
    """The start, broadcast to the whole batch and copied."""
    theta = np.asarray(start, dtype=float)
    dim = problem.domain.dim
    if theta.ndim == 0 or theta.shape[-1] != dim:
        raise ValueError(f"`start` should have shape (..., {dim}); found {theta.shape}")
    batch = np.broadcast_shapes(
        problem.domain.radius.shape,
        theta.shape[:-1],
        schedule.alpha.shape[1:],
        schedule.step_size.shape[1:],
    )
    theta = np.array(np.broadcast_to(theta, (*batch, dim)))
    distance = np.linalg.norm(theta - problem.domain.center, axis=-1)
    if not np.all(distance <= problem.domain.radius * (1 + 1e-9)):
        raise ValueError(
            f"`start` should lie in the domain (radius {problem.domain.radius}); found a point at "
            f"distance {float(np.max(distance)):.6g} from its centre"
        )
    return theta
