r"""Certified optima of the average objective (4) and the minimax objective (5).

The optimum is never one number. Its upper bound is the objective, recomputed in float64, at the
solver's point projected onto the domain. Its lower bound needs no trust in the solver: for any
weights w on the simplex, :math:`\min_\Theta \max_t f_t \ge \min_\Theta \sum_t w_t f_t`, and the
right-hand side is bounded in closed form (``dual_bound`` of the problem) or by tangent planes,
which only use losses and gradients. An interval that does not close is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from theory.convex import CertificateError, solve
from theory.problems import ConvexProblem, Problem

Float = NDArray[np.float64]

CLOSE_TOLERANCE = 1e-8
"""Largest relative width of a certified interval."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class CertifiedOptimum:
    r"""An interval that contains the optimum, and who says so.

    Attributes:
        lower: rigorous lower bound of the optimum (loss units), rounding allowed for.
        upper: objective at `point`, rounding allowed for.
        point: feasible near-minimiser ``[..., d]``; where the objective is smooth its distance from
            a minimiser is only of the order of the square root of the interval.
        weights: task weights ``[..., T]`` of the lower bound.
    """

    lower: Float
    upper: Float
    point: Float
    weights: Float


def certify(
    problem: Problem,
    weights: Float | None = None,
    *,
    tolerance: float = CLOSE_TOLERANCE,
) -> CertifiedOptimum:
    r"""Certified minimax optimum (5) of a single instance, or optimum of a weighted risk (4).

    Args:
        problem: a single instance.
        weights: None for :math:`\max_t f_t`; ``[T]`` on the simplex for :math:`\sum_t w_t f_t`
            (uniform weights give (4)).
        tolerance: largest width of the interval relative to max(\|optimum\|, R L').

    Returns:
        The interval, with scalar bounds.

    Raises:
        CertificateError: the problem is not convex or unbounded as stated, the solver failed, or
            the interval does not close (losses and epigraph then usually disagree).
    """
    point, weights_found = _solve(problem, weights)
    point = problem.domain.project(point)
    losses = np.asarray(problem.losses(point), dtype=float)
    if losses.shape != (problem.num_tasks,) or not np.all(np.isfinite(losses)):
        raise CertificateError(
            f"{_name(problem)}.losses should return {problem.num_tasks} finite task losses at a "
            f"point of the domain; found {losses}"
        )
    upper = float(np.max(losses) if weights is None else losses @ weights)
    reach = float(problem.domain.radius) * float(problem.constants().lipschitz)
    scale = max(float(np.max(np.abs(losses))), reach)
    lower = -np.inf
    for bound in _lower_bounds(problem, point, weights_found):
        lower = max(lower, float(bound))
        if upper - lower <= 0.01 * tolerance * scale:
            break
    # A certificate below machine accuracy would be a claim about rounding.
    lower, upper = lower - 64 * _EPS * scale, upper + 64 * _EPS * scale
    if not 0 <= upper - lower <= tolerance * scale:
        raise CertificateError(
            f"the optimum of {_name(problem)} could not be certified: upper bound {upper:.12g}, "
            f"lower bound {lower:.12g}; check that `losses`, `weighted_gradient` and `epigraph` "
            "describe the same convex risks"
        )
    return CertifiedOptimum(np.asarray(lower), np.asarray(upper), point, weights_found)


def certify_batch(
    problem: ConvexProblem, weights: Float | None = None, *, tolerance: float = CLOSE_TOLERANCE
) -> CertifiedOptimum:
    """Certified optima of every instance of a batch, stacked along the batch axis.

    Args:
        problem: a batch of I instances.
        weights: as in `certify`, the same for all.
        tolerance: as in `certify`.

    Returns:
        Bounds ``[I]``, points ``[I, d]``, weights ``[I, T]``.

    Raises:
        CertificateError: as `certify`.
    """
    each = [certify(instance, weights, tolerance=tolerance) for instance in problem.instances()]
    return CertifiedOptimum(
        np.stack([c.lower for c in each]),
        np.stack([c.upper for c in each]),
        np.stack([c.point for c in each]),
        np.stack([c.weights for c in each]),
    )


def _solve(problem: Problem, weights: Float | None) -> tuple[Float, Float]:
    """The solver's point ``[d]`` and the weights ``[T]`` of the lower bound (epigraph duals)."""
    theta = cp.Variable(problem.domain.dim)
    levels = cp.Variable(problem.num_tasks)
    worst = cp.Variable()
    below = levels <= worst
    ball = cp.norm2(theta - problem.domain.center) <= problem.domain.radius
    constraints = [ball, *problem.epigraph(theta, levels)]
    if weights is None:
        program = cp.Problem(cp.Minimize(worst), [below, *constraints])
    else:
        program = cp.Problem(cp.Minimize(weights @ levels), constraints)
    solve(program, _name(problem))
    if weights is None:
        duals = np.maximum(np.asarray(below.dual_value, dtype=float), 0.0)
        weights = duals / np.sum(duals)
    return np.asarray(theta.value, dtype=float), np.asarray(weights, dtype=float)


def _lower_bounds(problem: Problem, point: Float, weights: Float) -> Iterable[float]:
    """Rigorous lower bounds of the weighted risk's minimum, from cheap to thorough."""
    dual_bound: Any = getattr(problem, "dual_bound", None)
    if dual_bound is not None:
        yield float(dual_bound(weights))
        return
    yield tangent_bound(problem, point[None], weights[None], np.ones(1))
    yield _bundle_bound(problem, point, weights)


def tangent_bound(problem: Problem, points: Float, weights: Float, mixture: Float) -> float:
    r"""Lower bound of :math:`\min_\Theta\max_t f_t` from gradients at any points, B1 (e).

    .. math:: F^* \ge \sum_k \nu_k (F_k(\theta_k) - \langle g_k, \theta_k\rangle)
              + \min_{\theta\in\Theta} \langle \bar g, \theta\rangle,
              \qquad \bar g = \sum_k \nu_k g_k,

    with :math:`F_k = \sum_t w_{kt} f_t` and :math:`g_k` its subgradient at :math:`\theta_k`. If all
    rows of the weights are equal it bounds the minimum of that weighted risk.

    Args:
        problem: a single instance.
        points: ``[n, d]`` in the domain.
        weights: ``[n, T]`` on the simplex.
        mixture: nu, ``[n]`` on the simplex.

    Returns:
        The bound, in loss units.
    """
    gradients = problem.weighted_gradient(points, weights)
    values = np.sum(weights * problem.losses(points), axis=-1)
    intercepts = values - np.sum(gradients * points, axis=-1)
    slope = mixture @ gradients
    return float(mixture @ intercepts + problem.domain.min_linear(slope))


def _bundle_bound(problem: Problem, point: Float, weights: Float) -> float:
    """Tangent bound with the best mixture of tangents at and around the solver's point.

    Around a kink the perturbed points see every piece that meets there, so that a convex
    combination of their slopes closes the interval where a single subgradient cannot.
    """
    rng = np.random.default_rng(0)
    dim = point.size
    best = -np.inf
    for distance in (1e-6, 1e-8, 1e-4):
        directions = np.concatenate(
            [np.eye(dim), -np.eye(dim), rng.standard_normal((2 * dim, dim))]
        )
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        spread = float(problem.domain.radius) * distance * directions
        points = problem.domain.project(np.concatenate([point[None], point + spread]))
        rows = np.broadcast_to(weights, (len(points), weights.size))
        gradients = problem.weighted_gradient(points, rows)
        values = np.sum(rows * problem.losses(points), axis=-1)
        intercepts = values - np.sum(gradients * points, axis=-1)
        mixture = cp.Variable(len(points), nonneg=True)
        slope = gradients.T @ mixture
        value = (
            intercepts @ mixture
            + problem.domain.center @ slope
            - problem.domain.radius * cp.norm2(slope)
        )
        program = cp.Problem(cp.Maximize(value), [cp.sum(mixture) == 1])
        solve(program, _name(problem))
        shares = np.maximum(np.asarray(mixture.value, dtype=float), 0.0)
        best = max(best, tangent_bound(problem, points, rows, shares / np.sum(shares)))
    return best


def _name(problem: Problem) -> str:
    return type(problem).__name__
