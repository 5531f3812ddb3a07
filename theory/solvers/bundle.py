r"""The level bundle method (Lemaréchal, Nemirovski, Nesterov, 1995) with a cut for every task."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from theory.problems import Problem, jacobian
from theory.schedules import Setting
from theory.solvers.cutting_planes import Cuts, minimize_model, project_to_level
from theory.solvers.inputs import checked_start
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]

LEVEL = 1 - 1 / math.sqrt(2)
r"""Share :math:`\lambda` of the gap above the lower bound: minimises the constant below."""

RESOLUTION = 1e-8
"""Gap at which to stop, in units of D L': two digits above the subproblems' accuracy."""


def level_bundle(
    problem: Problem, setting: Setting, start: Float, checkpoints: Collection[int] = ()
) -> Result:
    r"""Project onto :math:`\{m\le\mathrm{lower}+\lambda\Delta\}`, m the maximum of all cuts so far.

    :math:`\Delta` is the best F so far less the lower bound :math:`\min_\Theta m`.

    *Guarantee.* A step is at least :math:`(1-\lambda)\Delta/L'` long, as m contains the cut of the
    worst task. While :math:`(1-\lambda)\Delta_i\le\Delta_j` the level sets share the minimiser of
    the model :math:`m_j`, and the squared steps of projections add up to at most D². Summing over
    such groups, :math:`K\le D^2L'^2/(\Delta^2(1-\lambda)^2\lambda(2-\lambda))=4D^2L'^2/\Delta^2`.

    Args:
        problem: convex tasks, smooth or not, a single instance.
        setting: K, D and L'.
        start: ``[d]`` in the domain.
        checkpoints: steps to record.

    Returns:
        The result, shorter than K if the gap fell below `RESOLUTION`. Guarantee:
        `theory.bounds.level_bundle`, for the best point less the run's own lower bound.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
        CertificateError: a subproblem could not be solved.
    """
    theta = checked_start(problem, setting, start, needs=("diameter",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    resolution = RESOLUTION * float(setting.diameter * setting.lipschitz)
    cuts: Cuts | None = None
    lower, upper = -math.inf, math.inf
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        recorder.visit(theta, losses)
        new = Cuts(losses, jacobian(recorder.problem, theta), theta)
        cuts = new if cuts is None else cuts.and_also(new)
        _, multipliers = minimize_model(cuts, problem.domain, 0.0)
        lower = max(lower, cuts.lower_bound(multipliers, problem.domain))
        upper = min(upper, float(np.max(losses)))
        recorder.bound(lower)
        if upper - lower <= resolution:
            recorder.reach(k + 1, theta, stop=True)
            break
        theta = project_to_level(cuts.at(theta), problem.domain, lower + LEVEL * (upper - lower))
        recorder.reach(k + 1, theta)
    return recorder.result()
