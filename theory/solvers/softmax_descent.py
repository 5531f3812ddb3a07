"""Algorithm 1 as one of the peers: `theory.descent` with counts and history."""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from theory import schedules
from theory.descent import Iterate, descend
from theory.problems import Problem
from theory.schedules import Schedule, Setting
from theory.solvers.inputs import checked_start
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def softmax_descent(
    problem: Problem,
    setting: Setting,
    start: Float,
    checkpoints: Collection[int] = (),
    *,
    schedule: Callable[[Setting], Schedule] = schedules.sharpened,
) -> Result:
    """Softmax weighted gradient descent (Algorithm 1), by default with the schedule of A3.

    Args:
        problem: one instance or a batch.
        setting: what the schedule needs; K, T, R0 and L' for the default.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.
        schedule: from `theory.schedules`.

    Returns:
        The result. Guarantee: `theory.bounds.theorem_3_1` for the average.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start)
    plan = schedule(setting)
    recorder = Recorder(problem, setting.num_steps, checkpoints)

    def visit(iterate: Iterate) -> None:
        # The callback sees theta_k before its step, which is where k steps have led.
        if iterate.step:
            recorder.reach(iterate.step, iterate.theta)
        share = plan.averaging[iterate.step]
        recorder.visit(iterate.theta, iterate.losses, iterate.weights, iterate.gradient, share)

    run = descend(recorder.problem, plan, theta, callback=visit)
    recorder.reach(setting.num_steps, run.last)
    return recorder.result()
