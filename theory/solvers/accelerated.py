r"""Accelerated gradient descent on the smooth maximum :math:`F_\alpha` (B2), batched.

:math:`\nabla F_\alpha = \sum_t w_t\nabla f_t` with the weights of Eq. (7), so that every step costs
what a step of Algorithm 1 costs: T losses and one weighted gradient.
"""

import math
from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import softmax_weights
from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]

FIRST_STAGE = 7
"""Steps of the first stage of `continuation`."""


def accelerated(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Smoothed acceleration for convex tasks; all points stay in the domain (Tseng, 2008).

    With :math:`\tau_k=2/(k+2)`: :math:`y=(1-\tau)x+\tau z`,
    :math:`z^+=\Pi(z-\nabla F_\alpha(y)/(\tau L_\alpha))`, :math:`x^+=(1-\tau)x+\tau z^+`, at
    :math:`\alpha=(K+1)\sqrt{\log T/2}/(L'R_0)`.

    Args:
        problem: smooth tasks, one instance or a batch.
        setting: K, R0, L', L and T (1 counts as 2).
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result; average and best are over the points y. Guarantee for the last point:
        `theory.bounds.accelerated`.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start, needs=("smoothness",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    alpha = _sharpness(setting, setting.num_steps, setting.radius)
    steps = _steps(recorder, alpha, _curvature(setting, alpha), theta)
    for k in range(setting.num_steps):
        recorder.reach(k + 1, next(steps))
    return recorder.result()


def continuation(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Restarted acceleration, with sharpness and stage length doubling: no R0, no horizon.

    Stage i has :math:`n_i=8\cdot2^i-1` steps of `accelerated` from where the one before ended, with
    the diameter D in place of R0. The last point of a complete stage has the guarantee of
    `accelerated` for :math:`K=n_i`, :math:`R_0=D`; the next stage evaluates it in its first step,
    so that from then on the best point has it too. K > 7 steps contain a complete stage of at least
    K/4 steps.

    Args:
        problem: smooth tasks, one instance or a batch.
        setting: K, D, L', L and T (1 counts as 2).
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result; average and best are over the points y. Guarantee for the best point:
        `theory.bounds.accelerated` of the longest stage that `complete_stage` finds.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    x = checked_start(problem, setting, start, needs=("smoothness", "diameter"))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    made, length = 0, FIRST_STAGE
    while made < setting.num_steps:
        alpha = _sharpness(setting, length, setting.diameter)
        stage = _steps(recorder, alpha, _curvature(setting, alpha), x)
        for _ in range(min(length, setting.num_steps - made)):
            x = next(stage)
            made += 1
            recorder.reach(made, x)
        length = 2 * length + 1
    return recorder.result()


def complete_stage(num_steps: int) -> int:
    """Steps of the longest stage whose end `continuation` has evaluated within K steps; or 0."""
    length, made, longest = FIRST_STAGE, FIRST_STAGE, 0
    while made < num_steps:
        longest, length = length, 2 * length + 1
        made += length
    return longest


def minimize_smoothed(
    problem: Problem, alpha: Float, curvature: Float, start: Float, num_steps: int
) -> Float:
    r"""Accelerated descent on :math:`F_\alpha` for a given sharpness.

    Args:
        problem: smooth tasks, one instance or a batch.
        alpha: sharpness ``[...]``.
        curvature: Lipschitz constant of the gradient of the smooth maximum, ``[..., 1]``.
        start: ``[..., d]`` in the domain.
        num_steps: K.

    Returns:
        The last iterate, with :math:`F_\alpha(x_K)-F_\alpha(u) \le 2L_\alpha\|x_0-u\|^2/(K+1)^2`.
    """
    steps = _steps(Recorder(problem, num_steps), alpha, curvature, start)
    x = start
    for _ in range(num_steps):
        x = next(steps)
    return x


def strongly_convex_accelerated(
    problem: Problem,
    setting: Setting,
    alpha: Float,
    start: Float,
    checkpoints: Collection[int] = (),
) -> Result:
    r"""Smoothed acceleration for strongly convex tasks, with :math:`q=\mu/(L+\alpha L'^2)`.

    :math:`y=(x+\sqrt q v)/(1+\sqrt q)`,
    :math:`v^+=\Pi((1-\sqrt q)v+\sqrt q y-(\sqrt q/\mu)\nabla F_\alpha(y))`,
    :math:`x^+=(1-\sqrt q)x+\sqrt q v^+`. The energy
    :math:`F_\alpha(x)-F_\alpha(u)+\frac\mu2\|v-u\|^2` shrinks by :math:`1-\sqrt q` a step for every
    u of the domain.

    Args:
        problem: smooth strongly convex tasks, one instance or a batch.
        setting: K, R0, L', L and mu.
        alpha: sharpness ``[...]``.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result; average and best are over the points y. Guarantee for the last point:
        `theory.bounds.strongly_convex_accelerated`.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    x = v = checked_start(problem, setting, start, needs=("smoothness", "strong_convexity"))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    modulus = column(setting.strong_convexity)
    root = np.sqrt(modulus / _curvature(setting, alpha))
    for k in range(setting.num_steps):
        y = (x + root * v) / (1 + root)
        middle = (1 - root) * v + root * y
        v = problem.domain.project(middle - (root / modulus) * _gradient(recorder, alpha, y))
        x = (1 - root) * x + root * v
        recorder.reach(k + 1, x)
    return recorder.result()


def _steps(recorder: Recorder, alpha: Float, curvature: Float, start: Float) -> Iterator[Float]:
    """The points x of accelerated descent on the smooth maximum, without end."""
    x = z = start
    k = 0
    while True:
        tau = 2 / (k + 2)
        y = (1 - tau) * x + tau * z
        step = _gradient(recorder, alpha, y) / (tau * curvature)
        z = recorder.problem.domain.project(z - step)
        x = (1 - tau) * x + tau * z
        k += 1
        yield x


def _sharpness(setting: Setting, num_steps: int, radius: Float) -> Float:
    """The sharpness that balances smoothing error and curvature over `num_steps`, ``[...]``."""
    scale = np.asarray(setting.lipschitz * radius, dtype=float)
    return np.asarray((num_steps + 1) * math.sqrt(math.log(max(setting.num_tasks, 2)) / 2) / scale)


def _curvature(setting: Setting, alpha: Float) -> Float:
    """Curvature L + alpha L'^2 of the smooth maximum, ``[..., 1]``."""
    return column(setting.smoothness + alpha * np.asarray(setting.lipschitz) ** 2)


def _gradient(recorder: Recorder, alpha: Float, theta: Float) -> Float:
    """Gradient of the smooth maximum."""
    losses = recorder.problem.losses(theta)
    weights = softmax_weights(losses, alpha, validate=False)
    gradient = recorder.problem.weighted_gradient(theta, weights)
    recorder.visit(theta, losses, weights, gradient)
    return gradient
