r"""Instances that attain the bounds (family 7): Drori-Teboulle, and its angled version (B6)."""

import math
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from theory.problems.base import Ball, Constants, Float


@dataclass(frozen=True)
class DroriTeboulle:
    r"""Hardest convex function for K subgradient steps, as `num_tasks` identical tasks (B6 (i)).

    :math:`h(x)=\max(\max_i x_i,\ \|x\|-R_0(1+1/\sqrt K))` on :math:`\mathbb R^K`, with the
    subgradient of the lowest maximal index. From 0 its optimum :math:`-R_0/\sqrt K` is at distance
    R0, and both the average and the best iterate of K steps have gap exactly
    :math:`R_0L'/\sqrt K`, L' = 1.
    Source: Drori and Teboulle, An optimal variant of Kelley's cutting-plane method, 2016.

    Attributes:
        num_steps: K, also the dimension.
        num_tasks: identical copies.
        start_radius: R0.
    """

    num_steps: int
    num_tasks: int = 1
    start_radius: float = 1.0

    @property
    def domain(self) -> Ball:
        """Ball of radius 2 R0 around the start, 0."""
        return Ball.of(np.zeros(self.num_steps), 2 * self.start_radius)

    @property
    def optimum(self) -> float:
        r"""Least value, :math:`-R_0/\sqrt K`, at :math:`x_i = -R_0/\sqrt K`."""
        return -self.start_radius / math.sqrt(self.num_steps)

    @property
    def minimizer(self) -> Float:
        """The point ``[K]`` that attains it."""
        return np.full(self.num_steps, self.optimum)

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``, all equal."""
        value = drori_teboulle(theta, self.num_steps, self.start_radius)
        return np.repeat(value[..., None], self.num_tasks, axis=-1)

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """The resisting subgradient ``[..., d]``, times the sum of the weights."""
        slope = drori_teboulle_subgradient(theta, self.num_steps, self.start_radius)
        return np.asarray(np.sum(weights, axis=-1)[..., None] * slope)

    def constants(self) -> Constants:
        """L' = 1 exactly; the values follow from |x_i| <= ||x|| <= 2 R0."""
        bound = 2 * self.start_radius
        return Constants(
            lipschitz=1.0,
            loss_bound=bound,
            loss_range=bound - self.optimum,
            exact=frozenset({"lipschitz"}),
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """The two pieces of h, once for each task."""
        reach = self.start_radius * (1 + 1 / math.sqrt(self.num_steps))
        return [cp.max(theta) <= levels, cp.norm2(theta) - reach <= levels]

    def dual_bound(self, weights: Float) -> Float:
        """The optimum itself: all tasks are h, and h >= mean(x) and the norm piece meet there."""
        return np.asarray(np.sum(weights, axis=-1) * self.optimum)


@dataclass(frozen=True)
class AngledWorstCase:
    r"""The instance on which constant 2 of Theorem 3.1 is approached (B6 (ii)).

    On (u, v) with angle :math:`\varphi`: :math:`f_1=\cos\varphi\,h(u)+v\sin\varphi`,
    :math:`f_t=\cos\varphi\,h(u)-v\sin\varphi/c_T` for t >= 2, with h of `DroriTeboulle`. From
    :math:`(0, v_0)`, :math:`v_0=R_0/(\sqrt K\sin\varphi)`, the constant schedule keeps v fixed
    while u takes the hard path.

    Attributes:
        num_steps: K; the dimension is K + 1.
        num_tasks: T >= 9, so that L' = 1.
        sharp_constant: c_T.
        sine: sin of the angle, in (1/sqrt K, 1].
        start_radius: R0, distance of the start from the minimiser.
    """

    num_steps: int
    num_tasks: int
    sharp_constant: float
    sine: float = 0.1
    start_radius: float = 1.0

    def __post_init__(self) -> None:
        if self.sharp_constant < 1:
            raise ValueError(f"`num_tasks` should be at least 9; found {self.num_tasks}")
        if not 1 / math.sqrt(self.num_steps) < self.sine <= 1:
            raise ValueError(f"`sine` should lie in (1/sqrt(num_steps), 1]; found {self.sine}")

    @property
    def domain(self) -> Ball:
        """Ball of radius 2 R0 around 0."""
        return Ball.of(np.zeros(self.num_steps + 1), 2 * self.start_radius)

    @property
    def start(self) -> Float:
        """The starting point (0, v0), ``[K + 1]``."""
        point = np.zeros(self.num_steps + 1)
        point[-1] = self.start_radius / (math.sqrt(self.num_steps) * self.sine)
        return point

    @property
    def hard_radius(self) -> float:
        """Distance in u alone, so that the whole distance is `start_radius`."""
        return math.sqrt(self.start_radius**2 - float(self.start[-1]) ** 2)

    @property
    def cosine(self) -> float:
        """Cosine of the angle."""
        return math.sqrt(1 - self.sine**2)

    @property
    def optimum(self) -> float:
        """Least maximum, at v = 0 and the minimiser of h."""
        return -self.cosine * self.hard_radius / math.sqrt(self.num_steps)

    @property
    def minimizer(self) -> Float:
        """The point ``[K + 1]`` that attains it."""
        point = np.full(self.num_steps + 1, -self.hard_radius / math.sqrt(self.num_steps))
        point[-1] = 0.0
        return point

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        hard = self.cosine * drori_teboulle(theta[..., :-1], self.num_steps, self.hard_radius)
        return np.asarray(hard[..., None] + theta[..., -1:] * self._tilts())

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """The resisting subgradient ``[..., d]`` of the weighted risk."""
        slope = drori_teboulle_subgradient(theta[..., :-1], self.num_steps, self.hard_radius)
        total = np.sum(weights, axis=-1)[..., None]
        tilt = np.sum(weights * self._tilts(), axis=-1)[..., None]
        return np.concatenate([self.cosine * total * slope, tilt], axis=-1)

    def constants(self) -> Constants:
        """L' = 1 exactly, as cos^2 + sin^2 = 1 and c_T >= 1."""
        bound = 4 * self.start_radius
        return Constants(
            lipschitz=1.0, loss_bound=bound, loss_range=2 * bound, exact=frozenset({"lipschitz"})
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """A level for the hard part, and T linear constraints."""
        reach = self.hard_radius * (1 + 1 / math.sqrt(self.num_steps))
        hard = cp.Variable()
        return [
            cp.max(theta[:-1]) <= hard,
            cp.norm2(theta[:-1]) - reach <= hard,
            self.cosine * hard + theta[-1] * self._tilts() <= levels,
        ]

    def dual_bound(self, weights: Float) -> Float:
        """The optimum, less what a tilt of the weighted risk in v can gain on the ball."""
        tilt = np.sum(weights * self._tilts(), axis=-1)
        return np.asarray(
            np.sum(weights, axis=-1) * self.optimum - 2 * self.start_radius * np.abs(tilt)
        )

    def _tilts(self) -> Float:
        tilts = np.full(self.num_tasks, -self.sine / self.sharp_constant)
        tilts[0] = self.sine
        return tilts


def drori_teboulle(x: Float, num_steps: int, radius: float) -> Float:
    """h(x) of `DroriTeboulle` for ``x[..., K]``."""
    reach = radius * (1 + 1 / math.sqrt(num_steps))
    return np.asarray(np.maximum(np.max(x, axis=-1), np.linalg.norm(x, axis=-1) - reach))


def drori_teboulle_subgradient(x: Float, num_steps: int, radius: float) -> Float:
    """Subgradient ``[..., K]`` of h: the lowest maximal coordinate, or the direction of x."""
    reach = radius * (1 + 1 / math.sqrt(num_steps))
    norm = np.linalg.norm(x, axis=-1)
    index = np.argmax(x, axis=-1)
    basis = np.zeros_like(x)
    np.put_along_axis(basis, index[..., None], 1.0, axis=-1)
    outer = norm - reach > np.max(x, axis=-1)
    direction = x / np.where(norm == 0, 1.0, norm)[..., None]
    return np.where(outer[..., None], direction, basis)
