r"""Regression tasks on n samples each: absolute and Huber losses (family 2 of the testbed)."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from theory.convex import solve
from theory.problems.base import Ball, Constants, ConvexProblem, Float, check_shape


@dataclass(frozen=True)
class AbsoluteRegression(ConvexProblem):
    r"""Tasks :math:`f_t(\theta) = \frac1n\sum_i |x_{ti}^\top\theta - y_{ti}|`; not smooth.

    Attributes:
        features: x, ``[..., T, n, d]``.
        targets: y, ``[..., T, n]``.
    """

    features: Float
    targets: Float

    def __post_init__(self) -> None:
        check_shape("features", self.features, (None, None, self.domain.dim), self.batch_shape)
        check_shape("targets", self.targets, self.features.shape[-3:-1], self.batch_shape)

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.targets.shape[-2])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        return np.asarray(np.mean(np.abs(residuals(self, theta)), axis=-1))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Subgradient ``[..., d]`` of the weighted risk, with sign(0) = 0."""
        return pull_back(self, np.sign(residuals(self, theta)), weights)

    def constants(self) -> Constants:
        """Rigorous bounds by the triangle inequality."""
        length = np.linalg.norm(self.features, axis=-1)
        farthest = _farthest_residual(self)
        bound = np.max(np.mean(farthest, axis=-1), axis=-1)
        return Constants(
            lipschitz=np.max(np.mean(length, axis=-1), axis=-1),
            loss_bound=bound,
            loss_range=bound,
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Absolute values of all residuals of a single instance, averaged by task."""
        tasks, samples, dim = self.features.shape
        flat = self.features.reshape(tasks * samples, dim) @ theta - self.targets.ravel()
        magnitude = cp.reshape(cp.abs(flat), (tasks, samples), order="C")
        return [cp.sum(magnitude, axis=1) / samples <= levels]

    def dual_bound(self, weights: Float) -> Float:
        r"""Lower bound of the weighted risk from signs :math:`u\in[-1,1]` that its dual picks.

        For every such u, :math:`\sum_t w_t f_t(\theta) \ge \sum_{ti} \frac{w_t}{n} u_{ti}
        (x_{ti}^\top\theta - y_{ti})`, whose minimum over the ball is closed form. A second solve
        only proposes u; the bound is rigorous for any.

        Args:
            weights: ``[T]`` on the simplex; a single instance.

        Returns:
            The bound, a scalar.

        Raises:
            CertificateError: the second solve broke down.
        """
        tasks, samples, dim = self.features.shape
        share = np.repeat(weights / samples, samples)
        rows = self.features.reshape(tasks * samples, dim)
        signs = cp.Variable(tasks * samples, bounds=[-1.0, 1.0])
        slope = rows.T @ cp.multiply(share, signs)
        value = (
            self.domain.center @ slope
            - self.domain.radius * cp.norm2(slope)
            - (share * self.targets.ravel()) @ signs
        )
        solve(cp.Problem(cp.Maximize(value)), "the dual of an absolute regression")
        best = np.clip(signs.value, -1.0, 1.0) * share
        return np.asarray(self.domain.min_linear(rows.T @ best) - best @ self.targets.ravel())


@dataclass(frozen=True)
class HuberRegression(ConvexProblem):
    r"""Tasks :math:`f_t(\theta) = \frac1n\sum_i h(x_{ti}^\top\theta - y_{ti})`, h of Huber.

    :math:`h(r) = r^2/2` up to the knee :math:`\delta`, then linear with slope :math:`\delta`.

    Attributes:
        features: x, ``[..., T, n, d]``.
        targets: y, ``[..., T, n]``.
        knee: delta > 0.
    """

    features: Float
    targets: Float
    knee: float = 1.0

    def __post_init__(self) -> None:
        check_shape("features", self.features, (None, None, self.domain.dim), self.batch_shape)
        check_shape("targets", self.targets, self.features.shape[-3:-1], self.batch_shape)
        if not self.knee > 0:
            raise ValueError(f"`knee` should be positive; found {self.knee}")

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.targets.shape[-2])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        return np.asarray(np.mean(self._huber(residuals(self, theta)), axis=-1))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the weighted risk."""
        return pull_back(self, np.clip(residuals(self, theta), -self.knee, self.knee), weights)

    def weighted_hessian(self, theta: Float, weights: Float) -> Float:
        """Generalised Hessian ``[..., d, d]`` of the weighted risk, with curvature 1 at a knee."""
        curved = np.abs(residuals(self, theta)) <= self.knee
        scaled = (curved * (weights[..., None] / curved.shape[-1]))[..., None] * self.features
        # one product over all samples: a product a task would hold T matrices d x d
        left, right = (x.reshape(*x.shape[:-3], -1, x.shape[-1]) for x in (scaled, self.features))
        return np.asarray(np.swapaxes(left, -1, -2) @ right)

    def constants(self) -> Constants:
        """Rigorous bounds: slope at most the knee, curvature at most 1 along each feature."""
        length = np.linalg.norm(self.features, axis=-1)
        bound = np.max(np.mean(self._huber(_farthest_residual(self)), axis=-1), axis=-1)
        gram = np.swapaxes(self.features, -1, -2) @ self.features / self.features.shape[-2]
        return Constants(
            lipschitz=self.knee * np.max(np.mean(length, axis=-1), axis=-1),
            smoothness=np.max(np.linalg.eigvalsh(gram), axis=(-2, -1)),
            loss_bound=bound,
            loss_range=bound,
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Huber values of all residuals of a single instance, averaged by task."""
        tasks, samples, dim = self.features.shape
        flat = self.features.reshape(tasks * samples, dim) @ theta - self.targets.ravel()
        values = cp.reshape(0.5 * cp.huber(flat, self.knee), (tasks, samples), order="C")
        return [cp.sum(values, axis=1) / samples <= levels]

    def _huber(self, residual: Float) -> Float:
        size = np.abs(residual)
        return np.where(size <= self.knee, 0.5 * size * size, self.knee * (size - 0.5 * self.knee))


def residuals(problem: AbsoluteRegression | HuberRegression, theta: Float) -> Float:
    """Residuals ``[..., T, n]`` at ``theta[..., d]``."""
    return np.asarray((problem.features @ theta[..., None, :, None])[..., 0] - problem.targets)


def pull_back(
    problem: AbsoluteRegression | HuberRegression, slopes: Float, weights: Float
) -> Float:
    """Gradient ``[..., d]`` from the slope of each sample's loss ``[..., T, n]``."""
    scaled = slopes * (weights[..., None] / slopes.shape[-1])
    return np.asarray(np.sum((scaled[..., None, :] @ problem.features)[..., 0, :], axis=-2))


def _farthest_residual(problem: AbsoluteRegression | HuberRegression) -> Float:
    """Largest |residual| of each sample on the ball, ``[..., T, n]``."""
    domain: Ball = problem.domain
    reach = domain.radius[..., None, None] * np.linalg.norm(problem.features, axis=-1)
    return np.asarray(np.abs(residuals(problem, domain.center)) + reach)
