r"""A7, Eqs. (9)-(10) and Proposition 5.1: the minimax model on its worst downstream mixture.

A downstream risk is :math:`f_\lambda=\sum_t\lambda_tf_t`, linear in the mixture
:math:`\lambda\in\Delta_T`, so that its maximum over the simplex is at a vertex:
:math:`\max_{\lambda\in\Delta_T} f_\lambda = F`. Hence, with :math:`\theta_{\max}` any minimiser of
(5) and :math:`\theta_{\mathrm{avg}}` any minimiser of (4),

.. math:: \max_{\lambda\in\Delta_T} f_\lambda(\theta_{\max}) = F^*
          \le F(\theta_{\mathrm{avg}}) = \max_{\lambda\in\Delta_T} f_\lambda(\theta_{\mathrm{avg}}).

Right as printed, for the whole simplex; the same proof serves every :math:`\Lambda` that contains
the vertices. For other :math:`\Lambda\subset\Delta_T` it may fail: with only the uniform mixture
it reverses wherever :math:`\theta_{\max}` does not minimise (4). That every task has minimum 0 is
not needed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import linprog

from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import certify, certify_batch
from theory.problems import Float, Problem, absolute_pair, appendix_c
from theory.testbed import Case, Context

_MIXTURES = 10_000
"""Most mixtures drawn from the simplex, half near its boundary."""
_POINTS = ("θ_max", "θ_avg", "random θ")


def checks(context: Context) -> Iterator[Check]:
    """Search the simplex, then compare the two models by certified intervals."""
    averages = _average_optima(context)
    yield from _vertices(context, averages)
    yield _proposition(context, averages)
    yield from _uniform_mixture()
    yield from _shifted()


def _average_optima(context: Context) -> dict[str, Float]:
    """Certified near-minimisers of (4), ``[I, d]`` for each family."""
    found = {}
    for name, case in context.cases.items():
        context.note(f"A7 average objective of {name}")
        found[name] = certify_batch(case.problem, _uniform(case.problem)).point
    return found


def _vertices(context: Context, averages: dict[str, Float]) -> Iterator[Check]:
    """Random mixtures never exceed the vertices, and a linear program finds no more either."""
    below: list[Measurement] = []
    programs: list[Measurement] = []
    for name, case in context.cases.items():
        context.note(f"A7 mixtures, {name}")
        losses = case.problem.losses(_points(context, case, averages[name]))  # [points, I, T]
        below.append(_closest_mixture(context, name, losses))
        programs += [
            Measurement.value(
                _simplex_maximum(losses[index, 0]),
                np.max(losses[index, 0]),
                f"{name}, instance 0, {label}, linear program over λ",
                tolerance=1e-9 * float(np.max(np.abs(losses[index, 0]))),
            )
            for index, label in enumerate(_POINTS)
        ]
    yield holds("(9) mixtures", "f_λ(θ) ≤ max_t f_t(θ), Dirichlet λ", "<=", below)
    yield holds("(9) vertex", "max over Δ_T of f_λ(θ) = max_t f_t(θ)", "==", programs)


def _closest_mixture(context: Context, name: str, losses: Float) -> Measurement:
    """The random mixture that comes closest to the largest of ``losses[points, I, T]``."""
    mixtures = _mixtures(context, losses.shape[-1])
    largest = np.max(_mixed(losses, mixtures), axis=-1)
    top = np.max(losses, axis=-1)
    point, instance = divmod(int(np.argmax(largest - top)), top.shape[1])
    label = _POINTS[min(point, 2)]
    return Measurement.value(
        largest[point, instance],
        top[point, instance],
        f"{name}, instance {instance}, {label}, {len(mixtures)} mixtures",
        scale=float(np.max(np.abs(losses[point, instance]))),
    )


def _points(context: Context, case: Case, average: Float) -> Float:
    """The two models and five random points of the domain, ``[7, I, d]``."""
    domain = case.problem.domain
    rng = context.rng(f"A7 points {case.name}")
    direction = rng.standard_normal((5, *domain.center.shape))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    reach = domain.radius[:, None] * rng.random((5, *domain.radius.shape, 1))
    random = domain.center + reach * direction
    return np.concatenate([case.optimum.point[None], average[None], random])


def _mixtures(context: Context, tasks: int) -> Float:
    """Mixtures ``[n, T]``: one half uniform on the simplex, the other close to its faces."""
    half = min(context.effort.vectors, _MIXTURES) // 2
    rng = context.rng("A7 mixtures")
    return np.concatenate([rng.dirichlet(np.full(tasks, c), half) for c in (1.0, 0.1)])


def _mixed(losses: Float, mixtures: Float) -> Float:
    """Downstream risks f_λ, ``[..., n]``, of ``losses[..., T]`` under ``mixtures[n, T]``."""
    return np.asarray(losses @ mixtures.T)


def _simplex_maximum(losses: Float) -> float:
    """Maximum of the linear function ``losses[T]`` over the simplex, by HiGHS."""
    equality = np.ones((1, losses.size))
    # Its default tolerance of 1e-7 would return any of several near-tied vertices.
    program = linprog(
        -losses,
        A_eq=equality,
        b_eq=[1.0],
        bounds=(0, None),
        method="highs",
        options={"dual_feasibility_tolerance": 1e-10, "primal_feasibility_tolerance": 1e-10},
    )
    return float(-program.fun)


def _proposition(context: Context, averages: dict[str, Float]) -> Check:
    """Proposition 5.1 on the testbed: the certified F* against F at the average's minimiser."""
    measured = []
    for name, case in context.cases.items():
        worst = np.max(case.problem.losses(averages[name]), axis=-1)
        measured += [
            _compared(low, high, bound, f"{name}, instance {i}")
            for i, (low, high, bound) in enumerate(
                zip(case.optimum.lower, case.optimum.upper, worst, strict=True)
            )
        ]
    return holds("Prop. 5.1", "max_Δ f_λ(θ_max) ≤ max_Δ f_λ(θ_avg)", "<=", measured)


def _uniform_mixture() -> Iterator[Check]:
    """With the uniform mixture alone the order reverses, strictly, on the instance of App. C."""
    measured, vertices = [], []
    for steepness, tasks in ((9.0, 10), (2.0, 3), (99.0, 100)):
        problem = appendix_c(steepness, tasks)
        robust, average = certify(problem), certify(problem, _uniform(problem))
        # F is μ-strongly convex, μ = 2: ||point − θ_max||² ≤ F(point) − F*
        error = np.sqrt(robust.upper - robust.lower) * problem.constants().lipschitz
        value = float(np.mean(problem.losses(robust.point)))
        witness = f"App. C, A={steepness:g}, T={tasks}"
        measured.append(
            Measurement(value - error, value + error, float(average.upper), f"{witness}, λ=1/T")
        )
        worst = float(np.max(problem.losses(average.point)))
        vertices.append(_compared(robust.lower, robust.upper, worst, f"{witness}, λ=e_1..e_T"))
    statement = "max_Λ f_λ(θ_max) ≤ max_Λ f_λ(θ_avg)"
    yield refuted("Λ = {1/T}", statement, "<=", measured, every=True)
    yield holds("Λ = vertices", statement, "<=", vertices, corrected=True)


def _shifted() -> Iterator[Check]:
    """Tasks A|θ−1| and |θ| on [0, 1], moved up and down: no task has minimum 0."""
    measured, least = [], []
    for shifts in ((2.0, 3.0), (-5.0, -4.0), (-2.0, -4.0)):
        problem = absolute_pair(4.0, 10, *shifts)
        robust, average = certify(problem), certify(problem, _uniform(problem))
        worst = float(np.max(problem.losses(average.point)))
        witness = f"4|θ−1|{shifts[0]:+g}, nine times |θ|{shifts[1]:+g}, Θ=[0, 1]"
        measured.append(_compared(robust.lower, robust.upper, worst, witness))
        minima = [float(certify(problem, row).upper) for row in np.eye(10)[:2]]
        lowest = ", ".join(f"{value:.3g}" for value in minima)
        closest = min(map(abs, minima))
        least.append(Measurement.value(closest, 0.1, f"{witness}: min f_1, min f_2 = {lowest}"))
    statement = "max_Δ f_λ(θ_max) ≤ max_Δ f_λ(θ_avg)"
    yield holds("shifted tasks", statement, "<=", measured, corrected=True)
    yield holds("their minima", "|min f_t| ≥ 0.1: none of them is 0", ">=", least)


def _compared(low: Any, high: Any, bound: Any, witness: str) -> Measurement:
    """An interval of F* against a bound, from scalars of any type."""
    return Measurement(float(low), float(high), float(bound), witness)


def _uniform(problem: Problem) -> Float:
    """Weights of (4)."""
    return np.full(problem.num_tasks, 1 / problem.num_tasks)


CLAIM = Claim(
    key="A7",
    title="worst downstream mixture",
    source="Eqs. (9), (10), Proposition 5.1",
    printed="max_λ f_λ(θ_max) ≤ max_λ f_λ(θ_avg), λ in the simplex, every task of minimum 0.",
    corrected="As printed for the whole simplex or any Λ that contains its vertices, without the "
    "zero minimum; false for some other Λ, as {uniform}.",
    checks=checks,
)
