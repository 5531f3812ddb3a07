"""Problems as a user would state them: losses, gradients and an epigraph, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np

from theory.problems import Ball, Constants, Float


@dataclass
class Stated:
    """A problem made of functions; it has no ``dual_bound``."""

    dim: int
    num_tasks: int
    losses: Callable[[Float], Any]
    gradients: Callable[[Float], Float]  # [..., T, d]
    constraints: Callable[[cp.Variable, cp.Variable], Any]
    radius: float = 1.0
    lipschitz: float = 1.0
    center: Float | None = None
    domain: Ball = field(init=False)

    def __post_init__(self) -> None:
        center = np.zeros(self.dim) if self.center is None else self.center
        self.domain = Ball.of(center, self.radius)

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        return np.einsum("...t,...td->...d", weights, self.gradients(theta))

    def constants(self) -> Constants:
        return Constants(lipschitz=self.lipschitz)

    def epigraph(self, theta: cp.Variable, levels: cp.Variable) -> Any:
        return self.constraints(theta, levels)


@dataclass
class WithoutDual:
    """A problem of the library deprived of its closed-form lower bound."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        if name == "dual_bound":
            raise AttributeError(name)
        return getattr(self.inner, name)


def distances(anchors: Float, radius: float = 3.0) -> Stated:
    """f_t = distance to anchor t: smooth but at the anchors, where it has a cone."""

    def direction(theta):
        offset = theta[..., None, :] - anchors
        length = np.linalg.norm(offset, axis=-1, keepdims=True)
        return offset / np.where(length == 0, 1.0, length)

    return Stated(
        dim=anchors.shape[1],
        num_tasks=len(anchors),
        losses=lambda theta: np.linalg.norm(theta[..., None, :] - anchors, axis=-1),
        gradients=direction,
        constraints=lambda theta, levels: [
            cp.norm2(theta - anchor) <= levels[t] for t, anchor in enumerate(anchors)
        ],
        radius=radius,
    )


def city_blocks(anchors: Float, radius: float = 3.0) -> Stated:
    """f_t = l1 distance to anchor t: kinks in every coordinate at once."""
    return Stated(
        dim=anchors.shape[1],
        num_tasks=len(anchors),
        losses=lambda theta: np.sum(np.abs(theta[..., None, :] - anchors), axis=-1),
        gradients=lambda theta: np.sign(theta[..., None, :] - anchors),
        constraints=lambda theta, levels: [
            cp.norm1(theta - anchor) <= levels[t] for t, anchor in enumerate(anchors)
        ],
        radius=radius,
        lipschitz=anchors.shape[1] ** 0.5,
    )


def sparse_regression(dim: int, seed: int, tasks: int = 3) -> Stated:
    """f_t = mean squared residual / 2 + 0.3 l1 norm: a smooth part and kinks at the optimum."""
    rng = np.random.default_rng(seed)
    features, targets = rng.standard_normal((tasks, 8, dim)), rng.standard_normal((tasks, 8))

    def residuals(theta):
        return np.einsum("tnd,...d->...tn", features, theta) - targets

    def losses(theta):
        penalty = 0.3 * np.sum(np.abs(theta), axis=-1, keepdims=True)
        return 0.5 * np.mean(residuals(theta) ** 2, axis=-1) + penalty

    def gradients(theta):
        pull = np.einsum("...tn,tnd->...td", residuals(theta), features) / 8
        return pull + 0.3 * np.sign(theta)[..., None, :]

    return Stated(
        dim=dim,
        num_tasks=tasks,
        losses=losses,
        gradients=gradients,
        constraints=lambda theta, levels: [
            cp.sum_squares(features[t] @ theta - targets[t]) / 16 + 0.3 * cp.norm1(theta)
            <= levels[t]
            for t in range(tasks)
        ],
        radius=2.0,
        lipschitz=20.0,
    )


def parabolas(centers: Float, radius: float = 1.0) -> Stated:
    """f_t = squared distance to a point that may lie outside the domain."""
    reach = radius + float(np.max(np.linalg.norm(centers, axis=-1)))
    return Stated(
        dim=centers.shape[1],
        num_tasks=len(centers),
        losses=lambda theta: np.sum((theta[..., None, :] - centers) ** 2, axis=-1),
        gradients=lambda theta: 2 * (theta[..., None, :] - centers),
        constraints=lambda theta, levels: [
            cp.sum_squares(theta - center) <= levels[t] for t, center in enumerate(centers)
        ],
        radius=radius,
        lipschitz=2 * reach,
    )
