r"""E3: downstream tasks that are no convex combination of the training tasks.

Let :math:`A=F(\theta_{\mathrm{avg}})-F(\theta_{\max})\ge0` be the advantage of the minimax model on
its worst mixture, and :math:`\Delta=\|\theta_{\mathrm{avg}}-\theta_{\max}\|`.

*Weights outside the simplex*, :math:`\sum\lambda_t=1` with negative mass at most :math:`\nu`. Then
:math:`\max_\lambda f_\lambda=(1+\nu)\max_tf_t-\nu\min_tf_t`, and as the least of L'-Lipschitz
functions is L'-Lipschitz the advantage on it is

.. math:: (1+\nu)A-\nu\left(\min_tf_t(\theta_{\mathrm{avg}})-\min_tf_t(\theta_{\max})\right)
          \ge A-\nu(L'\Delta-A),

positive up to :math:`\nu=A/(L'\Delta-A)`. *Risks off the hull* by a :math:`\rho`-Lipschitz function
h: on :math:`f_s+h`, s the worst task of :math:`\theta_{\mathrm{avg}}`, the advantage is at least
:math:`A-\rho\Delta`, positive up to :math:`\rho=A/\Delta`. Both bounds are attained, and beyond
them the order reverses: the advantage disappears at most linearly, but it does disappear.

*Without strong convexity* :math:`\theta_{\max}` need not be unique. With modulus :math:`\mu` a
small gap means a near point, :math:`\|\theta-\theta_{\max}\|\le\sqrt{2(F(\theta)-F^*)/\mu}`, so
that any downstream risk is nearly that of :math:`\theta_{\max}`. Without it, two optimal models may
differ by any amount off the hull, and an optimal one may be dominated task by task by
:math:`\theta_{\mathrm{avg}}`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from theory.claims.base import Claim
from theory.descent import descend
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import certify
from theory.problems import Ball, ConvexProblem, Float, MaxLinear
from theory.schedules import SCHEDULES, Setting
from theory.testbed import Context

_FAMILIES = ("max-linear", "absolute", "logistic", "quadratic", "ill-conditioned", "large scale")
_INSTANCES = 2
_MASSES = (0.0, 0.1, 0.5, 2.0)


@dataclass(frozen=True)
class Models:
    """The two models of one instance.

    Attributes:
        problem: a single instance.
        robust: near-minimiser of (5), ``[d]``.
        average: near-minimiser of (4), ``[d]``.
        witness: its name.
    """

    problem: ConvexProblem
    robust: Float
    average: Float
    witness: str

    @property
    def losses(self) -> tuple[Float, Float]:
        """Task risks ``[T]`` of the minimax and of the average model."""
        return self.problem.losses(self.robust), self.problem.losses(self.average)

    @property
    def advantage(self) -> float:
        """A."""
        robust, average = self.losses
        return float(np.max(average) - np.max(robust))

    @property
    def distance(self) -> float:
        """Delta."""
        return float(np.linalg.norm(self.average - self.robust))

    @property
    def lipschitz(self) -> float:
        """L'."""
        return float(self.problem.constants().lipschitz)


def checks(context: Context) -> Iterator[Check]:
    """Weights outside the simplex, risks off the hull, and models that are not unique."""
    models = _testbed(context)
    edge = _edge()
    yield _extended_maximum(models)
    yield from _weights_outside(models, edge)
    yield from _risks_off_the_hull(context, models)
    yield _near_points(context)
    yield _flat()
    yield from _dominated(models)


def _testbed(context: Context) -> list[Models]:
    """Some instances of several families."""
    found = []
    for name in _FAMILIES:
        context.note(f"E3 average objective of {name}")
        case = context.case(name)
        tasks = case.problem.num_tasks
        for index in range(min(_INSTANCES, len(case.start))):
            problem = case.problem[index]
            average = certify(problem, np.full(tasks, 1 / tasks)).point
            witness = f"{name}, instance {index}"
            found.append(Models(problem, case.optimum.point[index], average, witness))
    return found


def _edge() -> Models:
    """Tasks 10 + θ/4, three times 10 − θ, and θ on [−2, 2]: both models in closed form.

    The maximum is least at 0, the average at 2, where the least task has risen by L' = 1 a unit.
    """
    slopes = np.array([[0.25], [-1.0], [-1.0], [-1.0], [1.0]])
    problem = MaxLinear(Ball.of(np.zeros(1), 2.0), slopes, np.array([10.0, 10.0, 10.0, 10.0, 0.0]))
    return Models(problem, np.array([0.0]), np.array([2.0]), "10+θ/4, 3×(10−θ), θ on [−2, 2]")


def _worst_outside(losses: Float, mass: float) -> float:
    """Largest risk over weights of negative mass at most `mass`."""
    return float((1 + mass) * np.max(losses) - mass * np.min(losses))


def _extended_maximum(models: list[Models]) -> Check:
    """The closed form against a linear program over the weights."""
    measured = []
    for pair in models[::3]:
        for label, losses in zip(("θ_max", "θ_avg"), pair.losses, strict=True):
            count, scale = losses.size, float(np.max(np.abs(losses)))
            for mass in _MASSES:
                program = linprog(
                    np.concatenate([-losses, losses]) / scale,
                    A_eq=[[1.0] * count + [-1.0] * count],
                    b_eq=[1.0],
                    A_ub=[[0.0] * count + [1.0] * count],
                    b_ub=[mass],
                    method="highs",
                    options={"dual_feasibility_tolerance": 1e-10},
                )
                value = _worst_outside(losses, mass)
                witness = f"{pair.witness}, {label}, ν={mass:g}, linear program"
                found = -scale * float(program.fun)
                tolerance = 1e-8 * scale * (1 + mass)
                measured.append(Measurement.value(found, value, witness, tolerance=tolerance))
    statement = "max of f_λ = (1+ν)max f − ν·min f"
    return holds("negative mass", statement, "==", measured, corrected=True)


def _weights_outside(models: list[Models], edge: Models) -> Iterator[Check]:
    """The advantage on weights of negative mass nu, and where it ends."""
    bound = [_outside(pair, mass) for pair in models for mass in _MASSES]
    equal = [_outside(edge, mass) for mass in (0.0, 0.2, 1 / 3, 1.0, 3.0)]
    beyond = []
    for mass in (0.5, 1.0):
        robust, average = (_worst_outside(f, mass) for f in edge.losses)
        beyond.append(Measurement.value(robust, average, f"{edge.witness}, ν={mass:g}"))
    statement = "advantage ≥ A − ν(L'Δ−A), mass ν"
    yield holds("outside by ν", statement, ">=", bound, corrected=True)
    yield holds("ν attained", "advantage = A − ν(L'Δ−A)", "==", equal, corrected=True)
    statement = "max f_λ(θ_max) ≤ max f_λ(θ_avg), mass ν"
    yield refuted("ν > A/(L'Δ−A)", statement, "<=", beyond, every=True)


def _outside(pair: Models, mass: float) -> Measurement:
    """Advantage on the worst weights of negative mass `mass` against its bound."""
    robust, average = (_worst_outside(f, mass) for f in pair.losses)
    bound = pair.advantage - mass * (pair.lipschitz * pair.distance - pair.advantage)
    scale = (1 + 2 * mass) * max(float(np.max(np.abs(f))) for f in pair.losses)
    return Measurement.value(average - robust, bound, f"{pair.witness}, ν={mass:g}", scale=scale)


def _risks_off_the_hull(context: Context, models: list[Models]) -> Iterator[Check]:
    """The worst task of the average model plus a linear function of slope rho."""
    rng = context.rng("E3 directions")
    bound, equal, beyond = [], [], []
    for pair in models:
        robust, average = pair.losses
        worst = int(np.argmax(average))
        random = rng.standard_normal((20, pair.robust.size))
        apart = (pair.robust - pair.average) / pair.distance
        directions = np.vstack([random / np.linalg.norm(random, axis=-1, keepdims=True), apart])
        own = float(average[worst] - robust[worst])
        scale = float(np.max(np.abs(average)))
        for share in (0.5, 1.0, 2.0):
            slope = share * own / pair.distance
            off_hull = [
                losses[worst] + slope * directions @ theta
                for losses, theta in ((average, pair.average), (robust, pair.robust))
            ]
            advantage = off_hull[0] - off_hull[1]
            witness = f"{pair.witness}, task {worst}, ρ={slope:.3g}"
            allowed = pair.advantage - slope * pair.distance
            lowest = float(np.min(advantage))
            bound.append(Measurement.value(lowest, allowed, witness, scale=scale))
            tolerance = 1e-12 * scale
            exact = own * (1 - share)
            equal.append(Measurement.value(lowest, exact, witness, tolerance=tolerance))
            if share > 1:
                beyond.append(Measurement.value(0.0, lowest, f"{witness}, h along θ_max−θ_avg"))
    yield holds("off by ρ", "advantage on f_s+h ≥ A − ρΔ", ">=", bound, corrected=True)
    statement = "least = f_s(θ_avg)−f_s(θ_max)−ρΔ"
    yield holds("ρ attained", statement, "==", equal, corrected=True)
    statement = "(f_s+h)(θ_max) ≤ (f_s+h)(θ_avg)"
    yield refuted("ρ > A/Δ", statement, "<=", beyond, every=True)


def _near_points(context: Context) -> Check:
    """Strong convexity: Algorithm 1's output is as near to the minimiser as its gap is small."""
    measured = []
    for name in ("quadratic", "duplicates", "large scale"):
        case = context.case(name)
        for steps in context.effort.steps[:2]:
            theta = descend(
                case.problem, SCHEDULES["sharpened"](case.setting(steps)), case.start
            ).average
            distance = np.linalg.norm(theta - case.optimum.point, axis=-1)
            modulus = np.asarray(case.constants.strong_convexity)
            # triangle inequality through the exact minimiser, which is not known
            bound = np.sqrt(2 * case.gap(theta)[1] / modulus)
            bound = bound + np.sqrt(2 * (case.optimum.upper - case.optimum.lower) / modulus)
            measured += [
                Measurement.value(value, limit, f"{name}, instance {i}, K={steps}")
                for i, (value, limit) in enumerate(zip(distance, bound, strict=True))
            ]
    statement = "‖θ̄_K−θ_max‖ ≤ √(2(F(θ̄_K)−F*)/μ)"
    return holds("near points", statement, "<=", measured, corrected=True)


def _flat() -> Check:
    """Tasks x and −x in the plane: two runs from (1, ±1) are optimal and stay apart in y."""
    problem = MaxLinear(Ball.of(np.zeros(2), 2.0), np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2))
    measured = []
    for steps in (100, 1_000):
        setting = Setting(2, steps, 1.0, 1.0)
        starts = np.array([[1.0, 1.0], [1.0, -1.0]])
        ends = descend(problem, SCHEDULES["sharpened"](setting), starts).average
        gap = float(np.max(problem.losses(ends)))
        apart = float(abs(ends[0, 1] - ends[1, 1]))
        witness = f"f=±x, g(x, y)=y, θ_0=(1, ±1), K={steps}, gap={gap:.3g}"
        measured.append(Measurement.value(apart, 2 * np.sqrt(2 * gap), witness))
    statement = "|g(θ̄)−g(θ̄')| ≤ 2√(2·gap), μ=0"
    return refuted("not unique", statement, "<=", measured, every=True)


def _dominated(models: list[Models]) -> Iterator[Check]:
    """No point is better on every task, but the average model may be better on some, worse on none.

    Tasks 1 and θ on [0, 1]: every θ is optimal for (5), and Algorithm 1 stays near its start.
    """
    better = []
    for pair in models:
        robust, average = pair.losses
        better.append(Measurement.value(np.max(average - robust), 0.0, pair.witness))
    yield holds("not all better", "some f_t(θ_avg) ≥ f_t(θ_max)", ">=", better, corrected=True)
    problem = MaxLinear(
        Ball.of(np.array([0.5]), 0.5), np.array([[0.0], [1.0]]), np.array([1.0, 0.0])
    )
    setting = Setting(2, 1_000, 1.0, 1.0)
    theta = descend(problem, SCHEDULES["constant"](setting), np.array([1.0])).average
    robust, average = problem.losses(theta), problem.losses(np.zeros(1))
    gap = float(np.max(robust)) - 1.0
    witness = f"f=(1, θ), Θ=[0, 1], θ_0=1, K=1000: F−F*={gap:.1g}, θ_avg=0 worse on no task"
    worst = Measurement.value(np.max(robust - average), 0.0, witness)
    statement = "optimal θ̄: all f_t(θ̄) ≤ f_t(θ_avg)"
    yield refuted("dominated", statement, "<=", [worst])


CLAIM = Claim(
    key="E3",
    title="downstream tasks outside the hull",
    source="next check of the summary",
    printed="The advantage of θ_max carries over to downstream tasks outside the simplex.",
    corrected="It shrinks at most linearly with the distance, A − ν(L'Δ−A) for negative mass ν and "
    "A − ρΔ for a ρ-Lipschitz rest, and reverses beyond; without strong convexity θ_max is not one "
    "point.",
    checks=checks,
)
