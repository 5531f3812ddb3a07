r"""Projected subgradient descent on the hard maximum F, with constant or Polyak's step size.

A subgradient of F is the gradient of any task that attains the maximum; ties are split evenly.
"""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskrobust.weights import softmax_weights
from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def subgradient(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Constant step size :math:`R_0/(L'\sqrt K)`.

    Args:
        problem: one instance or a batch.
        setting: K, T, R0 and L'.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result. Guarantee: `theory.bounds.subgradient` for the average and for the best point.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start)
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    step_size = column(setting.radius / (setting.lipschitz * math.sqrt(setting.num_steps)))
    for k in range(setting.num_steps):
        _, gradient = _subgradient(recorder, theta)
        theta = problem.domain.project(theta - step_size * gradient)
        recorder.reach(k + 1, theta)
    return recorder.result()


def polyak(
    problem: Problem,
    setting: Setting,
    start: Float,
    checkpoints: Collection[int] = (),
    *,
    target: ArrayLike,
) -> Result:
    r"""Polyak's step size :math:`(F(\theta_k)-\hat F)_+/\|g_k\|^2`, for a known optimum.

    If :math:`\hat F=F(u)` for a point u of the domain,
    :math:`\|\theta_{k+1}-u\|^2\le\|\theta_k-u\|^2-(F(\theta_k)-\hat F)_+^2/\|g_k\|^2`, so that an
    upper bound of the optimum serves as well as the optimum itself.

    Args:
        problem: one instance or a batch.
        setting: K and T; R0 and L' only for the guarantee.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.
        target: :math:`\hat F`, ``[...]``, at least F*.

    Returns:
        The result. Guarantee: the best point exceeds the target by at most
        `theory.bounds.subgradient`.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start)
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    for k in range(setting.num_steps):
        losses, gradient = _subgradient(recorder, theta)
        excess = np.maximum(np.max(losses, axis=-1) - target, 0.0)
        steepness = np.sum(gradient * gradient, axis=-1)
        # a zero subgradient is at the optimum, where the excess is 0 but for rounding
        step_size = np.where(steepness > 0, excess / np.where(steepness > 0, steepness, 1.0), 0.0)
        theta = problem.domain.project(theta - step_size[..., None] * gradient)
        recorder.reach(k + 1, theta)
    return recorder.result()


def _subgradient(recorder: Recorder, theta: Float) -> tuple[Float, Float]:
    """Task risks ``[..., T]`` and a subgradient ``[..., d]`` of their maximum."""
    losses = recorder.problem.losses(theta)
    weights = softmax_weights(losses, math.inf, validate=False)
    gradient = recorder.problem.weighted_gradient(theta, weights)
    recorder.visit(theta, losses, weights, gradient)
    return losses, gradient
