r"""Certified optima of the average objective (4) and the minimax objective (5).

The optimum is never one number. Its upper bound is the objective, recomputed in float64, at the
solver's point projected onto the domain. Its lower bound needs no trust in the solver: for any
weights w on the simplex, :math:`\min_\Theta \max_t f_t \ge \min_\Theta \sum_t w_t f_t`, and the
right-hand side is bounded in closed form (``dual_bound`` of the problem) or by tangent planes,
which only use losses and gradients. An interval that does not close is an error.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from theory.convex import CertificateError, solve
from theory.problems import ConvexProblem, Problem, jacobian
from theory.tangents import lower_bounds

Float = NDArray[np.float64]

CLOSE_TOLERANCE = 1e-8
"""Largest relative width of a certified interval."""

_EPS = float(np.finfo(np.float64).eps)
_PROBES = 12  # points at which losses and gradients are compared
_ZOOMS = (
    1.0,
    1e-3,
    1e-5,
)  # radii of the balls in which the solver searches, in units of the domain


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

    Before anything is solved, losses and gradients are compared at a few points of the domain: a
    gradient that is no subgradient, or a loss that is not convex, would make the bounds worthless.

    Args:
        problem: a single instance.
        weights: None for :math:`\max_t f_t`; ``[T]`` on the simplex for :math:`\sum_t w_t f_t`
            (uniform weights give (4)).
        tolerance: largest width of the interval relative to the losses, or to R times the
            steepest gradient seen if that is larger.

    Returns:
        The interval, with scalar bounds.

    Raises:
        CertificateError: the problem is not convex or unbounded as stated, the solver failed, or
            the interval does not close (losses and epigraph then usually disagree).
        ValueError: weights that are not on the simplex.
    """
    if weights is not None:
        weights = _checked_weights(problem, weights)
    units = _checked_units(problem)
    best = _Bracket(units.reach)
    for zoom in _ZOOMS:
        try:
            found = _solve(problem, weights, units, best.point, zoom)
        except CertificateError:
            if best.point is None:
                raise
            break
        best.tighten(problem, weights, *found, 0.01 * tolerance)
        # A certificate below machine accuracy would be a claim about rounding. Losses of a domain
        # far from 0 are differences of numbers as large as its centre times the slope.
        rounding = (
            64 * _EPS * (best.scale + float(np.linalg.norm(problem.domain.center)) * units.slope)
        )
        lower, upper = best.lower - rounding, best.upper + rounding
        if 0 <= upper - lower <= tolerance * best.scale:
            assert best.point is not None
            return CertifiedOptimum(np.asarray(lower), np.asarray(upper), best.point, best.weights)
    raise CertificateError(
        f"the optimum of {_name(problem)} could not be certified: upper bound {best.upper:.12g}, "
        f"lower bound {best.lower:.12g}; check that `losses`, `weighted_gradient` and `epigraph` "
        "describe the same convex risks"
    )


class _Bracket:
    """The best bounds so far, with the point and the weights that prove them."""

    def __init__(self, reach: float) -> None:
        self.lower, self.upper = -np.inf, np.inf
        self.scale = reach  # or the largest loss, if that is larger
        self.point: Float | None = None
        self.weights: Float = np.empty(0)

    def tighten(
        self, problem: Problem, objective: Float | None, point: Float, weights: Float, enough: float
    ) -> None:
        """Judge a point ``[d]`` and weights ``[T]`` until the relative width is `enough`."""
        point = problem.domain.project(point)
        losses = _losses(problem, point)
        self.scale = max(self.scale, float(np.max(np.abs(losses))))
        upper = float(np.max(losses) if objective is None else losses @ objective)
        if upper < self.upper:
            self.upper, self.point = upper, point
        for bound in lower_bounds(problem, point, weights):
            if bound > self.lower:
                self.lower, self.weights = float(bound), weights
            if self.upper - self.lower <= enough * self.scale:
                break


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


@dataclass(frozen=True)
class _Units:
    """The problem's own units: a loss at the centre, the steepest gradient seen, R times it."""

    level: float
    slope: float
    reach: float


def _checked_weights(problem: Problem, weights: Float) -> Float:
    """The weights as an array ``[T]``."""
    found = np.asarray(weights, dtype=float)
    if found.shape != (problem.num_tasks,):
        raise ValueError(f"`weights` should have shape ({problem.num_tasks},); found {found.shape}")
    if not (np.all(found >= 0) and abs(float(np.sum(found)) - 1) <= 1e-9):
        raise ValueError(f"`weights` should be nonnegative and sum to 1; found {found}")
    return found


def _checked_units(problem: Problem) -> _Units:
    """Compare losses and gradients at a few points, pair by pair; return what they are like.

    The points are random, for a gradient may be undefined at special ones (a kink at the centre).
    """
    name, domain = _name(problem), problem.domain
    if np.ndim(domain.radius) or domain.center.ndim != 1:
        raise CertificateError(f"{name} should be a single instance; certify_batch takes batches")
    rng = np.random.default_rng(0)
    moves = rng.standard_normal((_PROBES, domain.dim))
    moves *= (rng.random((_PROBES, 1)) ** 0.25) / np.linalg.norm(moves, axis=-1, keepdims=True)
    points = domain.center + float(domain.radius) * moves
    losses = _losses(problem, points)
    slopes = np.asarray(jacobian(problem, points), dtype=float)
    if slopes.shape != (_PROBES, problem.num_tasks, domain.dim) or not np.all(np.isfinite(slopes)):
        raise CertificateError(
            f"{name}.weighted_gradient should return finite gradients [..., {domain.dim}]; found "
            f"shape {slopes.shape[:1] + slopes.shape[2:]}"
        )
    slope = float(np.max(np.linalg.norm(slopes, axis=-1)))
    reach = float(domain.radius) * slope
    offsets = points[None] - points[:, None]  # [from, to, d]
    tangents = losses[:, None] + np.einsum("ftd,fgd->fgt", slopes, offsets)
    rounding = 1e-9 * (reach + float(np.max(np.abs(losses)))) + 1e-12 * float(
        np.linalg.norm(domain.center) * slope
    )
    excess = np.max(tangents - losses[None], axis=(0, 1))
    if np.any(excess > rounding):
        task = int(np.argmax(excess))
        raise CertificateError(
            f"the optimum of {name} could not be certified: a tangent of task {task} is "
            f"{excess[task]:.3g} above its loss; `losses` should be convex and `weighted_gradient` "
            "a subgradient of them"
        )
    return _Units(float(np.max(_losses(problem, domain.center))), slope, reach)


def _losses(problem: Problem, points: Float) -> Float:
    """Finite losses ``[..., T]`` at points of the domain."""
    name, shape = _name(problem), (*points.shape[:-1], problem.num_tasks)
    try:
        losses = np.asarray(problem.losses(points), dtype=float)
    except (IndexError, TypeError, ValueError) as error:
        raise CertificateError(
            f"{name}.losses should map points of shape {points.shape} to losses of shape {shape}: "
            f"{error}"
        ) from error
    if losses.shape != shape or not np.all(np.isfinite(losses)):
        raise CertificateError(
            f"{name}.losses should return {problem.num_tasks} finite task losses at a point of the "
            f"domain (shape {shape}); found shape {losses.shape}, {losses.ravel()[:8]}"
        )
    return losses


def _solve(
    problem: Problem, weights: Float | None, units: _Units, near: Float | None, zoom: float
) -> tuple[Float, Float]:
    """The solver's point ``[d]`` and the weights ``[T]`` of the lower bound (epigraph duals).

    The solver sees a unit ball and losses in units of their reach: its absolute tolerances would
    otherwise depend on the units in which the problem is stated. Zoomed in on a point that it found
    before, the same tolerances mean that much more.
    """
    domain, level = problem.domain, units.level
    center = domain.center
    if near is not None:
        center, level = near, float(np.max(_losses(problem, near)))
    radius = zoom * float(domain.radius)
    step = cp.Variable(domain.dim)
    heights = cp.Variable(problem.num_tasks)
    worst = cp.Variable()
    below = heights <= worst
    theta = center + radius * step
    stated = problem.epigraph(theta, level + zoom * (units.reach or 1.0) * heights)
    if not isinstance(stated, list | tuple):
        raise CertificateError(f"{_name(problem)}.epigraph should return a list of constraints")
    constraints = [cp.norm2(step) <= 1, *stated]
    if near is not None:
        offset = (center - domain.center) / float(domain.radius)
        constraints.append(cp.norm2(offset + zoom * step) <= 1)
    if weights is None:
        program = cp.Problem(cp.Minimize(worst), [below, *constraints])
    else:
        program = cp.Problem(cp.Minimize(weights @ heights), constraints)
    solve(program, _name(problem))
    if weights is None:
        duals = np.maximum(np.asarray(below.dual_value, dtype=float), 0.0)
        weights = duals / np.sum(duals)
    return center + radius * np.asarray(step.value, dtype=float), np.asarray(weights, dtype=float)


def _name(problem: Problem) -> str:
    return type(problem).__name__
