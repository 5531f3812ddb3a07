r"""B1: schedules sharper than the printed one, and a certificate without a solver.

(a) :math:`\alpha_k=2\sqrt{k+1}c_T/(R_0L')` (in A3) is at least twice less sharp than printed.
(b) Constant :math:`\alpha=s\sqrt K/(R_0L')` gives :math:`(1+c_T/s)R_0L'/\sqrt K`.
(c) :math:`\eta_k=D/(L'\sqrt{k+1})`, :math:`\alpha_k=2\sqrt{k+1}c_T/(DL')` give
:math:`2.5DL'/\sqrt K` at every K of one run. (d) For mu-strongly convex tasks
:math:`\eta_k=2/(\mu(k+2))`, :math:`\alpha_k=\mu(k+1)c_T/L'^2` and weights proportional to k + 1
give :math:`4L'^2/(\mu(K+1))`: half from descent, half from the softmax. (e) On a ball with centre c
and radius R, for any averaging weights,

.. math:: F^*\ge\sum\nu_k(F_k(\theta_k)-\langle g_k,\theta_k\rangle)
          +\langle\bar g,c\rangle-R\|\bar g\|.
"""

from collections.abc import Iterator

import numpy as np

from taskrobust.schedules import constant_alpha, paper_alpha
from theory import bounds
from theory.claims.base import Claim
from theory.descent import Iterate, descend
from theory.judge import Check, Measurement, holds
from theory.problems import Float
from theory.schedules import SCHEDULES, Schedule
from theory.testbed import Case, Context


def checks(context: Context) -> Iterator[Check]:
    """Compare every schedule with its own bound on the testbed."""
    yield _less_sharp(context)
    yield _constant(context)
    yield _anytime(context)
    yield _strongly_convex(context)
    yield _certificate(context)


def _less_sharp(context: Context) -> Check:
    r"""Printed sharpness over that of log T, wherever B is at least epsilon_k."""
    measured = []
    steps = np.arange(0, 10_000, 99)
    for tasks in (2, 10, context.effort.max_tasks):
        for bound in (1 / 4, 1.0, 100.0):
            printed = paper_alpha(
                steps, num_tasks=tasks, radius=1.0, lipschitz=1.0, loss_bound=bound
            )
            ratio = printed / (2 * np.sqrt(steps + 1) * np.log(tasks))
            where = f"T={tasks}, B={bound:g}R0L', k={steps[np.argmin(ratio)]}"
            measured.append(Measurement.value(np.min(ratio), 2.0, where))
    statement = "printed α_k ≥ 2α_k of log T, for B ≥ ε_k"
    return holds("(a) sharpness", statement, ">=", measured, corrected=True)


def _constant(context: Context) -> Check:
    """Constant sharpness at several factors s / c_T."""
    measured = []
    for case in context.cases.values():
        setting = case.setting(context.effort.steps[-2])
        context.note(f"B1 constant sharpness, {case.name}")
        for factor in (0.3, 1.0, 3.0):
            alpha = constant_alpha(
                setting.num_steps,
                num_tasks=setting.num_tasks,
                radius=setting.radius,
                lipschitz=setting.lipschitz,
                factor=factor,
            )
            base = SCHEDULES["constant"](setting)
            schedule = Schedule(
                np.broadcast_to(alpha, base.alpha.shape), base.step_size, base.averaging
            )
            average = descend(case.problem, schedule, case.start).average
            bound = (1 + 1 / factor) * bounds.subgradient(setting)
            measured += case.gaps(average, bound, f"K={setting.num_steps}, s={factor:g}c_T")
    statement = "gap ≤ (1+c_T/s)R0L'/√K, α=s√K/(R0L')"
    return holds("(b) constant", statement, "<=", measured, corrected=True)


def _anytime(context: Context) -> Check:
    """One run per family, its running average checked at many K."""
    measured: list[Measurement] = []
    for case in context.cases.values():
        steps = context.effort.steps[-2]
        context.note(f"B1 any-time, {case.name}")
        watched = {k for k in range(steps) if k < 10 or (k + 1) & k == 0 or k == steps - 1}
        seen: list[Iterate] = []

        def keep(iterate: Iterate, seen: list[Iterate] = seen, watched: set[int] = watched) -> None:
            if iterate.step in watched:
                seen.append(iterate)

        descend(case.problem, SCHEDULES["anytime"](case.setting(steps)), case.start, callback=keep)
        for iterate in seen:
            bound = bounds.anytime(case.setting(iterate.step + 1))
            measured += case.gaps(iterate.average, bound, f"K={iterate.step + 1}")
    statement = "gap ≤ 2.5DL'/√K at every K of one run"
    return holds("(c) any-time", statement, "<=", measured, corrected=True)


def _strongly_convex(context: Context) -> Check:
    """The 1/K rate on strongly convex families, well and badly conditioned."""
    measured = []
    for name in ("quadratic", "duplicates", "large scale"):
        case = context.case(name)
        for steps in context.effort.steps[:-1]:
            setting = case.setting(steps)
            average = descend(
                case.problem, SCHEDULES["strongly convex"](setting), case.start
            ).average
            measured += case.gaps(average, bounds.strongly_convex(setting), f"K={steps}")
    statement = "gap ≤ 4L'²/(μ(K+1)), μ-strongly convex"
    return holds("(d) 1/K", statement, "<=", measured, corrected=True)


def _certificate(context: Context) -> Check:
    """The run's own lower bound never exceeds the certified optimum."""
    measured = []
    for case in context.cases.values():
        for name in ("sharpened", "anytime"):
            schedule = SCHEDULES[name](case.setting(context.effort.steps[-2]))
            lower = descend(case.problem, schedule, case.start).lower_bound
            measured += _below_optimum(case, lower, f"{name} schedule")
    statement = "solver-free lower bound − F* ≤ 0"
    return holds("(e) certificate", statement, "<=", measured, corrected=True)


def _below_optimum(case: Case, lower: Float, note: str) -> list[Measurement]:
    optimum = case.optimum
    scale = np.broadcast_to(case.constants.loss_range, lower.shape)
    return [
        Measurement(
            float(lower[i] - optimum.upper[i]),
            float(lower[i] - optimum.lower[i]),
            0.0,
            f"{case.name}, instance {i}, {note}",
            scale=float(scale[i]),
        )
        for i in range(len(lower))
    ]


CLAIM = Claim(
    key="B1",
    title="sharper schedules",
    source="sharpened result",
    printed="Only the growing schedule of Theorem 3.1.",
    corrected=(
        "Constant, any-time and strongly convex schedules with their own guarantees; a lower bound "
        "of F* from the run itself."
    ),
    checks=checks,
)
