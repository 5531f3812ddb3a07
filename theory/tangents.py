r"""Lower bounds from tangent planes: they need losses and gradients, and no trust in any solver.

For a convex risk every tangent lies below it, so that any mixture of tangents, minimised over the
ball in closed form, is a lower bound of its minimum (B1 (e)). A solver only proposes points and
mixtures.
"""

from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from theory.convex import CertificateError, solve
from theory.problems import Problem

Float = NDArray[np.float64]

_CUTS = 60  # cutting planes at most


def lower_bounds(problem: Problem, point: Float, weights: Float) -> Iterator[float]:
    """Rigorous lower bounds of the weighted risk's minimum, from cheap to thorough.

    Args:
        problem: a single instance.
        point: near-minimiser ``[d]``; it makes the bounds good, not true.
        weights: ``[T]`` on the simplex.

    Yields:
        Bounds in loss units: the problem's own ``dual_bound`` if it has one, else ever larger
        mixtures of tangents.
    """
    dual_bound: Any = getattr(problem, "dual_bound", None)
    if dual_bound is not None:
        yield float(dual_bound(weights))
        return
    yield tangent_bound(problem, point[None], weights[None], np.ones(1))
    found = point[None]
    for distance in (1e-6, 1e-8, 1e-4):
        reach = distance * float(problem.domain.radius)
        found = np.concatenate([found, _around(problem, point, reach)])
        yield _mixture_bound(problem, found, weights)
        found = np.concatenate([found, _cuts(problem, point, weights, reach)])
        yield _mixture_bound(problem, found, weights)


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
    # relative to the centre, so that a domain far from 0 costs no digits
    intercepts = values - np.sum(gradients * (points - problem.domain.center), axis=-1)
    swing = problem.domain.radius * np.linalg.norm(mixture @ gradients)
    return float(mixture @ intercepts - swing)


def _around(problem: Problem, point: Float, reach: float) -> Float:
    """Points round the solver's: they see pieces that meet at a kink it sits on."""
    dim = point.size
    random = np.random.default_rng(0).standard_normal((2 * dim, dim))
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    return problem.domain.project(
        point + reach * np.concatenate([np.eye(dim), -np.eye(dim), random])
    )


def _cuts(problem: Problem, point: Float, weights: Float, reach: float) -> Float:
    """Points found by Kelley's cutting planes within `reach` of the solver's point.

    Where many kinks meet, random directions miss most pieces; the minimiser of the pieces known so
    far lies on one that is missing.
    """
    points, base = point[None], float(weights @ problem.losses(point))
    for _ in range(_CUTS):
        values, gradients = _pieces(problem, points, weights)
        # in units of `reach` round the point, well scaled however small the neighbourhood is
        heights = (values - base - np.sum(gradients * (points - point), axis=-1)) / reach
        step, level = cp.Variable(point.size), cp.Variable()
        program = cp.Problem(
            cp.Minimize(level), [gradients @ step + heights <= level, cp.norm2(step) <= 1]
        )
        try:
            solve(program, f"the tangents of {type(problem).__name__}")
        except CertificateError:  # nearly equal tangents: those found so far are bounds already
            break
        new = problem.domain.project(point + reach * np.asarray(step.value, dtype=float))
        points = np.concatenate([points, new[None]])
        slope = float(np.max(np.linalg.norm(gradients, axis=-1)))
        if float(weights @ problem.losses(new) - base) / reach - level.value <= 1e-7 * slope:
            break
    return points[1:]


def _mixture_bound(problem: Problem, points: Float, weights: Float) -> float:
    """Tangent bound with the best mixture of the tangents at the points."""
    center, radius = problem.domain.center, float(problem.domain.radius)
    values, gradients = _pieces(problem, points, weights)
    intercepts = values - np.sum(gradients * (points - center), axis=-1)
    mixture = cp.Variable(len(points), nonneg=True)
    value = intercepts @ mixture - radius * cp.norm2(gradients.T @ mixture)
    try:
        solve(
            cp.Problem(cp.Maximize(value), [cp.sum(mixture) == 1]),
            f"the tangents of {type(problem).__name__}",
        )
    except CertificateError:
        return -np.inf
    shares = np.maximum(np.asarray(mixture.value, dtype=float), 0.0)
    rows = np.broadcast_to(weights, (len(points), weights.size))
    return tangent_bound(problem, points, rows, shares / np.sum(shares))


def _pieces(problem: Problem, points: Float, weights: Float) -> tuple[Float, Float]:
    """Values ``[n]`` and gradients ``[n, d]`` of the weighted risk."""
    rows = np.broadcast_to(weights, (len(points), weights.size))
    values = np.asarray(problem.losses(points)) @ weights
    return values, np.asarray(problem.weighted_gradient(points, rows))
