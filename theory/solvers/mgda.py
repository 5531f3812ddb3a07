r"""MGDA (Désidéri, 2012): descend all tasks at once, along the shortest convex combination.

Its fixed points are Pareto-stationary, which says nothing about the *maximum* of the tasks: the
minimiser of any single task is one.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from theory.problems import Problem, jacobian
from theory.schedules import Setting
from theory.solvers.cutting_planes import Cuts, minimize_model
from theory.solvers.inputs import checked_start
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def mgda(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Minimise :math:`\max_t\langle\nabla f_t(x),\theta-x\rangle+\frac L2\|\theta-x\|^2`.

    Away from the boundary this is Désidéri's step :math:`-d/L` along the shortest vector d of the
    convex hull of the gradients; the ball enters as in projected gradient descent. It is the
    prox-linear step *without* the values of the tasks, so that every task falls by at least
    :math:`\frac L2\|x^+-x\|^2` and the tasks' ranking is ignored.

    Args:
        problem: smooth tasks, a single instance.
        setting: K and L > 0.
        start: ``[d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result. Guarantee: no task ever rises; there is none for the gap.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`; L = 0, where no step is defined.
        CertificateError: a subproblem could not be solved.
    """
    theta = checked_start(problem, setting, start, needs=("smoothness",))
    if not setting.smoothness > 0:
        raise ValueError("`smoothness` should be positive; MGDA has no step size for linear tasks")
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        gradients = jacobian(recorder.problem, theta)
        recorder.visit(theta, losses)
        theta = _step(problem, theta, gradients, float(setting.smoothness))
        recorder.reach(k + 1, theta)
    return recorder.result()


def _step(problem: Problem, theta: Float, gradients: Float, smoothness: float) -> Float:
    """The next point ``[d]``; the ball matters only where the unconstrained step leaves it."""
    moved = theta - shortest_combination(gradients) / smoothness
    if np.linalg.norm(moved - problem.domain.center) <= problem.domain.radius:
        return np.asarray(moved)
    cuts = Cuts(np.zeros(len(gradients)), gradients, theta)
    return minimize_model(cuts, problem.domain, smoothness)[0]


def shortest_combination(gradients: Float) -> Float:
    r"""The shortest vector ``[d]`` of the convex hull of the rows of ``gradients[T, d]``.

    Nonnegative least squares of :math:`\|G^\top\mu\|^2+(1-\sum_t\mu_t)^2`: for
    :math:`\mu=s\lambda` the best s leaves :math:`\|d\|^2/(1+\|d\|^2)`, which is least where
    :math:`d=G^\top\lambda` is shortest. The active-set method is exact but for rounding.
    """
    longest = float(np.max(np.linalg.norm(gradients, axis=1)))
    if longest == 0:
        return np.zeros(gradients.shape[1])
    rows = np.vstack([gradients.T / longest, np.ones(len(gradients))])
    scaled, _ = optimize.nnls(rows, np.append(np.zeros(gradients.shape[1]), 1.0))
    return np.asarray(scaled / np.sum(scaled) @ gradients)
