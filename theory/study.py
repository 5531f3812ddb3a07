"""One call that certifies a problem's optimum and runs Algorithm 1 on it, any `Problem` at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory import bounds
from theory.descent import descend
from theory.optima import CertifiedOptimum, certify
from theory.problems import Problem
from theory.schedules import SCHEDULES, Setting

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    r"""Certified gaps of Algorithm 1 on one problem.

    Attributes:
        name: class name of the problem.
        optimum: certified minimax optimum.
        radius: R0, distance from the start to the certified point.
        steps: the numbers K of iterations, ``[n]``.
        gaps: by schedule, certified intervals of F(average) - F*, ``[n, 2]``, loss units.
        bound: the guarantee 2 R0 L' / sqrt K of Theorem 3.1, ``[n]``.
    """

    name: str
    optimum: CertifiedOptimum
    radius: float
    steps: NDArray[np.int64]
    gaps: dict[str, Float]
    bound: Float


def study(
    problem: Problem,
    start: Float,
    *,
    num_steps: Sequence[int] = (10, 100, 1_000),
    schedules: Sequence[str] = ("paper", "sharpened", "constant", "alpha = 1"),
) -> Study:
    """Certify the optimum of a problem and measure Algorithm 1's gap against it.

    Args:
        problem: a single instance; see `theory.problems.Problem` for what it must say.
        start: theta_0, ``[d]``, in the domain and not optimal.
        num_steps: the numbers K of iterations, each run anew.
        schedules: names from `theory.schedules.SCHEDULES`.

    Returns:
        The study; `figures.study.draw` plots it.

    Raises:
        ValueError: an unknown schedule, or a start that is already optimal (R0 = 0, no step size).
        CertificateError: the optimum could not be certified.
    """
    unknown = set(schedules) - set(SCHEDULES)
    if unknown:
        raise ValueError(f"unknown schedule {sorted(unknown)[0]!r} (known: {', '.join(SCHEDULES)})")
    optimum = certify(problem)
    radius = float(np.linalg.norm(np.asarray(start) - optimum.point))
    if radius == 0:
        raise ValueError("`start` should not be the minimiser itself: with R0 = 0 there is no step")
    gaps: dict[str, list[list[float]]] = {name: [] for name in schedules}
    bound = []
    for steps in num_steps:
        setting = _setting(problem, radius, steps)
        bound.append(float(bounds.theorem_3_1(setting)))
        for name in schedules:
            average = descend(problem, SCHEDULES[name](setting), start).average
            worst = float(np.max(problem.losses(average)))
            gaps[name].append([worst - float(optimum.upper), worst - float(optimum.lower)])
    return Study(
        type(problem).__name__,
        optimum,
        radius,
        np.asarray(num_steps),
        {name: np.asarray(rows) for name, rows in gaps.items()},
        np.asarray(bound),
    )


def _setting(problem: Problem, radius: float, num_steps: int) -> Setting:
    constants = problem.constants()
    return Setting(
        num_tasks=problem.num_tasks,
        num_steps=num_steps,
        radius=radius,
        lipschitz=constants.lipschitz,
        loss_bound=constants.loss_range,
        smoothness=constants.smoothness,
        strong_convexity=constants.strong_convexity,
        diameter=2 * float(problem.domain.radius),
    )
