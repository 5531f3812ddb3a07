r"""Mirror-prox (Nemirovski, 2004): extragradient, Euclidean in theta, entropic in the weights.

In the norm :math:`\|\theta\|^2/R_0^2+\|w\|_1^2/(2\log T)` the saddle operator
:math:`(\sum_tw_t\nabla f_t,-f)` has Lipschitz constant at most the largest eigenvalue
:math:`\Lambda=\frac12(p+\sqrt{p^2+4q^2})` of the matrix with rows (p, q) and (q, 0),
:math:`p=LR_0^2`, :math:`q=L'R_0\sqrt{2\log T}`. The prox-function is
:math:`\frac{\|\theta-\theta_0\|^2}{2R_0^2}+\frac{\sum_tw_t\log w_t}{2\log T}`, its divergence from
the start to any (u, w) with :math:`\|u-\theta_0\|\le R_0` at most :math:`\frac12+\frac12=1`; hence
:math:`F(\bar\theta)-F(u)\le\Lambda/K`.
"""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import softmax_weights
from theory import bounds
from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def mirror_prox(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Extragradient steps of size :math:`1/\Lambda` (see above); two oracle calls a step.

    Args:
        problem: smooth tasks, one instance or a batch.
        setting: K, T (1 counts as 2), R0, L' and L.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result, with average, best and lower bound of the extrapolated points. Guarantee:
        `theory.bounds.mirror_prox` for the average, at every checkpoint.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start, needs=("smoothness",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    constant = bounds.mirror_prox_constant(setting)
    step_size = column(np.asarray(setting.radius) ** 2 / constant)
    rate = column(2 * math.log(max(setting.num_tasks, 2)) / constant)
    logits = np.zeros((*theta.shape[:-1], problem.num_tasks))
    for k in range(setting.num_steps):
        losses, gradient = _operator(recorder, theta, logits)
        ahead = problem.domain.project(theta - step_size * gradient)
        losses, gradient = _operator(recorder, ahead, logits + rate * losses, average=True)
        theta = problem.domain.project(theta - step_size * gradient)
        logits = logits + rate * losses
        recorder.reach(k + 1, theta)
    return recorder.result()


def _operator(
    recorder: Recorder, theta: Float, logits: Float, *, average: bool = False
) -> tuple[Float, Float]:
    """Task risks ``[..., T]`` and weighted gradient ``[..., d]`` at (theta, softmax(logits))."""
    weights = softmax_weights(logits, 1.0, validate=False)
    losses = recorder.problem.losses(theta)
    gradient = recorder.problem.weighted_gradient(theta, weights)
    if average:
        recorder.visit(theta, losses, weights, gradient)
    return losses, gradient
