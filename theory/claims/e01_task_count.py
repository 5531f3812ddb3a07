r"""E1: how the softmax approximation degrades as the number T of tasks grows.

The worst case is :math:`c_T/\alpha` with :math:`c_T=W((T-1)/e)` (A4, A6), and grows like a
logarithm: for :math:`x=(T-1)/e\ge e` (Hoorfar and Hassani, 2008),

.. math:: \log x-\log\log x+\frac{\log\log x}{2\log x}\le c_T\le
          \log x-\log\log x+\frac e{e-1}\frac{\log\log x}{\log x}.

From 2 to :math:`10^4` tasks it grows 22.8-fold. It is attained, at every T, where one task is
opposed by T - 1 that agree. It is not the rule: losses spread evenly below their maximum cost at
most :math:`1/\alpha` whatever T. *Proof.* With spacing u and :math:`x=\alpha u` the gap times alpha
is :math:`\frac x{e^x-1}-\frac{Tx}{e^{Tx}-1}\le1`.

A schedule that knows T keeps the bound :math:`2R_0L'/\sqrt K` of Theorem 3.1 at every T; sharpness
chosen for two tasks does not: its bias is :math:`c_T/c_2` times half of that bound, and
:math:`c_T>2c_2` from four tasks on.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq

from taskrobust.schedules import constant_alpha, sharp_constant
from taskrobust.weights import softmax_gap, softmax_weights
from theory import bounds
from theory.claims.base import Claim
from theory.descent import descend
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import CertifiedOptimum, certify
from theory.problems import Float, MaxLinear, starting_points, two_slope
from theory.problems.generate import max_linear
from theory.schedules import SCHEDULES, Schedule, Setting
from theory.solvers.accelerated import minimize_smoothed
from theory.testbed import Context

_COUNTS = (2, 3, 10, 100, 1_000, 10_000)
_STEPS = 300


def checks(context: Context) -> Iterator[Check]:
    """The constant, losses alone, minimisers of the smooth maximum, and Algorithm 1."""
    yield from _growth()
    yield _two_slopes()
    yield _even_spacing()
    yield _random_losses(context)
    problems = _random_problems(context)
    yield _random_minimizers(problems)
    yield from _schedules(problems, context)


def _growth() -> Iterator[Check]:
    """c_T between two elementary functions."""
    below, above = [], []
    for tasks in (9, 10, 30, 100, 1_000, 10_000, 10**6, 10**9):
        x = (tasks - 1) / math.e
        first, second = math.log(x), math.log(math.log(x))
        value, witness = sharp_constant(tasks), f"T={tasks}"
        lowest = first - second + second / (2 * first)
        highest = first - second + math.e / (math.e - 1) * second / first
        below.append(Measurement.value(value, lowest, witness))
        above.append(Measurement.value(value, highest, witness))
    statement = "c_T ≥ log x−loglog x+½loglog x/log x"
    yield holds("growth, least", statement, ">=", below, corrected=True)
    statement = "c_T ≤ the same with 1.582 in place of ½"
    yield holds("growth, most", statement, "<=", above, corrected=True)


def _two_slopes() -> Check:
    """Bias of the smooth maximum's minimiser, found as a root, at every T."""
    measured = []
    for tasks in _COUNTS:
        for alpha in (1.0, 20.0):
            bound = float(bounds.softmax_gap(tasks, alpha))
            problem = two_slope(tasks, sharp_constant(tasks), radius=10.0)
            root = brentq(_slope, -1e-9, 9.0, args=(problem, alpha), xtol=1e-15, rtol=1e-14)
            gap = float(np.max(problem.losses(np.array([root]))))  # the optimum is 0
            witness = f"one against T−1={tasks - 1}, α={alpha:g}, root of F_α'"
            measured.append(Measurement.value(gap, bound, witness, tolerance=1e-9 * bound))
    statement = "F(θ_α)−F* = c_T/α, T from 2 to 10⁴"
    return holds("one opposed", statement, "==", measured, corrected=True)


def _slope(theta: float, problem: MaxLinear, alpha: float) -> float:
    """Derivative of the smooth maximum in one dimension."""
    point = np.array([theta])
    return float(problem.weighted_gradient(point, softmax_weights(problem.losses(point), alpha))[0])


def _even_spacing() -> Check:
    """Losses 0, -u, ..., -(T-1)u for u from far below to far above 1/alpha."""
    measured = []
    for tasks in _COUNTS:
        spacing = np.geomspace(1e-6, 10, 57)
        gap = softmax_gap(-spacing[:, None] * np.arange(tasks), 1.0)
        place = int(np.argmax(gap))
        witness = f"T={tasks}, largest at αu={spacing[place]:.3g} of 57"
        measured.append(Measurement.value(gap[place], 1.0, witness))
    statement = "even spacing: α(max f−Σwf) ≤ 1, any T"
    return holds("even spacing", statement, "<=", measured, corrected=True)


def _random_losses(context: Context) -> Check:
    """Independent losses at the least favourable sharpness of a grid."""
    rng = context.rng("E1 losses")
    alpha = np.geomspace(0.1, 100, 21)[:, None]
    measured = []
    for tasks in _counts(context):
        count = max(1, 6_000 // tasks)
        for name, losses in (
            ("normal", rng.standard_normal((count, tasks))),
            ("uniform", rng.random((count, tasks))),
            ("heavy-tailed", rng.standard_t(2, (count, tasks))),
        ):
            ratio = softmax_gap(losses, alpha) * alpha
            sharpness, row = np.unravel_index(np.argmax(ratio), ratio.shape)
            place = f"worst of {count} vectors and 21 α: α={float(alpha[sharpness, 0]):.3g}"
            witness = f"T={tasks}, {name}, {place}"
            measured.append(
                Measurement.value(ratio[sharpness, row], sharp_constant(tasks), witness)
            )
    statement = "random f, worst α: α(max f−Σwf) ≤ c_T"
    return holds("random losses", statement, "<=", measured, corrected=True)


def _random_problems(context: Context) -> list[tuple[MaxLinear, CertifiedOptimum]]:
    """One random linear problem in five dimensions for each T."""
    rng = context.rng("E1 problems")
    found = []
    for tasks in _counts(context):
        context.note(f"E1 random linear tasks, T={tasks}")
        problem = max_linear(rng, 1, tasks, 5)[0]
        found.append((problem, certify(problem)))
    return found


def _counts(context: Context) -> list[int]:
    return [t for t in _COUNTS if t <= context.effort.max_tasks]


def _random_minimizers(problems: list[tuple[MaxLinear, CertifiedOptimum]]) -> Check:
    """Bias of near-minimisers of F_alpha, whose own inaccuracy is added to the bound."""
    measured = []
    for problem, best in problems:
        tasks = problem.num_tasks
        for alpha in (1.0, 10.0):
            curvature = np.asarray(alpha * problem.constants().lipschitz ** 2)[..., None]
            start = problem.domain.center
            point = minimize_smoothed(problem, np.asarray(alpha), curvature, start, 200)
            gradient = problem.weighted_gradient(
                point, softmax_weights(problem.losses(point), alpha)
            )
            stationarity = float(gradient @ point - problem.domain.min_linear(gradient))
            bound = float(bounds.softmax_gap(tasks, alpha)) + stationarity
            worst = float(np.max(problem.losses(point)))
            low, high = worst - float(best.upper), worst - float(best.lower)
            witness = f"random linear, T={tasks}, d=5, α={alpha:g}"
            measured.append(Measurement(low, high, bound, witness))
    statement = "F(θ_α)−F* ≤ c_T/α, random linear tasks"
    return holds("random tasks", statement, "<=", measured, corrected=True)


def _schedules(
    problems: list[tuple[MaxLinear, CertifiedOptimum]], context: Context
) -> Iterator[Check]:
    """Algorithm 1 with sharpness that knows T, and with that of two tasks."""
    aware, blind = [], []
    for tasks in _COUNTS:
        problem = two_slope(tasks, sharp_constant(tasks))
        start = np.array([2.0])
        setting = Setting(tasks, _STEPS, 2.0, problem.constants().lipschitz)
        witness = f"one against T−1={tasks - 1}, K={_STEPS}, θ_0=2"
        bound = float(bounds.theorem_3_1(setting))
        gap = _gap(problem, SCHEDULES["constant"](setting), start)
        aware.append(Measurement.value(gap, bound, witness))
        if tasks >= 10:
            gap = _gap(problem, _for_two_tasks(setting), start)
            blind.append(Measurement.value(gap, bound, witness))
    for problem, best in problems:
        tasks, start = problem.num_tasks, starting_points(problem, context.rng("E1 start"))
        radius = float(np.linalg.norm(start - best.point))
        setting = Setting(tasks, _STEPS, radius, problem.constants().lipschitz)
        value = _gap(problem, SCHEDULES["sharpened"](setting), start)
        low, high = value - float(best.upper), value - float(best.lower)
        witness = f"random linear, T={tasks}, d=5, K={_STEPS}"
        aware.append(Measurement(low, high, float(bounds.theorem_3_1(setting)), witness))
    statement = "F(θ̄_K)−F* ≤ 2R0L'/√K, α for T tasks"
    yield holds("α knows T", statement, "<=", aware, corrected=True)
    statement = "the same with α for two tasks, T ≥ 10"
    yield refuted("α for T=2", statement, "<=", blind, every=True)


def _gap(problem: MaxLinear, schedule: Schedule, start: Float) -> float:
    """F at the average iterate: the gap where the optimum is 0."""
    return float(np.max(problem.losses(descend(problem, schedule, start).average)))


def _for_two_tasks(setting: Setting) -> Schedule:
    """The constant schedule with c_2 in place of c_T."""
    base = SCHEDULES["constant"](setting)
    alpha = constant_alpha(
        setting.num_steps, num_tasks=2, radius=setting.radius, lipschitz=setting.lipschitz
    )
    return Schedule(np.broadcast_to(alpha, base.alpha.shape), base.step_size, base.averaging)


CLAIM = Claim(
    key="E1",
    title="growing number of tasks",
    source="next check of the summary",
    printed="The softmax replaces the maximum for any number of tasks at the same sharpness.",
    corrected="The worst-case error c_T/α grows like log T − log log T, 22.8-fold from T = 2 to "
    "10⁴; losses spread evenly cost at most 1/α at any T; a schedule that knows T keeps (8).",
    checks=checks,
)
