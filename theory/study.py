"""One call that certifies a problem's optimum and runs Algorithm 1 on it, any `Problem` at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory import bounds
from theory.descent import descend
from theory.optima import CertifiedOptimum, certify
from theory.problems import Problem, jacobian
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
    num_steps: int | Sequence[int] = (10, 100, 1_000),
    schedules: str | Sequence[str] = ("paper", "sharpened", "constant", "alpha = 1"),
) -> Study:
    """Certify the optimum of a problem and measure Algorithm 1's gap against it.

    Args:
        problem: a single instance; see `theory.problems.Problem` for what it must say.
        start: theta_0, ``[d]``, in the domain and not optimal.
        num_steps: the numbers K of iterations, each run anew (or one of them).
        schedules: names (or one) from `theory.schedules.SCHEDULES`.

    Returns:
        The study; `figures.study.draw` plots it.

    Raises:
        ValueError: an unknown schedule, a step number below 1, a start of the wrong shape or one
            that is already optimal (R0 = 0, no step size), a Lipschitz constant that is too small.
        CertificateError: the optimum could not be certified.
    """
    num_steps = [num_steps] if isinstance(num_steps, int) else num_steps
    schedules = [schedules] if isinstance(schedules, str) else schedules
    if not all(steps >= 1 for steps in num_steps):
        raise ValueError(f"`num_steps` should be at least 1; found {num_steps}")
    unknown = set(schedules) - set(SCHEDULES)
    if unknown:
        raise ValueError(f"unknown schedule {sorted(unknown)[0]!r} (known: {', '.join(SCHEDULES)})")
    optimum = certify(problem)
    start = np.asarray(start, dtype=float)
    if start.shape != optimum.point.shape or not np.all(np.isfinite(start)):
        raise ValueError(
            f"`start` should be a finite point of shape {optimum.point.shape}; found {start}"
        )
    _check_lipschitz(problem)
    radius = float(np.linalg.norm(start - optimum.point))
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


def _check_lipschitz(problem: Problem) -> None:
    """Refuse a Lipschitz constant that random gradients exceed: its guarantee would be void."""
    domain = problem.domain
    rng = np.random.default_rng(0)
    moves = rng.standard_normal((32, domain.dim))
    moves *= 0.99 * domain.radius / np.linalg.norm(moves, axis=-1, keepdims=True)
    steepest = float(np.max(np.linalg.norm(jacobian(problem, domain.center + moves), axis=-1)))
    stated = float(problem.constants().lipschitz)
    if steepest > stated * (1 + 1e-9):
        raise ValueError(
            f"`lipschitz` of {type(problem).__name__} should bound every gradient on the domain; "
            f"found {stated:.6g} and a gradient of norm {steepest:.6g}"
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
