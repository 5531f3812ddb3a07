r"""Quadratic tasks with zero minimum (family 4), dense or diagonal, and the instance of App. C.

Constants and the lower bound of the weighted risk are exact, through the secular equation.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from theory.problems.base import Ball, Constants, ConvexProblem, Float, check_shape
from theory.problems.secular import max_on_ball, min_on_ball

_ALL_EXACT = frozenset({"lipschitz", "smoothness", "strong_convexity", "loss_bound", "loss_range"})


@dataclass(frozen=True)
class DenseQuadratic(ConvexProblem):
    r"""Tasks :math:`f_t(\theta)=\tfrac12(\theta-c_t)^\top H_t(\theta-c_t)`, :math:`H_t \succeq 0`.

    Attributes:
        hessians: H, ``[..., T, d, d]``, symmetric positive semidefinite.
        minimizers: c, ``[..., T, d]``, inside the domain (the least risk of each task is then 0).
    """

    hessians: Float
    minimizers: Float

    def __post_init__(self) -> None:
        dim = self.domain.dim
        check_shape("minimizers", self.minimizers, (None, dim), self.batch_shape)
        check_shape("hessians", self.hessians, (self.num_tasks, dim, dim), self.batch_shape)
        _check_inside(self.domain, self.minimizers)
        largest = np.max(np.abs(self.hessians), axis=(-2, -1), keepdims=True, initial=0.0)
        rounding = 64 * np.finfo(np.float64).eps * dim * largest
        if np.any(np.abs(self.hessians - np.swapaxes(self.hessians, -1, -2)) > rounding):
            raise ValueError("`hessians` should be symmetric")
        if np.any(np.linalg.eigvalsh(self.hessians) < -rounding[..., 0]):
            raise ValueError(
                "`hessians` should be positive semidefinite; the problem is not convex"
            )

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.minimizers.shape[-2])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        offset = theta[..., None, :] - self.minimizers
        return np.asarray(0.5 * np.sum(offset * self._apply(offset), axis=-1))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the weighted risk."""
        pulls = self._apply(theta[..., None, :] - self.minimizers)
        return np.asarray(np.sum(weights[..., None] * pulls, axis=-2))

    def weighted_hessian(self, theta: Float, weights: Float) -> Float:
        """Hessian ``[..., d, d]`` of the weighted risk; it does not depend on ``theta``."""
        flat = self.hessians.reshape(*self.minimizers.shape[:-1], theta.shape[-1] ** 2)
        summed = np.asarray((weights[..., None, :] @ flat)[..., 0, :])
        return summed.reshape(*summed.shape[:-1], theta.shape[-1], theta.shape[-1])

    def constants(self) -> Constants:
        """Exact constants, by eigenvalues and the secular equation."""
        values, vectors = np.linalg.eigh(self.hessians)
        values = np.maximum(values, 0.0)  # rounding of a zero
        shift = self.domain.center[..., None, :] - self.minimizers  # x = theta - center
        rotated = np.einsum("...tij,...ti->...tj", vectors, shift)
        return _quadratic_constants(values, rotated, self.domain.radius)

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """One second-order cone a task, through a square root of each Hessian."""
        values, vectors = np.linalg.eigh(self.hessians)
        roots = np.sqrt(0.5 * np.maximum(values, 0.0))[..., None] * np.swapaxes(vectors, -1, -2)
        return [
            cp.sum_squares(roots[t] @ (theta - self.minimizers[t])) <= levels[t]
            for t in range(self.num_tasks)
        ]

    def dual_bound(self, weights: Float) -> Float:
        """Minimum over the ball of the weighted quadratic, by its Lagrangian dual."""
        shift = self.domain.center[..., None, :] - self.minimizers
        pulls = self._apply(shift)
        values, vectors = np.linalg.eigh(np.einsum("...t,...tij->...ij", weights, self.hessians))
        linear = np.sum(weights[..., None] * pulls, axis=-2)
        rotated = np.einsum("...ij,...i->...j", vectors, linear)
        constant = 0.5 * np.sum(weights * np.sum(shift * pulls, axis=-1), axis=-1)
        return np.asarray(
            constant + min_on_ball(np.maximum(values, 0.0), rotated, self.domain.radius)
        )

    def _apply(self, offset: Float) -> Float:
        """H_t times the t-th row of ``offset[..., T, d]``."""
        return np.asarray((self.hessians @ offset[..., None])[..., 0])


@dataclass(frozen=True)
class DiagonalQuadratic(ConvexProblem):
    r"""Tasks :math:`f_t(\theta)=\tfrac12\sum_i h_{ti}(\theta_i-c_{ti})^2`, stored T x d.

    Attributes:
        curvatures: h, ``[..., T, d]``, nonnegative.
        minimizers: c, ``[..., T, d]``, inside the domain.
    """

    curvatures: Float
    minimizers: Float

    def __post_init__(self) -> None:
        check_shape("minimizers", self.minimizers, (None, self.domain.dim), self.batch_shape)
        check_shape("curvatures", self.curvatures, self.minimizers.shape[-2:], self.batch_shape)
        _check_inside(self.domain, self.minimizers)
        if np.any(self.curvatures < 0):
            raise ValueError("`curvatures` should be nonnegative; the problem is not convex")

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.minimizers.shape[-2])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        offset = theta[..., None, :] - self.minimizers
        return np.asarray(0.5 * np.sum(self.curvatures * offset * offset, axis=-1))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the weighted risk."""
        pulls = self.curvatures * (theta[..., None, :] - self.minimizers)
        return np.asarray((weights[..., None, :] @ pulls)[..., 0, :])

    def constants(self) -> Constants:
        """Exact constants, by the secular equation."""
        shift = self.domain.center[..., None, :] - self.minimizers
        return _quadratic_constants(self.curvatures, shift, self.domain.radius)

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """The lift: d squares q >= theta^2 serve all tasks, which are then linear in (q, theta)."""
        # in units of the ball, so that the squares are of order 1
        squares = cp.Variable(self.domain.dim)
        radius = float(self.domain.radius)
        offset = (self.minimizers - self.domain.center) / radius
        energy = 0.5 * radius**2 * self.curvatures
        unit = (theta - self.domain.center) / radius
        constant = np.sum(energy * offset * offset, axis=-1)
        return [
            squares >= cp.square(unit),
            energy @ squares - 2 * (energy * offset) @ unit + constant <= levels,
        ]

    def dual_bound(self, weights: Float) -> Float:
        """Minimum over the ball of the weighted quadratic, by its Lagrangian dual."""
        shift = self.domain.center[..., None, :] - self.minimizers
        curvature = np.sum(weights[..., None] * self.curvatures, axis=-2)
        linear = np.sum(weights[..., None] * self.curvatures * shift, axis=-2)
        energy = np.sum(self.curvatures * shift * shift, axis=-1)
        constant = 0.5 * np.sum(weights * energy, axis=-1)
        return np.asarray(constant + min_on_ball(curvature, linear, self.domain.radius))


def appendix_c(steepness: float, num_tasks: int) -> DiagonalQuadratic:
    r"""The instance of Remark 5.2 and App. C on [0, 1].

    Its tasks are :math:`A(\theta-1)^2` and, T - 1 times, :math:`\theta^2`.

    Args:
        steepness: A > 0.
        num_tasks: T >= 2.

    Returns:
        A single instance with :math:`L = 2A,\ \mu = 2,\ L' = 2A,\ B = A` for A >= 1.

    Raises:
        ValueError: A <= 0 or T < 2.
    """
    if not steepness > 0:
        raise ValueError(f"`steepness` should be positive; found {steepness}")
    if num_tasks < 2:
        raise ValueError(f"`num_tasks` should be at least 2; found {num_tasks}")
    curvatures = np.full((num_tasks, 1), 2.0)
    minimizers = np.zeros((num_tasks, 1))
    curvatures[0], minimizers[0] = 2.0 * steepness, 1.0
    return DiagonalQuadratic(Ball.of(np.array([0.5]), 0.5), curvatures, minimizers)


def _quadratic_constants(values: Float, shift: Float, radius: Float) -> Constants:
    """Constants from eigenvalues ``[..., T, d]`` and center - minimiser in the eigenbases."""
    radii = np.broadcast_to(radius[..., None], values.shape[:-1])
    linear = values * shift
    highest = max_on_ball(values, linear, radii) + 0.5 * np.sum(linear * shift, axis=-1)
    # ||H(theta - c)||^2 is itself a quadratic, with curvature 2 H^2.
    steepest = max_on_ball(2 * values**2, 2 * values * linear, radii)
    steepest = steepest + np.sum(linear * linear, axis=-1)
    bound = np.max(highest, axis=-1)
    return Constants(
        lipschitz=np.sqrt(np.max(steepest, axis=-1)),
        smoothness=np.max(values, axis=(-2, -1)),
        strong_convexity=np.min(values, axis=(-2, -1)),
        loss_bound=bound,
        loss_range=bound,  # every task attains 0
        exact=_ALL_EXACT,
    )


def _check_inside(domain: Ball, minimizers: Float) -> None:
    distance = np.linalg.norm(minimizers - domain.center[..., None, :], axis=-1)
    if np.any(distance > domain.radius[..., None] * (1 + 1e-12)):
        raise ValueError(
            "`minimizers` should lie in the domain; found one at distance "
            f"{float(np.max(distance)):.6g} from its centre"
        )
