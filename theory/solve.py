r"""The minimax problem (5) solved to a certified accuracy, at sizes where cvxpy gives up.

Any method may propose a point and weights; only the interval below counts. Its upper end is the
objective at the projected point. Its lower end is, for the weights w found, a lower bound of
:math:`\min_\Theta\sum_t w_tf_t \le F^*`: the closed form of the family (``dual_bound``) or the
tangent plane of the weighted risk. Both ends allow for the rounding of every sum they contain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory.convex import CertificateError
from theory.optima import CLOSE_TOLERANCE, certify
from theory.problems import Ball, Problem
from theory.solvers.interior_point import BOLD, CAUTIOUS, Iterate, interior_point
from theory.solvers.second_order import magnitudes, second_order

Float = NDArray[np.float64]

LARGEST_CONVEX_PROGRAM = 1_000_000
"""Entries T x d of the Jacobian above which cvxpy is not tried."""

_CANCELLED = 0.01
"""Share of its terms below which an optimum counts as cancelled, its relative accuracy as moot."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Solution:
    r"""A near-minimiser and an interval that contains the minimax optimum :math:`F^*`.

    Attributes:
        point: feasible near-minimiser ``[d]``.
        weights: task weights ``[T]`` on the simplex, of the lower bound.
        lower: rigorous lower bound of the optimum (loss units).
        upper: objective at `point`, rounding allowed for; rigorous as well.
        method: what found it, ``"interior point"``, ``"cautious interior point"`` or ``"cvxpy"``.
        iterations: factorisations of the interior point, all attempts together.
    """

    point: Float
    weights: Float
    lower: float
    upper: float
    method: str
    iterations: int

    @property
    def width(self) -> float:
        """Width of the interval, in loss units: no point has a larger certified gap."""
        return self.upper - self.lower


def solve(problem: Problem, tolerance: float = 1e-6) -> Solution:
    r"""Certified minimax optimum (5) of a single instance.

    A dense primal-dual interior point serves every smooth family that offers second derivatives
    (`theory.solvers.second_order`); if its interval does not close it is run again with cautious
    steps. Then, and for all other problems, cvxpy follows, unless the Jacobian has more than
    `LARGEST_CONVEX_PROGRAM` entries.

    Args:
        problem: a single convex instance.
        tolerance: largest width of the interval, relative to :math:`|F^*|`, or to a hundredth of
            the terms that cancel in it (weighted `magnitudes`) where that is larger.

    Returns:
        The solution, with an interval no wider than that.

    Raises:
        ValueError: a batch of instances, or a tolerance that is not between 0 and 1.
        CertificateError: no method closed the interval; the message has the best one found.
    """
    if np.ndim(problem.domain.radius):
        raise ValueError("`problem` should be a single instance; index the batch first")
    if not 0 < tolerance < 1:
        raise ValueError(f"`tolerance` should lie between 0 and 1; found {tolerance}")
    iterations, found = 0, ""
    model = second_order(problem)
    if model is not None:
        for method, pace in (("interior point", BOLD), ("cautious interior point", CAUTIOUS)):
            proposals = interior_point(model, problem.domain, problem.num_tasks, pace)
            bracket, used = _close(problem, proposals, tolerance)
            iterations += used
            if bracket.closed():
                return bracket.solution(method, iterations)
            found = f"; the {method} left [{bracket.lower:.12g}, {bracket.upper:.12g}]"
    return _by_cvxpy(problem, tolerance, iterations, found)


class _Bracket:
    """The best bounds so far, and the loss unit that their distance is compared with."""

    def __init__(self, problem: Problem, tolerance: float) -> None:
        self._problem, self._tolerance = problem, tolerance
        self._magnitudes = magnitudes(problem)
        # the terms of the longest sum: over tasks, coordinates, and samples where there are any
        samples = int(np.prod(np.shape(getattr(problem, "features", ()))[-2:-1]))
        self._rounding = (problem.num_tasks + problem.domain.dim + samples + 64) * _EPS
        self.lower, self.upper = -np.inf, np.inf
        middle = float(np.max(problem.losses(problem.domain.center)))
        uniform = np.full(problem.num_tasks, 1 / problem.num_tasks)
        self.unit = _unit(middle, uniform, self._magnitudes)  # until there is a better guess
        self.point = self.weights = np.empty(0)

    def add(self, point: Float, weights: Float) -> None:
        """Tighten both ends with what this point and these weights prove."""
        point = _inside(self._problem.domain, point)
        losses = np.asarray(self._problem.losses(point), dtype=float)
        # of every task, as the one that is largest in floating point need not be the largest
        upper = float(np.max(losses + self._rounding * self._magnitudes))
        if upper < self.upper:
            self.upper, self.point = upper, point
        for bound in (_tangent_bound, _dual_bound):  # the second costs more and is rarely needed
            # value, slope times offset and slope times radius: none is larger than the magnitude
            rounding = 3 * self._rounding * float(weights @ self._magnitudes)
            lower = bound(self._problem, point, weights) - rounding
            if lower > self.lower:
                self.lower, self.weights = lower, weights
            self.unit = _unit(self.upper, weights, self._magnitudes)
            if self.closed():
                return

    def closed(self) -> bool:
        """Whether the interval is narrow enough."""
        return self.upper - self.lower <= self._tolerance * self.unit

    def solution(self, method: str, iterations: int) -> Solution:
        return Solution(self.point, self.weights, self.lower, self.upper, method, iterations)


def _close(
    problem: Problem, proposals: Iterable[Iterate], tolerance: float
) -> tuple[_Bracket, int]:
    """Judge the proposals that claim to be good enough, and the last; stop once one is."""
    bracket = _Bracket(problem, tolerance)
    used, waiting = -1, None
    for waiting in proposals:
        used += 1
        if waiting.gap <= 4 * tolerance * bracket.unit:
            bracket.add(waiting.point, waiting.weights)
            if bracket.closed():
                return bracket, used
    if waiting is not None:
        bracket.add(waiting.point, waiting.weights)
    return bracket, used


def _by_cvxpy(problem: Problem, tolerance: float, iterations: int, found: str) -> Solution:
    """The certified interval of `theory.optima`, where that is affordable."""
    entries = problem.num_tasks * problem.domain.dim
    name = type(problem).__name__
    if entries > LARGEST_CONVEX_PROGRAM:
        raise CertificateError(
            f"the optimum of {name} was not certified to {tolerance:g}{found}; its Jacobian has "
            f"{entries} entries, too many for cvxpy, and the interior point needs "
            "`weighted_hessian` unless the tasks are linear or diagonal quadratics"
        )
    try:
        optimum = certify(problem)
    except CertificateError:
        if tolerance <= CLOSE_TOLERANCE:
            raise
        optimum = certify(problem, tolerance=tolerance)
    lower, upper = float(optimum.lower), float(optimum.upper)
    if upper - lower > tolerance * _unit(upper, optimum.weights, magnitudes(problem)):
        raise CertificateError(
            f"the optimum of {name} was not certified to {tolerance:g}; cvxpy left "
            f"[{lower:.12g}, {upper:.12g}]{found}"
        )
    return Solution(optimum.point, optimum.weights, lower, upper, "cvxpy", iterations)


def _inside(domain: Ball, point: Float) -> Float:
    """Projection on the ball, less what rounding could have left outside.

    A point outside would be worth less than the optimum, by little, but not rigorously.
    """
    point = domain.project(point)
    radius, size = float(domain.radius), float(np.linalg.norm(point - domain.center))
    margin = (domain.dim + 8) * _EPS * (float(np.linalg.norm(domain.center)) + radius)
    if size <= radius - margin:
        return point
    return np.asarray(domain.center + max(radius - margin, 0.0) / size * (point - domain.center))


def _unit(value: float, weights: Float, sizes: Float) -> float:
    """What the width is compared with: the optimum, unless it is what cancellation has left."""
    return max(abs(value), _CANCELLED * float(weights @ sizes))


def _tangent_bound(problem: Problem, point: Float, weights: Float) -> float:
    """Minimum over the ball of the tangent plane of the weighted risk at `point`.

    Written in the offset from the centre, so that nothing of the size of the centre cancels.
    """
    slope = np.asarray(problem.weighted_gradient(point, weights), dtype=float)
    value = float(weights @ problem.losses(point) + slope @ (problem.domain.center - point))
    return value - float(problem.domain.radius) * float(np.linalg.norm(slope))


def _dual_bound(problem: Problem, point: Float, weights: Float) -> float:
    """The closed form of the family, which knows its curvature; none is no bound."""
    del point
    bound: Any = getattr(problem, "dual_bound", None)
    return -np.inf if bound is None else float(bound(weights))
