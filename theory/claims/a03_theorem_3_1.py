r"""A3, Theorem 3.1, Eq. (8): the convergence rate of Algorithm 1.

Corrected, under H (convex risks on a closed convex domain, subgradients bounded by L' there): with
:math:`\theta_{k+1}=\Pi(\theta_k-\eta g_k)` and :math:`\eta=R_0/(L'\sqrt K)`,

.. math:: F(\bar\theta_K)-F^* \le \frac{R_0L'}{\sqrt K} + \frac1K\sum_{k<K}\frac{c_T}{\alpha_k},
          \tag{8'}

so that :math:`\alpha_k \ge 2\sqrt{k+1}\,c_T/(R_0L')` gives :math:`2R_0L'/\sqrt K` with no bound B,
no sign condition and no log k. *Proof.* The projection is nonexpansive, hence
:math:`2\eta\langle g_k,\theta_k-u\rangle \le \|\theta_k-u\|^2-\|\theta_{k+1}-u\|^2+\eta^2L'^2`; by
convexity and A4 :math:`\langle g_k,\theta_k-u\rangle \ge F_k(\theta_k)-F_k(u) \ge
F(\theta_k)-c_T/\alpha_k-F(u)`; sum, divide by K, Jensen, :math:`\sum_{k\le K}k^{-1/2}<2\sqrt K`.
Any u of the domain may stand for the minimiser, with R0 = ||theta_0 - u||.

If the hypotheses hold on the ball of radius 2 R0 around the minimiser, the projection is not
needed: the same telescope keeps the iterates there.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from theory import bounds
from theory.claims.base import Claim
from theory.descent import Iterate, descend
from theory.judge import Check, Measurement, holds
from theory.problems import Ball, ConvexProblem, Float, MaxLinear
from theory.schedules import SCHEDULES, Schedule, Setting, stack
from theory.testbed import Case, Context


def checks(context: Context) -> Iterator[Check]:
    """Compare certified gaps with the bounds, family by family."""
    printed = []
    for case in context.cases.values():
        sharpened, with_printed_schedule = _rates(context, case)
        printed += with_printed_schedule
        statement = "F(θ̄_K)−F* ≤ 2R0L'/√K, c_T schedule"
        yield holds(case.name, statement, "<=", sharpened, corrected=True)
    yield holds("printed (8)", "F(θ̄_K)−F* ≤ 2R0L'/√K, printed α_k", "<=", printed)
    yield _any_schedule(context)
    yield _overestimated_radius(context)
    yield _single_task(context)
    yield from _without_projection(context)


def _rates(context: Context, case: Case) -> tuple[list[Measurement], list[Measurement]]:
    """Gaps against bound (8) for every K, with the sharpened and with the printed schedule.

    The printed schedule needs nonnegative risks below B: the softmax and the gap do not see a
    shift, so that B is the range of the risks.
    """
    sharpened: list[Measurement] = []
    printed: list[Measurement] = []
    for steps in context.effort.steps:
        context.note(f"A3 {case.name}, K={steps}")
        setting = case.setting(steps)
        names = ("sharpened", "paper")
        both = stack([SCHEDULES[name](setting) for name in names], case.radius.shape)
        average = descend(case.problem, both, case.start).average
        bound = bounds.theorem_3_1(setting)
        sharpened += case.gaps(average[0], bound, f"K={steps}")
        printed += case.gaps(average[1], bound, f"K={steps}")
    return sharpened, printed


def _any_schedule(context: Context) -> Check:
    """(8') with sharpness drawn at random over four orders of magnitude."""
    rng = context.rng("A3 any schedule")
    measured = []
    for case in context.cases.values():
        setting = case.setting(context.effort.steps[1])
        size = SCHEDULES["sharpened"](setting).step_size
        scale = bounds.subgradient(setting)
        alpha = 10 ** rng.uniform(-2, 2, (setting.num_steps, 1)) / scale
        average = descend(
            case.problem, Schedule(alpha, size, np.ones(setting.num_steps)), case.start
        ).average
        note = f"K={setting.num_steps}, random α_k"
        measured += case.gaps(average, bounds.sharpened(setting, alpha), note)
    statement = "F(θ̄_K)−F* ≤ R0L'/√K + mean c_T/α_k"
    return holds("any schedule", statement, "<=", measured, corrected=True)


def _overestimated_radius(context: Context) -> Check:
    """The bound stands with any upper estimate of R0 in place of R0."""
    measured = []
    for factor in (1.5, 4.0):
        for case in context.cases.values():
            setting = case.setting(context.effort.steps[1])
            guess = Setting(
                setting.num_tasks,
                setting.num_steps,
                factor * case.radius,
                setting.lipschitz,
                loss_bound=setting.loss_bound,
            )
            average = descend(case.problem, SCHEDULES["sharpened"](guess), case.start).average
            note = f"K={setting.num_steps}, R={factor:g}R0"
            measured += case.gaps(average, bounds.theorem_3_1(guess), note)
    return holds("R ≥ R0", "F(θ̄_K)−F* ≤ 2RL'/√K for R ≥ R0", "<=", measured, corrected=True)


def _single_task(context: Context) -> Check:
    """One task: c_1 = 0, and the bound loses its softmax half."""
    case = context.case("max-linear")
    problem = case.problem
    assert isinstance(problem, MaxLinear)
    single = MaxLinear(problem.domain, problem.slopes[:, :1], problem.offsets[:, :1])
    best = single.dual_bound(np.ones((len(case.start), 1)))
    length = np.linalg.norm(single.slopes[:, 0], axis=-1)
    pole = problem.domain.center - (problem.domain.radius / length)[:, None] * single.slopes[:, 0]
    setting = Setting(
        num_tasks=1,
        num_steps=context.effort.steps[1],
        radius=np.linalg.norm(case.start - pole, axis=-1),
        lipschitz=length,
    )
    average = descend(single, SCHEDULES["sharpened"](setting), case.start).average
    gap = single.losses(average)[..., 0] - best
    bound = bounds.subgradient(setting)
    scale = single.constants().loss_range
    measured = [
        Measurement.value(gap[i], bound[i], f"max-linear, instance {i}, T=1", scale=scale[i])
        for i in range(len(gap))
    ]
    return holds("T = 1", "F(θ̄_K)−F* ≤ R0L'/√K for one task", "<=", measured, corrected=True)


def _without_projection(context: Context) -> Iterator[Check]:
    """The unprojected method, on instances whose minimiser is interior, hence that of R^d."""
    distance, rate = [], []
    for name in ("absolute", "Huber", "quadratic"):
        case = context.case(name)
        domain = case.problem.domain
        depth = np.linalg.norm(case.optimum.point - domain.center, axis=-1) / domain.radius
        interior = np.flatnonzero(depth < 0.999)
        problem = _enlarged(case, interior)
        setting = Setting(
            problem.num_tasks,
            context.effort.steps[-1],
            case.radius[interior],
            problem.constants().lipschitz,
        )
        context.note(f"A3 without projection, {name}")
        farthest = _Farthest(case.optimum.point[interior])
        run = descend(
            problem,
            SCHEDULES["sharpened"](setting),
            case.start[interior],
            project=False,
            callback=farthest,
        )
        worst = np.max(problem.losses(run.average), axis=-1)
        bound = bounds.theorem_3_1(setting)
        for row, instance in enumerate(interior):
            witness = f"{name}, instance {instance}, K={setting.num_steps}, no projection"
            reach = 2 * setting.radius[row]
            distance.append(Measurement.value(farthest.distance[row], reach, witness))
            low = float(worst[row] - case.optimum.upper[instance])
            high = float(worst[row] - case.optimum.lower[instance])
            rate.append(Measurement(low, high, float(bound[row]), witness))
    yield holds("confinement", "‖θ_k−θ*‖ ≤ 2R0, no projection", "<=", distance, corrected=True)
    yield holds("unprojected", "F(θ̄_K)−F* ≤ 2R0L'/√K, no projection", "<=", rate, corrected=True)


def _enlarged(case: Case, chosen: NDArray[np.intp]) -> ConvexProblem:
    """The chosen instances with constants that hold wherever the iterates may go."""
    problem = case.problem[chosen]
    away = np.linalg.norm(case.optimum.point[chosen] - problem.domain.center, axis=-1)
    reach = np.maximum(2 * case.radius[chosen] + away, problem.domain.radius)
    return replace(problem, domain=Ball(problem.domain.center, reach))


class _Farthest:
    """Callback that remembers the largest distance of each instance to a point."""

    def __init__(self, point: Float) -> None:
        self.point = point
        self.distance = np.zeros(len(point))

    def __call__(self, iterate: Iterate) -> None:
        away = np.linalg.norm(iterate.theta - self.point, axis=-1)
        self.distance = np.maximum(self.distance, away)


CLAIM = Claim(
    key="A3",
    title="convergence rate",
    source="Theorem 3.1, Eq. (8)",
    printed="F(θ̄_K) − F* ≤ 2R0L'/√K if α_k ≥ (4√(k+1)/(R0L'))·log(4TB√(k+1)/(R0L')), ℓ ≤ B.",
    corrected=(
        "F(θ̄_K) − F* ≤ R0L'/√K + (1/K)Σ c_T/α_k on a bounded domain; 2R0L'/√K already for "
        "α_k ≥ 2√(k+1)·c_T/(R0L'), without B."
    ),
    checks=checks,
)
