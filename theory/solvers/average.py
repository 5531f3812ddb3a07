"""Gradient descent on the average objective (4): what minimax training is compared with."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def average_descent(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Projected gradient descent on the mean risk, Algorithm 1 with :math:`\alpha=0`.

    The step size is 1/L for smooth tasks, :math:`R_0/(L'\sqrt K)` where L is 0 or unknown.

    *What it means for F.* For nonnegative risks and any u, :math:`F(\theta_K)\le
    T\bar f(\theta_K)\le T(\bar f(u)+LR_0^2/(2K))\le T(F(u)+LR_0^2/(2K))`; the factor T is
    approached.

    Args:
        problem: one instance or a batch.
        setting: K, T, R0, L' and L.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result. Guarantee for the *mean* risk of the last point:
        `theory.bounds.gradient_descent`.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start)
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    smoothness = np.asarray(setting.smoothness, dtype=float)
    smooth = (smoothness > 0) & np.isfinite(smoothness)
    rough = setting.radius / (setting.lipschitz * math.sqrt(setting.num_steps))
    step_size = column(np.where(smooth, 1 / np.where(smooth, smoothness, 1.0), rough))
    weights = np.full((*theta.shape[:-1], problem.num_tasks), 1 / problem.num_tasks)
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        gradient = recorder.problem.weighted_gradient(theta, weights)
        recorder.visit(theta, losses, weights, gradient)
        theta = problem.domain.project(theta - step_size * gradient)
        recorder.reach(k + 1, theta)
    return recorder.result()
