r"""Projected gradient descent-ascent on :math:`\min_\Theta\max_{\Delta}\sum_tw_tf_t(\theta)`."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def gradient_descent_ascent(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Simultaneous steps, :math:`w^+=\Pi_\Delta(w+\eta_wf(\theta))` from uniform weights.

    :math:`\eta=R_0/(L'\sqrt K)`, :math:`\eta_w=2\sqrt{1-1/T}/(B\sqrt{TK})`. No vertex is further
    than :math:`\sqrt{1-1/T}` from the uniform weights, and since the projection ignores a constant
    added to all risks the ascent direction counts with length :math:`B\sqrt T/2` at most. Only the
    average converges: the iterates may circle around the saddle point.

    Args:
        problem: one instance or a batch.
        setting: K, T, R0, L' and B, the range of the risks.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result. Guarantee: `theory.bounds.gradient_descent_ascent` for the average.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start, needs=("loss_bound",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    tasks, root = problem.num_tasks, math.sqrt(setting.num_steps)
    step_size = column(setting.radius / (setting.lipschitz * root))
    rate = column(2 * math.sqrt((1 - 1 / tasks) / tasks) / (root * np.asarray(setting.loss_bound)))
    weights = np.full((*theta.shape[:-1], tasks), 1 / tasks)
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        gradient = recorder.problem.weighted_gradient(theta, weights)
        recorder.visit(theta, losses, weights, gradient)
        theta = problem.domain.project(theta - step_size * gradient)
        weights = project_to_simplex(weights + rate * losses)
        recorder.reach(k + 1, theta)
    return recorder.result()


def project_to_simplex(vectors: Float) -> Float:
    """Euclidean projection of ``vectors[..., T]`` onto the probability simplex, by sorting."""
    ordered = -np.sort(-vectors, axis=-1)
    surplus = np.cumsum(ordered, axis=-1) - 1
    counts = np.arange(1, vectors.shape[-1] + 1)
    support = np.sum(ordered * counts > surplus, axis=-1, keepdims=True)
    threshold = np.take_along_axis(surplus, support - 1, axis=-1) / support
    return np.asarray(np.maximum(vectors - threshold, 0.0))
