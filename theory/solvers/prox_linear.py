r"""Prox-linear steps: the maximum of linearised tasks plus a proximal term, minimised exactly."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from theory.problems import Problem, jacobian
from theory.schedules import Setting
from theory.solvers.cutting_planes import Cuts, minimize_model
from theory.solvers.inputs import checked_start
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def prox_linear(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Minimise :math:`\max_t(f_t(x)+\langle\nabla f_t(x),\theta-x\rangle)+\frac L2\|\theta-x\|^2`.

    The model is L-strongly convex, above F by smoothness and below
    :math:`F+\frac L2\|\cdot-x\|^2` by convexity; hence :math:`F(x^+)+\frac L2\|u-x^+\|^2\le
    F(u)+\frac L2\|u-x\|^2` for every u of the domain. For linear tasks it is F itself: one step.

    Args:
        problem: smooth tasks, a single instance.
        setting: K and L.
        start: ``[d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result. Guarantee for the last point: `theory.bounds.gradient_descent`, and F falls in
        every step.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
        CertificateError: a subproblem could not be solved.
    """
    theta = checked_start(problem, setting, start, needs=("smoothness",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        cuts = Cuts(losses, jacobian(recorder.problem, theta), theta)
        recorder.visit(theta, losses)
        theta, multipliers = minimize_model(cuts, problem.domain, float(setting.smoothness))
        recorder.bound(cuts.lower_bound(multipliers, problem.domain))
        recorder.reach(k + 1, theta)
    return recorder.result()
