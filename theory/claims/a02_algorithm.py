r"""A2, Eqs. (4)-(7) and Algorithm 1: the two objectives, the weights and the printed loop.

(4) and (5) are right; they are solved as epigraph programs, and the certified intervals must
contain the optima that are known in closed form. The lower ends come from tangent planes alone:
whatever closed form a problem may offer for its own lower bound is hidden.

(7) is right: the weights are the gradient of the smooth maximum
:math:`F_\alpha=\frac1\alpha\log\sum_t e^{\alpha f_t}`. The independent reference is the complex
step, :math:`\partial F_\alpha/\partial f_s = \mathrm{Im}\,F_\alpha(f+ihe_s)/h`, which subtracts
nothing.

The printed loop runs k = 1..K-1 and steps from :math:`\theta_{k-1}` with :math:`\alpha_k`; the
proof steps from :math:`\theta_k` with :math:`\alpha_k`, k = 0..K-1. As printed,
:math:`\alpha_0, \eta_0` are declared and never used, and K - 1 updates are made: :math:`\theta_K`
is a virtual step of the analysis. This is harmless: the average is over
:math:`\theta_0,\dots,\theta_{K-1}` either way, and a shift to :math:`\alpha_{k+1}` is allowed for
a nondecreasing schedule, so that both loops obey :math:`2R_0L'/\sqrt K`.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from taskrobust.schedules import sharp_constant
from taskrobust.weights import softmax_weights
from theory import bounds
from theory.claims.base import Claim
from theory.descent import IndexConvention, descend
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import CLOSE_TOLERANCE, certify
from theory.problems import (
    AngledWorstCase,
    Ball,
    CountedProblem,
    DroriTeboulle,
    Float,
    MaxLinear,
    Problem,
    appendix_c,
    two_slope,
)
from theory.schedules import SCHEDULES, Schedule
from theory.testbed import Context


def checks(context: Context) -> Iterator[Check]:
    """Compare optima with closed forms, weights with a derivative, and the two loops."""
    yield from _objectives(context)
    yield _weights(context)
    yield from _declared_and_used(context)
    yield from _updates(context)
    yield from _rates(context)


class _Known(NamedTuple):
    """An instance whose optimum is known in closed form."""

    name: str
    statement: str
    problem: Problem
    weights: Float | None
    optimum: float


def _known_optima() -> list[_Known]:
    """Instances of (5), weights None, and of (4), uniform weights."""
    steepness, tasks = 9.0, 10
    constant = sharp_constant(tasks)
    instance = appendix_c(steepness, tasks)
    slopes = two_slope(tasks, constant)
    hard = DroriTeboulle(25)
    angled = AngledWorstCase(20, tasks, constant, sine=0.5)
    reach = math.sqrt(1 - 1 / (20 * 0.5**2))
    minimax = steepness / (math.sqrt(steepness) + 1) ** 2
    average = steepness * (tasks - 1) / (steepness + tasks - 1) / tasks
    tilt = (1 - (tasks - 1) / constant) / tasks  # slope of the average of the two-slope tasks
    uniform = np.full(tasks, 1 / tasks)
    return [
        _Known("(5) App. C", "A=9, T=10: F* = A/(√A+1)²", instance, None, minimax),
        _Known("(4) App. C", "A=9, T=10: A(T−1)/(T(A+T−1))", instance, uniform, average),
        _Known("(5) two-slope", "T=10: F* = 0", slopes, None, 0.0),
        _Known("(4) two-slope", "T=10: −4·|mean slope|", slopes, uniform, -4 * abs(tilt)),
        _Known("(5) hard", "Drori–Teboulle, K=25: −R0/√K", hard, None, -0.2),
        _Known(
            "(5) angled",
            "B6 (ii), K=20, sin φ=½: −R·cos φ/√K",
            angled,
            None,
            -math.cos(math.asin(0.5)) * reach / math.sqrt(20),
        ),
    ]


def _objectives(context: Context) -> Iterator[Check]:
    """Certified intervals against closed forms: their distance, and whether they contain them."""
    outside = []
    for known in _known_optima():
        context.note(f"A2 certifying {known.name}")
        # The wrapper offers losses, gradients and epigraph, and no lower bound of its own.
        found = certify(CountedProblem(known.problem), known.weights)
        low, high = float(found.lower), float(found.upper)
        reach = float(known.problem.domain.radius) * float(known.problem.constants().lipschitz)
        witness = f"{known.name}: {known.statement}"
        tolerance = CLOSE_TOLERANCE * max(abs(known.optimum), reach)
        yield holds(
            known.name,
            known.statement,
            "==",
            [Measurement(low, high, known.optimum, witness, tolerance)],
        )
        distance = max(low - known.optimum, known.optimum - high)
        outside.append(Measurement.value(distance, 0.0, witness))
    yield holds("contained", "distance from F* to its interval is 0", "<=", outside)


def _weights(context: Context) -> Check:
    """Eq. (7) against the complex-step derivative of SciPy's log-sum-exp."""
    rng = context.rng("A2 weights")
    measured = []
    for tasks in (2, 10, 100):
        losses = rng.standard_normal((50, tasks))
        alpha = 10 ** rng.uniform(-2, 1, 50)
        step = 1e-30
        tilted = alpha[:, None, None] * losses[:, None, :] + 1j * step * np.eye(tasks)
        derivative = np.imag(logsumexp(tilted, axis=-1)) / step
        distance = float(np.max(np.abs(softmax_weights(losses, alpha) - derivative)))
        witness = f"T={tasks}, 50 random loss vectors, α in [0.01, 10]"
        measured.append(Measurement.value(distance, 0.0, witness, tolerance=1e-13))
    return holds("weights (7)", "max |w − ∇F_α| = 0, complex step", "==", measured)


def _declared_and_used(context: Context) -> Iterator[Check]:
    """Which of the K declared (alpha_k, eta_k) move the run when they are changed."""
    problem, start = _small_instance(context)
    schedule = _declared(8)
    what = "max-linear, T=4, d=3, K=8"
    used = {
        "printed": _number_used(problem, schedule, start, "algorithm"),
        "proof": _number_used(problem, schedule, start, "proof"),
    }
    counted = Measurement.value(used["printed"], schedule.num_steps, f"{what}, printed loop")
    yield refuted("α_k used", "printed loop uses all K declared α_k", "==", [counted])
    yield holds(
        "α_k used: K−1",
        "the printed loop uses K − 1 of them",
        "==",
        [replace(counted, bound=schedule.num_steps - 1)],
        corrected=True,
    )
    yield holds(
        "α_k, proof",
        "the proof's loop uses all K",
        "==",
        [Measurement.value(used["proof"], schedule.num_steps, f"{what}, proof's loop")],
        corrected=True,
    )
    literal = _printed_loop(problem, schedule, start)
    idle = np.abs(literal - _printed_loop(problem, _changed(schedule, 0), start))
    yield holds(
        "α_0, η_0 idle",
        "runs with other α_0, η_0: distance",
        "==",
        [Measurement.value(np.max(idle), 0.0, f"{what}, α_0 and η_0 trebled, all iterates")],
        corrected=True,
    )
    run = descend(problem, schedule, start, index_convention="algorithm")
    ours = np.stack([run.average, run.last])
    distance = np.max(np.abs(ours - np.stack([np.mean(literal, axis=0), literal[-1]])))
    yield holds(
        "literal loop",
        "ours and the loop as printed: distance",
        "==",
        [Measurement.value(distance, 0.0, f"{what}, average and last iterate", tolerance=1e-13)],
    )


def _small_instance(context: Context) -> tuple[MaxLinear, Float]:
    """Tasks that are never all equal on the way, so that every sharpness in use matters."""
    rng = context.rng("A2 loop")
    tasks, dim = 4, 3
    slopes, offsets = rng.standard_normal((tasks, dim)), rng.standard_normal(tasks)
    return MaxLinear(Ball.of(np.zeros(dim), 2.0), slopes, offsets), np.full(dim, 0.1)


def _declared(num_steps: int) -> Schedule:
    """Distinct values, small steps: the run stays inside the domain, where nothing is clipped."""
    ramp = np.linspace(0.5, 2.0, num_steps)
    return Schedule(ramp, 0.02 * ramp, np.ones(num_steps))


def _changed(schedule: Schedule, index: int) -> Schedule:
    """The schedule with three times the sharpness and the step size at one index."""
    factor = np.where(np.arange(schedule.num_steps) == index, 3.0, 1.0)
    return replace(schedule, alpha=schedule.alpha * factor, step_size=schedule.step_size * factor)


def _number_used(
    problem: Problem, schedule: Schedule, start: Float, convention: IndexConvention
) -> int:
    """How many alpha_k, changed one at a time, move the average or the last iterate."""
    reference = descend(problem, schedule, start, index_convention=convention)
    count = 0
    for k in range(schedule.num_steps):
        alpha = _changed(schedule, k).alpha
        run = descend(problem, replace(schedule, alpha=alpha), start, index_convention=convention)
        moved = np.abs(run.average - reference.average) + np.abs(run.last - reference.last)
        count += bool(np.any(moved > 0))
    return count


def _printed_loop(problem: Problem, schedule: Schedule, start: Float) -> Float:
    """Algorithm 1 word for word, projected: iterates theta_0 to theta_{K-1}, ``[K, d]``."""
    theta = [start]
    for k in range(1, schedule.num_steps):
        previous = theta[k - 1]
        scores = np.exp(schedule.alpha[k] * problem.losses(previous))
        gradient = problem.weighted_gradient(previous, scores / np.sum(scores))
        theta.append(problem.domain.project(previous - schedule.step_size[k] * gradient))
    return np.stack(theta)


def _updates(context: Context) -> Iterator[Check]:
    """Number of updates, by the oracle's own count of gradients."""
    problem, start = _small_instance(context)
    counts: dict[str, list[Measurement]] = {}
    conventions: tuple[IndexConvention, ...] = ("algorithm", "proof")
    for convention in conventions:
        counts[convention] = []
        for steps in (50, 2, 1):
            counted = CountedProblem(problem)
            descend(counted, _declared(steps), start, index_convention=convention)
            made = counted.counts.backward_passes
            witness = f"K={steps}, gradients counted"
            counts[convention].append(Measurement.value(made, steps, witness))
    printed = counts["algorithm"]
    yield refuted("updates", "the printed loop makes K updates", "==", printed, every=True)
    fewer = [replace(m, bound=m.bound - 1) for m in printed]
    yield holds("updates: K−1", "the printed loop makes K − 1", "==", fewer, corrected=True)
    yield holds("updates, proof", "the proof's loop makes K", "==", counts["proof"], corrected=True)


def _rates(context: Context) -> Iterator[Check]:
    """Certified gaps of both conventions against (8), sharpened schedule, every family."""
    conventions: dict[str, IndexConvention] = {"proof": "proof", "printed": "algorithm"}
    for name, convention in conventions.items():
        measured: list[Measurement] = []
        for case in context.cases.values():
            context.note(f"A2 {name} indices, {case.name}")
            for steps in context.effort.steps[:-1]:  # A3 goes on to the last one
                setting = case.setting(steps)
                schedule = SCHEDULES["sharpened"](setting)
                run = descend(case.problem, schedule, case.start, index_convention=convention)
                measured += case.gaps(run.average, bounds.theorem_3_1(setting), f"K={steps}")
        yield holds(
            f"{name} index",
            f"F(θ̄_K)−F* ≤ 2R0L'/√K, {name} indices",
            "<=",
            measured,
            corrected=True,
        )


CLAIM = Claim(
    key="A2",
    title="objectives, weights, loop",
    source="Eqs. (4)–(7), Algorithm 1",
    printed="(4), (5), (7); for k = 1..K−1 step from θ_{k−1} with α_k, η_k, given α_0..α_{K−1}.",
    corrected="α_0 and η_0 are never used, K − 1 updates are made and θ_K is virtual; both this "
    "loop and the proof's (step from θ_k with α_k, k = 0..K−1) obey (8).",
    checks=checks,
)
