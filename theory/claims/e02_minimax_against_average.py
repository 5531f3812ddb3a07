r"""E2: what the minimax model gains over the average model, and what it pays.

Let :math:`\theta_{\max}` minimise :math:`F=\max_tf_t` and :math:`\theta_{\mathrm{avg}}` the average
:math:`\bar f`. For nonnegative tasks, with the gain
:math:`F(\theta_{\mathrm{avg}})/F(\theta_{\max})` in worst-case risk and the price
:math:`\bar f(\theta_{\max})/\bar f(\theta_{\mathrm{avg}})` in average risk,

.. math:: 1\le\text{gain},\quad 1\le\text{price},\quad \text{gain}\times\text{price}\le T.

*Proof.* :math:`F\le T\bar f` and :math:`\bar f\le F`, so that
:math:`F(\theta_{\mathrm{avg}})\,\bar f(\theta_{\max})\le T\bar f(\theta_{\mathrm{avg}})
F(\theta_{\max})`. The product T is attained for every A < T - 1 by the tasks
:math:`A|\theta-1|` and, T - 1 times, :math:`|\theta|`: gain A + 1, price T/(A + 1). Large gains and
large prices exclude each other. Without nonnegativity the gain has no bound.

How much can be gained depends on the curvatures. For :math:`\frac12\|\theta-c_t\|^2`, all equal,
:math:`\theta_{\max}` is the centre of the smallest ball around the :math:`c_t`,
:math:`\theta_{\mathrm{avg}}` their mean, and the gain is at most :math:`4(1-1/T)^2<4` whatever T,
for :math:`\|c_t-\bar c\|=(1-\frac1T)\|c_t-\text{mean of the others}\|`; one centre against T - 1
attains it, at the price :math:`\frac{T^2}{4(T-1)}`. With the distances :math:`\|\theta-c_t\|`
themselves, in one dimension, the gain is at most 2, as the median lies in the smallest interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import CertifiedOptimum, certify
from theory.problems import Ball, ConvexProblem, DiagonalQuadratic, Float, MaxLinear, absolute_pair
from theory.problems.regression import AbsoluteRegression
from theory.testbed import Context

_INSTANCES = 2
_SOLVER = 1e-6
"""Relative agreement demanded of ratios of certified optima."""


@dataclass(frozen=True)
class Pair:
    """Both certified optima of one instance.

    Attributes:
        problem: a single instance.
        robust: optimum of (5).
        average: optimum of (4).
        witness: its name.
    """

    problem: ConvexProblem
    robust: CertifiedOptimum
    average: CertifiedOptimum
    witness: str

    @classmethod
    def of(cls, problem: ConvexProblem, witness: str, point: Float | None = None) -> "Pair":
        """Solve both programs; `point` is the average's minimiser if known in closed form."""
        average = certify(problem, np.full(problem.num_tasks, 1 / problem.num_tasks))
        if point is not None:
            average = replace(average, point=point)
        return cls(problem, certify(problem), average, witness)

    @property
    def gain(self) -> tuple[float, float]:
        """Interval of F(average's minimiser) / F*."""
        return _over(float(np.max(self.problem.losses(self.average.point))), self.robust)

    @property
    def price(self) -> tuple[float, float]:
        """Interval of the average risk at the minimax minimiser over its least value."""
        return _over(float(np.mean(self.problem.losses(self.robust.point))), self.average)

    def against(
        self, interval: tuple[float, float], bound: float, tolerance: float = 0.0
    ) -> Measurement:
        """One interval of a ratio against a bound; `tolerance` is relative."""
        return Measurement(*interval, bound, self.witness, tolerance * bound)


def checks(context: Context) -> Iterator[Check]:
    """Both directions on the testbed, then where the product and the equal-curvature gain end."""
    yield from _testbed(context)
    yield from _product()
    yield _signed()
    yield from _equal_curvature(context)
    yield from _distances(context)


def _over(value: float, best: CertifiedOptimum) -> tuple[float, float]:
    """A value over a certified optimum, for positive optima."""
    return value / float(best.upper), value / float(best.lower)


def _testbed(context: Context) -> Iterator[Check]:
    """Gain, price and their product on the nonnegative families."""
    gain, price, product = [], [], []
    for name, case in context.cases.items():
        if isinstance(case.problem, MaxLinear):  # takes negative values
            continue
        context.note(f"E2 both optima of {name}")
        tasks = case.problem.num_tasks
        for index in range(min(_INSTANCES, len(case.start))):
            optimum = case.optimum
            robust = CertifiedOptimum(
                optimum.lower[index],
                optimum.upper[index],
                optimum.point[index],
                optimum.weights[index],
            )
            problem = case.problem[index]
            average = certify(problem, np.full(tasks, 1 / tasks))
            pair = Pair(problem, robust, average, f"{name}, instance {index}, T={tasks}")
            gain.append(pair.against(pair.gain, 1.0))
            price.append(pair.against(pair.price, 1.0))
            product.append(pair.against(_times(pair.gain, pair.price), tasks))
    yield holds("gain", "F(θ_avg)/F(θ_max) ≥ 1", ">=", gain, corrected=True)
    yield holds("price", "f̄(θ_max)/f̄(θ_avg) ≥ 1", ">=", price, corrected=True)
    yield holds("gain × price", "gain·price ≤ T, tasks ≥ 0", "<=", product, corrected=True)


def _times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Product of positive intervals."""
    return a[0] * b[0], a[1] * b[1]


def _product() -> Iterator[Check]:
    """A|θ−1| and |θ|: the whole trade-off at product T, from A near 0 to A near T − 1."""
    gain, price, product = [], [], []
    for tasks in (2, 10, 100):
        for steepness in (0.01 * (tasks - 1), 0.5 * (tasks - 1), 0.99 * (tasks - 1)):
            witness = f"A|θ−1|, |θ|: A={steepness:.4g}, T={tasks}"
            pair = Pair.of(absolute_pair(steepness, tasks), witness)
            gain.append(pair.against(pair.gain, steepness + 1, _SOLVER))
            price.append(pair.against(pair.price, tasks / (steepness + 1), _SOLVER))
            product.append(pair.against(_times(pair.gain, pair.price), tasks, _SOLVER))
    yield holds("its gain", "A|θ−1|, |θ|: gain = A+1", "==", gain, corrected=True)
    yield holds("its price", "A|θ−1|, |θ|: price = T/(A+1)", "==", price, corrected=True)
    yield holds("product T", "gain·price = T for every A", "==", product, corrected=True)


def _signed() -> Check:
    """The same tasks, lowered until F* is nearly 0: the ratio has no bound."""
    measured = []
    for tasks in (2, 10):
        steepness = 0.5 * (tasks - 1)
        shift = 0.99 * steepness / (steepness + 1)
        problem = absolute_pair(steepness, tasks, -shift, -shift)
        pair = Pair.of(problem, f"A|θ−1|−s, |θ|−s: A={steepness:g}, s=0.99F*, T={tasks}")
        measured.append(pair.against(pair.gain, tasks))
    return refuted("signed tasks", "gain ≤ T for tasks of any sign", "<=", measured, every=True)


def _equal_curvature(context: Context) -> Iterator[Check]:
    """Half squared distances: at most 4 is gained, and T/4 may be paid."""
    rng = context.rng("E2 centres")
    below, gain, price = [], [], []
    for tasks in (2, 3, 10, 100):
        cap = 4 * (1 - 1 / tasks) ** 2
        for dim in (1, 5) if tasks > 2 else ():  # two centres always attain it
            centers = rng.standard_normal((tasks, dim))
            witness = f"random centres, T={tasks}, d={dim}"
            pair = Pair.of(_distances_squared(centers), witness, np.mean(centers, axis=0))
            below.append(pair.against(pair.gain, cap))
        centers = np.full((tasks, 1), -1.0)
        centers[0] = 1.0
        witness = f"one centre against T−1={tasks - 1}"
        pair = Pair.of(_distances_squared(centers), witness, np.mean(centers, axis=0))
        gain.append(pair.against(pair.gain, cap, _SOLVER))
        price.append(pair.against(pair.price, tasks**2 / (4 * (tasks - 1)), _SOLVER))
    statement = "½‖θ−c_t‖²: gain ≤ 4(1−1/T)² < 4"
    yield holds("one curvature", statement, "<=", below, corrected=True)
    statement = "one against T−1: gain = 4(1−1/T)²"
    yield holds("4 approached", statement, "==", gain, corrected=True)
    statement = "one against T−1: price = T²/(4(T−1))"
    yield holds("at the price", statement, "==", price, corrected=True)


def _distances_squared(centers: Float) -> DiagonalQuadratic:
    """Tasks half the squared distance to each of ``centers[T, d]``, on a ball around them."""
    radius = 1.0 + float(np.max(np.linalg.norm(centers, axis=-1)))
    return DiagonalQuadratic(
        Ball.of(np.zeros(centers.shape[-1]), radius), np.ones_like(centers), centers
    )


def _distances(context: Context) -> Iterator[Check]:
    """Absolute distances on the line: the median against the midrange."""
    rng = context.rng("E2 medians")
    below, attained = [], []
    for tasks in (3, 11, 101):
        pair = _line(rng.standard_normal(tasks), f"random c_t, T={tasks}")
        below.append(pair.against(pair.gain, 2.0))
        pair = _line(np.array([1.0] + [-1.0] * (tasks - 1)), f"one against T−1={tasks - 1}")
        attained.append(pair.against(pair.gain, 2.0, _SOLVER))
    yield holds("distances", "|θ−c_t|, d=1: gain ≤ 2", "<=", below, corrected=True)
    yield holds("2 attained", "one against T−1: gain = 2", "==", attained, corrected=True)


def _line(places: Float, witness: str) -> Pair:
    """Tasks |θ − c_t| for an odd number of ``places[T]``."""
    domain = Ball.of(np.zeros(1), 1.0 + float(np.max(np.abs(places))))
    problem = AbsoluteRegression(domain, np.ones((places.size, 1, 1)), places[:, None])
    return Pair.of(problem, witness, np.atleast_1d(np.median(places)))


CLAIM = Claim(
    key="E2",
    title="gain and price of the minimax",
    source="next check of the summary",
    printed="The minimax model is better than the average model.",
    corrected="Better by a gain of at most T in worst-case risk, worse by a price in average risk; "
    "gain·price ≤ T, attained. At equal curvature the gain stays below 4, the price does not.",
    checks=checks,
)
