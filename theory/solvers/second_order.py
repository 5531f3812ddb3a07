"""What an interior-point method asks of a problem: task gradients in row blocks, curvature.

Problems whose Jacobian is as large as their data (linear, diagonal quadratics) hand it out block by
block, so that no second T x d array is ever held. Any other problem takes part if it offers
``weighted_hessian(theta, weights) -> [d, d]``, the positive semidefinite (generalised) Hessian of a
weighted risk.
"""

from collections.abc import Iterator
from functools import singledispatch
from typing import Any, Protocol

import numpy as np

from theory.problems import (
    DenseQuadratic,
    DiagonalQuadratic,
    Float,
    HuberRegression,
    Logistic,
    MaxLinear,
    Problem,
    jacobian,
)
from theory.problems.regression import residuals

BLOCK = 512
"""Tasks handled at once where that needs temporaries of their gradients' size."""


class SecondOrder(Protocol):
    """First and second derivatives of a single instance, without T x d temporaries."""

    curved: bool
    """Whether any task may have curvature."""

    stored: bool
    """Whether gradients lie in memory anyway, so that all of them may be asked for at once."""

    diagonal: bool
    """Whether every Hessian is."""

    def losses(self, theta: Float) -> Float:
        """Task risks ``[T]`` at ``theta[d]``."""
        ...

    def gradients(self, theta: Float, block: slice) -> Float:
        """Gradients ``[b, d]`` of the tasks in `block`; the caller does not write to them."""
        ...

    def curvature(self, theta: Float, weights: Float) -> Float:
        """Hessian of the weighted risk, ``[d, d]``, or ``[d]`` if `diagonal`."""
        ...


def second_order(problem: Problem) -> SecondOrder | None:
    """Derivatives of a single instance, or None if it offers no second ones."""
    if isinstance(problem, MaxLinear):
        return _Linear(problem)
    if isinstance(problem, DiagonalQuadratic):
        return _Diagonal(problem)
    return _General(problem) if hasattr(problem, "weighted_hessian") else None


def blocks(num_tasks: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices of at most `size` tasks."""
    return (slice(n, min(n + size, num_tasks)) for n in range(0, num_tasks, size))


class _Linear:
    curved, stored, diagonal = False, True, True

    def __init__(self, problem: MaxLinear) -> None:
        self.losses = problem.losses
        self._slopes = problem.slopes

    def gradients(self, theta: Float, block: slice) -> Float:
        del theta
        return self._slopes[block]

    def curvature(self, theta: Float, weights: Float) -> Float:
        del weights
        return np.zeros_like(theta)


class _Diagonal:
    curved, stored, diagonal = True, False, True

    def __init__(self, problem: DiagonalQuadratic) -> None:
        self._curvatures, self._minimizers = problem.curvatures, problem.minimizers

    def losses(self, theta: Float) -> Float:
        parts = []
        for block in blocks(len(self._curvatures)):
            offset = theta - self._minimizers[block]
            np.square(offset, out=offset)
            parts.append(0.5 * np.einsum("td,td->t", self._curvatures[block], offset))
        return np.concatenate(parts)

    def gradients(self, theta: Float, block: slice) -> Float:
        pulls = theta - self._minimizers[block]
        pulls *= self._curvatures[block]
        return pulls

    def curvature(self, theta: Float, weights: Float) -> Float:
        del theta
        return np.asarray(weights @ self._curvatures)


class _General:
    curved, stored, diagonal = True, True, False

    def __init__(self, problem: Problem) -> None:
        self.losses = problem.losses
        self._problem: Any = problem
        self._point: Float | None = None
        self._jacobian: Float = np.empty(0)

    def gradients(self, theta: Float, block: slice) -> Float:
        # asked for in turn, block by block, several times at the same point
        if self._point is None or not np.array_equal(theta, self._point):
            self._point, self._jacobian = theta.copy(), task_gradients(self._problem, theta)
        return self._jacobian[block]

    def curvature(self, theta: Float, weights: Float) -> Float:
        return np.asarray(self._problem.weighted_hessian(theta, weights), dtype=float)


@singledispatch
def task_gradients(problem: Problem, theta: Float) -> Float:
    """Gradients ``[T, d]`` of all tasks of a single instance at ``theta[d]``, in one pass."""
    return np.asarray(jacobian(problem, theta))


@task_gradients.register
def _(problem: DenseQuadratic, theta: Float) -> Float:
    offset = theta - problem.minimizers
    return np.asarray((problem.hessians @ offset[..., None])[..., 0])


@task_gradients.register
def _(problem: HuberRegression, theta: Float) -> Float:
    slopes = np.clip(residuals(problem, theta), -problem.knee, problem.knee)
    slopes /= slopes.shape[-1]
    return np.asarray((slopes[:, None, :] @ problem.features)[:, 0])


@task_gradients.register
def _(problem: Logistic, theta: Float) -> Float:
    slopes = 0.5 * np.tanh(0.5 * (problem.features @ theta)) - 0.5
    return np.asarray(((slopes * problem.shares)[:, None, :] @ problem.features)[:, 0])


@singledispatch
def magnitudes(problem: Problem) -> Float:
    r"""Bound ``[T]`` of the sum of absolute values of the terms of each risk, over the ball.

    A sum of n terms is rounded by at most about n machine epsilons of this, which is what a
    rigorous bound computed in floating point has to allow for.
    """
    domain = problem.domain
    middle = np.abs(problem.losses(domain.center))
    return np.asarray(middle + _farthest(problem) * float(problem.constants().lipschitz))


@magnitudes.register
def _(problem: MaxLinear) -> Float:
    return np.asarray(np.abs(problem.offsets) + _farthest(problem) * _row_norms(problem.slopes))


@magnitudes.register
def _(problem: DiagonalQuadratic) -> Float:
    # the minimisers lie in the ball, so that no offset is longer than two radii
    return np.asarray(2 * float(problem.domain.radius) ** 2 * np.max(problem.curvatures, axis=-1))


@magnitudes.register
def _(problem: DenseQuadratic) -> Float:
    size = _row_norms(problem.hessians.reshape(problem.num_tasks, -1))
    return np.asarray(2 * float(problem.domain.radius) ** 2 * size)


@magnitudes.register
def _(problem: HuberRegression) -> Float:
    reach = _farthest(problem) * _row_norms(problem.features) + np.abs(problem.targets)
    return np.asarray(problem.knee * np.mean(reach, axis=-1))


@magnitudes.register
def _(problem: Logistic) -> Float:
    reach = np.log(2) + _farthest(problem) * _row_norms(problem.features)
    return np.asarray(np.sum(problem.shares * reach, axis=-1))


def _farthest(problem: Problem) -> float:
    """Largest norm of a point of the ball."""
    return float(np.linalg.norm(problem.domain.center) + problem.domain.radius)


def _row_norms(rows: Float) -> Float:
    """Lengths along the last axis, without a temporary of the size of ``rows``."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", rows, rows)))
