r"""Accelerated gradient descent on the smooth maximum :math:`F_\alpha` (B2), batched.

:math:`\nabla F_\alpha = \sum_t w_t\nabla f_t` with the weights of Eq. (7), so that every step costs
what a step of Algorithm 1 costs: T losses and one weighted gradient.
"""

import math

import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import softmax_weights
from theory.problems import Problem
from theory.schedules import Setting

Float = NDArray[np.float64]


def accelerated(problem: Problem, setting: Setting, start: Float) -> Float:
    r"""Smoothed acceleration for convex tasks; all points stay in the domain (Tseng, 2008).

    With :math:`\tau_k=2/(k+2)`: :math:`y=(1-\tau)x+\tau z`,
    :math:`z^+=\Pi(z-\nabla F_\alpha(y)/(\tau L_\alpha))`, :math:`x^+=(1-\tau)x+\tau z^+`, at
    :math:`\alpha=(K+1)\sqrt{\log T/2}/(L'R_0)`. Guarantee: `theory.bounds.accelerated`.

    Args:
        problem: smooth tasks, one instance or a batch.
        setting: K, R0, L', L and T (at least 2).
        start: ``[..., d]`` in the domain.

    Returns:
        The last iterate x_K, ``[..., d]``.
    """
    scale = np.asarray(setting.lipschitz * setting.radius, dtype=float)
    alpha = (setting.num_steps + 1) * math.sqrt(math.log(setting.num_tasks) / 2) / scale
    curvature = (setting.smoothness + alpha * np.asarray(setting.lipschitz) ** 2)[..., None]
    return minimize_smoothed(problem, alpha, curvature, start, setting.num_steps)


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
    x = z = start
    for k in range(num_steps):
        tau = 2 / (k + 2)
        y = (1 - tau) * x + tau * z
        z = problem.domain.project(z - _gradient(problem, alpha, y) / (tau * curvature))
        x = (1 - tau) * x + tau * z
    return x


def strongly_convex_accelerated(
    problem: Problem, setting: Setting, alpha: Float, start: Float
) -> Float:
    r"""Smoothed acceleration for strongly convex tasks, with :math:`q=\mu/(L+\alpha L'^2)`.

    :math:`y=(x+\sqrt q v)/(1+\sqrt q)`,
    :math:`v^+=\Pi((1-\sqrt q)v+\sqrt q y-(\sqrt q/\mu)\nabla F_\alpha(y))`,
    :math:`x^+=(1-\sqrt q)x+\sqrt q v^+`. The energy
    :math:`F_\alpha(x)-F_\alpha(u)+\frac\mu2\|v-u\|^2` shrinks by :math:`1-\sqrt q` a step for every
    u of the domain. Guarantee: `theory.bounds.strongly_convex_accelerated`.

    Args:
        problem: smooth strongly convex tasks, one instance or a batch.
        setting: K, R0, L', L and mu.
        alpha: sharpness ``[...]``.
        start: ``[..., d]`` in the domain.

    Returns:
        The last iterate x_K, ``[..., d]``.
    """
    modulus = np.asarray(setting.strong_convexity)[..., None]
    curvature = np.asarray(setting.smoothness + alpha * setting.lipschitz**2)[..., None]
    root = np.sqrt(modulus / curvature)
    x = v = start
    for _ in range(setting.num_steps):
        y = (x + root * v) / (1 + root)
        middle = (1 - root) * v + root * y
        v = problem.domain.project(middle - (root / modulus) * _gradient(problem, alpha, y))
        x = (1 - root) * x + root * v
    return x


def _gradient(problem: Problem, alpha: Float, theta: Float) -> Float:
    """Gradient of the smooth maximum."""
    weights = softmax_weights(problem.losses(theta), alpha, validate=False)
    return problem.weighted_gradient(theta, weights)
