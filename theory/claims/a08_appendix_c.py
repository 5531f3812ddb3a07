r"""A8, Remark 5.2 and Appendix C: how much the average loses to the minimax on one instance.

Tasks :math:`A(\theta-1)^2` and, T - 1 times, :math:`\theta^2`. Printed:
:math:`\theta_{\max}=\frac{\sqrt A}{\sqrt A-1}` with value :math:`\frac{A}{(\sqrt A-1)^2}`. That
is the root of :math:`A(\theta-1)^2=\theta^2` outside [0, 1], worse than
:math:`\theta_{\mathrm{avg}}` for T < 10 at A = T - 1. The other root is right, since on [0, 1] one
side falls and the other rises:

.. math:: \theta_{\max}=\frac{\sqrt A}{\sqrt A+1}, \quad F^*=\frac{A}{(\sqrt A+1)^2}, \qquad
          \theta_{\mathrm{avg}}=\frac{A}{A+T-1}, \quad
          F(\theta_{\mathrm{avg}})=\frac{\max(A(T-1)^2,\,A^2)}{(A+T-1)^2}.

The printed :math:`A(T-1)^2/(A+T-1)^2` needs :math:`A\le(T-1)^2`. The ratio
:math:`F(\theta_{\mathrm{avg}})/F^*` is :math:`(\sqrt{T-1}+1)^2/4` at A = T - 1, a quarter of T at
least, and at best :math:`(\sqrt T+1)^2/4`, at :math:`A=(\sqrt T-1)^2`.

For any nonnegative tasks it is at most T, as
:math:`F(\theta_{\mathrm{avg}})\le\sum_tf_t(\theta_{\mathrm{avg}})\le\sum_tf_t(\theta_{\max})\le
TF^*`, which :math:`A|\theta-1|` and :math:`|\theta|` approach: their ratio is A + 1 for A < T - 1.

The paper takes :math:`\Theta=\mathbb R`, where the tasks are neither Lipschitz nor bounded, against
the assumptions of its Section 5. Here :math:`\Theta=[0,1]`, which contains both optima, with
:math:`\mu=2,\ L=L'=2A,\ B=A` for A >= 1.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import CertifiedOptimum, certify, certify_batch
from theory.problems import MaxLinear, absolute_pair, appendix_c
from theory.testbed import Context

_PAIRS = ((9.0, 10), (2.0, 3), (99.0, 100), (1.5, 2))
_SOLVER = 1e-6
"""Agreement demanded of the solver's points and, relatively, of ratios with certified optima."""


class _Instance:
    """Appendix C at one (A, T), with what is computed without its closed forms."""

    def __init__(self, steepness: float, num_tasks: int) -> None:
        self.steepness, self.num_tasks = steepness, num_tasks
        self.key, self.label = f"{steepness:g},{num_tasks}", f"A={steepness:g}, T={num_tasks}"
        self.problem = appendix_c(steepness, num_tasks)
        self.uniform = np.full(num_tasks, 1 / num_tasks)

    @cached_property
    def robust(self) -> CertifiedOptimum:
        """Minimax optimum (5)."""
        return certify(self.problem)

    @cached_property
    def average(self) -> float:
        """θ_avg, where the gradient of the average changes sign: a solver's point is too coarse."""

        def gradient(theta: float) -> float:
            return float(self.problem.weighted_gradient(np.array([theta]), self.uniform)[0])

        return float(brentq(gradient, 0.0, 1.0, xtol=1e-15, rtol=1e-15))

    def worst(self, theta: float) -> float:
        """F(θ)."""
        return float(np.max(self.problem.losses(np.array([theta]))))

    def ratio(self, bound: float, tolerance: float = 0.0) -> Measurement:
        """Certified interval of F(θ_avg)/F* against a bound."""
        top = self.worst(self.average)
        low, high = top / float(self.robust.upper), top / float(self.robust.lower)
        return Measurement(low, high, bound, self.label, tolerance=tolerance)


def checks(context: Context) -> Iterator[Check]:
    """Closed forms against certified optima, then the ratio against its bounds."""
    instances = [_Instance(*pair) for pair in _PAIRS]
    for instance in instances:
        context.note(f"A8 App. C, {instance.label}")
        yield from _closed_forms(instance)
    yield from _roots(instances)
    yield from _printed_root(instances)
    yield from _domain(instances)
    yield from _ratio(context)
    yield _scan(context)
    yield _any_tasks(context)
    yield from _approached(context)


def _root(steepness: float) -> float:
    """θ_max, corrected."""
    return math.sqrt(steepness) / (math.sqrt(steepness) + 1)


def _optimum(steepness: float) -> float:
    """F*, corrected."""
    return steepness / (math.sqrt(steepness) + 1) ** 2


def _printed_root_of(steepness: float) -> float:
    """θ_max as printed."""
    return math.sqrt(steepness) / (math.sqrt(steepness) - 1)


def _worst_at_average(steepness: float, num_tasks: int) -> float:
    """F(θ_avg) as printed."""
    return steepness * (num_tasks - 1) ** 2 / (steepness + num_tasks - 1) ** 2


def _best_ratio(num_tasks: int) -> float:
    """F(θ_avg)/F* at the best A."""
    return (math.sqrt(num_tasks) + 1) ** 2 / 4


def _closed_forms(instance: _Instance) -> Iterator[Check]:
    """θ_max, F* and F(θ_avg) of one pair (A, T)."""
    steepness, tasks = instance.steepness, instance.num_tasks
    key, label = instance.key, instance.label
    point = float(instance.robust.point[0])
    root = Measurement.value(point, _root(steepness), f"{label}, cvxpy", tolerance=_SOLVER)
    yield holds(f"θ_max {key}", f"{label}: θ_max = √A/(√A+1)", "==", [root], corrected=True)
    low, high = float(instance.robust.lower), float(instance.robust.upper)
    optimum = Measurement(low, high, _optimum(steepness), f"{label}, certified", _SOLVER)
    yield holds(f"F* {key}", f"{label}: F* = A/(√A+1)²", "==", [optimum], corrected=True)
    printed = _closed(instance.worst(instance.average), _worst_at_average(steepness, tasks), label)
    if steepness <= (tasks - 1) ** 2:
        statement = f"{label}: F(θ_avg) = A(T−1)²/(A+T−1)²"
        yield holds(f"F_avg {key}", statement, "==", [printed], corrected=True)
        return
    statement = f"{label}, outside A ≤ (T−1)²: A(T−1)²/(A+T−1)²"
    yield refuted(f"F_avg {key}", statement, "==", [printed])
    corrected = replace(printed, bound=(steepness / (steepness + tasks - 1)) ** 2)
    statement = f"{label}, A > (T−1)²: F(θ_avg) = A²/(A+T−1)²"
    yield holds(f"F_avg' {key}", statement, "==", [corrected], corrected=True)


def _roots(instances: list[_Instance]) -> Iterator[Check]:
    """The corrected root solves the equation of App. C to rounding; θ_avg is as printed."""
    crossing, average = [], []
    for instance in instances:
        steepness, theta = instance.steepness, _root(instance.steepness)
        crossing.append(_closed(steepness * (theta - 1) ** 2, theta**2, instance.label))
        formula = steepness / (steepness + instance.num_tasks - 1)
        average.append(_closed(instance.average, formula, instance.label))
    yield holds("crossing", "A(θ−1)² = θ² at √A/(√A+1)", "==", crossing, corrected=True)
    yield holds("θ_avg", "θ_avg = A/(A+T−1)", "==", average)


def _closed(value: float, formula: float, witness: str) -> Measurement:
    """A closed form against a number computed without it, to rounding."""
    return Measurement.value(value, formula, witness, tolerance=1e-12 * max(1.0, formula))


def _printed_root(instances: list[_Instance]) -> Iterator[Check]:
    """The printed root is outside [0, 1], no minimiser, and often worse than θ_avg."""
    outside, excess = [], []
    for instance in instances:
        steepness = instance.steepness
        printed = _printed_root_of(steepness)
        other = math.sqrt(steepness) / math.sqrt(steepness - 1)
        for theta, reading in ((printed, "√A/(√A−1)"), (other, "read as √A/√(A−1)")):
            witness = f"{instance.label}, θ={theta:.4g}, {reading}"
            outside.append(Measurement.value(theta, 1.0, witness))
            excess.append(
                Measurement.value(instance.worst(theta), float(instance.robust.upper), witness)
            )
    yield refuted("printed θ_max", "√A/(√A−1) ≤ 1: it lies in Θ=[0,1]", "<=", outside, every=True)
    yield refuted("printed F*", "A/(√A−1)² ≤ certified optimum", "<=", excess, every=True)
    worse = []
    for tasks in range(3, 10):
        instance = _Instance(tasks - 1.0, tasks)
        value = instance.worst(_printed_root_of(tasks - 1.0))
        worse.append(Measurement.value(value, instance.worst(instance.average), instance.label))
    statement = "A=T−1, 3≤T≤9: A/(√A−1)² ≤ F(θ_avg)"
    yield refuted("printed, T<10", statement, "<=", worse, every=True)
    tied = instances[0]
    value = tied.worst(_printed_root_of(tied.steepness))
    yield holds(
        "printed, T=10",
        "A=9, T=10: A/(√A−1)² = F(θ_avg), a tie",
        "==",
        [_closed(value, tied.worst(tied.average), tied.label)],
        corrected=True,
    )


def _domain(instances: list[_Instance]) -> Iterator[Check]:
    """Constants on [0, 1]; on the real line there is no L'."""
    exact, unbounded = [], []
    for instance in instances:
        steepness, constants = instance.steepness, instance.problem.constants()
        for name, found, formula in (
            ("μ", constants.strong_convexity, 2.0),
            ("L", constants.smoothness, 2 * steepness),
            ("L'", constants.lipschitz, 2 * steepness),
            ("B", constants.loss_bound, steepness),
        ):
            exact.append(Measurement.value(found, formula, f"{name}, {instance.label}"))
        first = np.eye(instance.num_tasks)[0]
        slope = abs(float(instance.problem.weighted_gradient(np.array([-10.0]), first)[0]))
        unbounded.append(Measurement.value(slope, 2 * steepness, f"{instance.label}, θ=−10"))
    yield holds("Θ=[0,1]", "μ=2, L=L'=2A, B=A on [0, 1]", "==", exact, corrected=True)
    yield refuted("Θ=ℝ", "|f_1'| ≤ L'=2A on Θ=ℝ", "<=", unbounded, every=True)


def _ratio(context: Context) -> Iterator[Check]:
    """F(θ_avg)/F* at A = T − 1 and at the best A, by certified intervals."""
    equal, printed, linear, capped, best = [], [], [], [], []
    for tasks in _task_counts(context):
        context.note(f"A8 ratio, T={tasks}")
        instance = _Instance(tasks - 1.0, tasks)
        formula = (math.sqrt(tasks - 1) + 1) ** 2 / 4
        equal.append(instance.ratio(formula, _SOLVER * formula))
        printed.append(instance.ratio((math.sqrt(tasks - 1) - 1) ** 2 / 4))
        linear.append(instance.ratio(tasks / 4))
        capped.append(instance.ratio(tasks))
        sharpest = _best_ratio(tasks)
        chosen = _Instance((math.sqrt(tasks) - 1) ** 2, tasks)
        best.append(chosen.ratio(sharpest, _SOLVER * sharpest))
    yield holds("ratio, A=T−1", "F(θ_avg)/F* = (√(T−1)+1)²/4", "==", equal, corrected=True)
    yield holds("printed bound", "A=T−1: ratio ≥ (√(T−1)−1)²/4, weak", ">=", printed)
    yield holds("Ω(T)", "A=T−1: ratio ≥ T/4", ">=", linear, corrected=True)
    yield holds("O(T)", "A=T−1: ratio ≤ T", "<=", capped)
    yield holds("best A", "A=(√T−1)²: ratio = (√T+1)²/4", "==", best, corrected=True)


def _scan(context: Context) -> Check:
    """No A on a fine grid has a larger ratio than the best one."""
    steepness = np.geomspace(1e-4, 1e8, 4_001)
    measured = []
    for tasks in _task_counts(context):
        grid = np.append(steepness, (math.sqrt(tasks) - 1) ** 2)
        average = grid / (grid + tasks - 1)
        crossing = np.sqrt(grid) / (np.sqrt(grid) + 1)
        worst = [np.maximum(grid * (x - 1) ** 2, x**2) for x in (average, crossing)]
        ratio = worst[0] / worst[1]
        place = int(np.argmax(ratio))
        witness = f"T={tasks}, largest at A={grid[place]:.4g} of {grid.size} in [1e-4, 1e8]"
        measured.append(Measurement.value(ratio[place], _best_ratio(tasks), witness))
    return holds("scan of A", "ratio ≤ (√T+1)²/4 for every A", "<=", measured, corrected=True)


def _task_counts(context: Context) -> list[int]:
    return [t for t in (2, 3, 10, 100, 1_000, 10_000) if t <= context.effort.max_tasks]


def _any_tasks(context: Context) -> Check:
    """Ratio at most T on the nonnegative families of the testbed."""
    measured = []
    for name, case in context.cases.items():
        if isinstance(case.problem, MaxLinear):  # takes negative values
            continue
        context.note(f"A8 average objective of {name}")
        problem, tasks = case.problem[:4], case.problem.num_tasks
        point = certify_batch(problem, np.full(tasks, 1 / tasks)).point
        worst = np.max(problem.losses(point), axis=-1)
        for i, value in enumerate(worst):
            low, high = float(case.optimum.lower[i]), float(case.optimum.upper[i])
            witness = f"{name}, instance {i}, T={tasks}"
            measured.append(Measurement(value / high, value / low, tasks, witness))
    return holds("any tasks ≥ 0", "F(θ_avg)/F* ≤ T", "<=", measured, corrected=True)


def _approached(context: Context) -> Iterator[Check]:
    """A|θ−1| and |θ|: the ratio is A + 1, as close to T as one likes."""
    equal, close = [], []
    for tasks in _task_counts(context):
        for share in (0.5, 0.9, 0.999):
            steepness = share * (tasks - 1)
            problem = absolute_pair(steepness, tasks)
            robust = certify(problem)
            average = certify(problem, np.full(tasks, 1 / tasks))
            worst = float(np.max(problem.losses(average.point)))
            low, high = worst / float(robust.upper), worst / float(robust.lower)
            witness = f"A|θ−1|, |θ|: A={steepness:.4g}, T={tasks}"
            tolerance = _SOLVER * (steepness + 1)
            equal.append(Measurement(low, high, steepness + 1, witness, tolerance=tolerance))
            if share == 0.999:
                close.append(Measurement(low, high, 0.99 * tasks, witness))
    yield holds("absolute", "A|θ−1|, |θ|: ratio = A+1, A < T−1", "==", equal, corrected=True)
    yield holds("T approached", "A=0.999(T−1): ratio ≥ 0.99·T", ">=", close, corrected=True)


CLAIM = Claim(
    key="A8",
    title="minimax against average",
    source="Remark 5.2, Appendix C",
    printed="θ_max = √A/(√A−1), F* = A/(√A−1)², F(θ_avg) = A(T−1)²/(A+T−1)²; at A = T−1 the "
    "ratio is at least (√(T−1)−1)²/4, O(T); Θ = ℝ.",
    corrected="θ_max = √A/(√A+1), F* = A/(√A+1)²; F(θ_avg) as printed for A ≤ (T−1)²; ratio "
    "(√(T−1)+1)²/4, at best (√T+1)²/4; at most T for any nonnegative tasks; Θ = [0, 1].",
    checks=checks,
)
