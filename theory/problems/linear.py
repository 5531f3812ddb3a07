"""Linear tasks: their maximum is the piecewise linear convex function (family 1 of the testbed)."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from theory.problems.base import Ball, Constants, ConvexProblem, Float, check_shape


@dataclass(frozen=True)
class MaxLinear(ConvexProblem):
    r"""Tasks :math:`f_t(\theta) = a_t^\top\theta + b_t` on a ball. All constants are exact.

    Attributes:
        slopes: a, ``[..., T, d]``.
        offsets: b, ``[..., T]``.
    """

    slopes: Float
    offsets: Float

    def __post_init__(self) -> None:
        check_shape("slopes", self.slopes, (None, self.domain.dim), self.batch_shape)
        check_shape("offsets", self.offsets, (self.slopes.shape[-2],), self.batch_shape)

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.offsets.shape[-1])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        return np.asarray((self.slopes @ theta[..., None])[..., 0] + self.offsets)

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the weighted risk; it does not depend on ``theta``."""
        del theta
        return np.asarray((weights[..., None, :] @ self.slopes)[..., 0, :])

    def constants(self) -> Constants:
        """Exact constants: lengths of the slopes and values at the poles of the ball."""
        length = np.linalg.norm(self.slopes, axis=-1)
        middle = self.losses(self.domain.center)
        swing = self.domain.radius[..., None] * length
        highest = np.max(middle + swing, axis=-1)
        return Constants(
            lipschitz=np.max(length, axis=-1),
            smoothness=np.zeros(self.batch_shape),
            strong_convexity=np.zeros(self.batch_shape),
            loss_bound=highest,
            loss_range=highest - np.min(middle - swing, axis=-1),
            exact=frozenset(
                {"lipschitz", "smoothness", "strong_convexity", "loss_bound", "loss_range"}
            ),
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Linear constraints of a single instance."""
        return [self.slopes @ theta + self.offsets <= levels]

    def dual_bound(self, weights: Float) -> Float:
        r"""Exact minimum of the weighted risk: :math:`w^\top b+c^\top A^\top w-R\|A^\top w\|`."""
        return np.asarray(
            np.sum(weights * self.offsets, axis=-1)
            + self.domain.min_linear(self.weighted_gradient(self.domain.center, weights))
        )


def two_slope(num_tasks: int, sharp_constant: float, radius: float = 4.0) -> MaxLinear:
    r"""The two-slope instance of A6: :math:`f_1=\theta,\ f_2=\dots=f_T=-\theta/c_T` on [-R, R].

    The minimiser of the smooth maximum is :math:`c_T/\alpha`, where the softmax gap is extremal, so
    a constant sharpness is biased by exactly :math:`c_T/\alpha` (inside the domain).

    Args:
        num_tasks: T >= 2.
        sharp_constant: c_T.
        radius: R, in units of theta.

    Returns:
        A single instance with minimax optimum 0 at 0.
    """
    slopes = np.full((num_tasks, 1), -1 / sharp_constant)
    slopes[0] = 1.0
    return MaxLinear(Ball.of(np.zeros(1), radius), slopes, np.zeros(num_tasks))


def absolute_pair(
    steepness: float, num_tasks: int, first: float = 0.0, others: float = 0.0
) -> MaxLinear:
    r"""Tasks :math:`A|\theta-1|` and, T - 1 times, :math:`|\theta|`: linear on their domain [0, 1].

    The ratio of the worst risk at the average and at the minimax point is A + 1 for A < T - 1.

    Args:
        steepness: A > 0.
        num_tasks: T >= 2.
        first: constant added to the first task.
        others: constant added to the other tasks.

    Returns:
        A single instance.
    """
    slopes, offsets = np.ones((num_tasks, 1)), np.full(num_tasks, others)
    slopes[0], offsets[0] = -steepness, steepness + first
    return MaxLinear(Ball.of(np.array([0.5]), 0.5), slopes, offsets)
