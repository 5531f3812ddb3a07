"""The testbed that claims, sweeps and figures share: how much to measure, and on what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from theory.judge import Measurement
from theory.optima import CertifiedOptimum, certify, certify_batch
from theory.problems import FAMILIES, ConvexProblem, Float, digits_by_class, starting_points
from theory.problems.base import Constants
from theory.schedules import Setting


@dataclass(frozen=True)
class Effort:
    """How much is measured; every statement is the same at each effort.

    Attributes:
        name: the command line's name for it.
        instances: random instances a family.
        tasks: T of the random families.
        dim: d of the random families.
        steps: numbers K of iterations at which bounds are compared.
        vectors: random loss vectors for statements about the softmax alone.
        max_tasks: largest T of statements that sweep T.
        hard_steps: K of the worst-case instances.
    """

    name: str
    instances: int
    tasks: int
    dim: int
    steps: tuple[int, ...]
    vectors: int
    max_tasks: int
    hard_steps: int


EFFORTS = {
    effort.name: effort
    for effort in (
        Effort("quick", 3, 8, 8, (10, 80, 400), 10_000, 1_000, 2_500),
        Effort("default", 12, 10, 10, (10, 100, 1_000, 10_000), 100_000, 1_000, 10_000),
        Effort("full", 24, 10, 10, (10, 100, 1_000, 10_000, 100_000), 1_000_000, 10_000, 100_000),
    )
}
"""Efforts by name, cheapest first."""

REAL_DATA = "digits (real)"
"""Name of the family that is no random one: handwritten digits, a task a class."""


@dataclass(frozen=True)
class Case:
    """A batch of instances of one family with starts and certified minimax optima.

    Attributes:
        name: the family's name.
        problem: I instances (a batch axis of length 1 for a single one).
        start: theta_0, ``[I, d]``.
        optimum: certified optima of (5), arrays ``[I]``.
    """

    name: str
    problem: ConvexProblem
    start: Float
    optimum: CertifiedOptimum

    @cached_property
    def constants(self) -> Constants:
        """Constants of the instances, arrays ``[I]``."""
        return self.problem.constants()

    @cached_property
    def radius(self) -> Float:
        r"""R0, ``[I]``: distance to the certified near-minimiser.

        The proof of Theorem 3.1 bounds F(x) - F(u) for any comparator u of the domain with
        R0 = ||theta_0 - u||, so that no exact minimiser is needed.
        """
        return np.asarray(np.linalg.norm(self.start - self.optimum.point, axis=-1))

    def setting(self, num_steps: int) -> Setting:
        """The named constants for K iterations; arrays ``[I]``."""
        constants = self.constants
        return Setting(
            num_tasks=self.problem.num_tasks,
            num_steps=num_steps,
            radius=self.radius,
            lipschitz=constants.lipschitz,
            loss_bound=constants.loss_range,
            smoothness=constants.smoothness,
            strong_convexity=constants.strong_convexity,
            diameter=2 * self.problem.domain.radius,
        )

    def gap(self, theta: Float) -> tuple[Float, Float]:
        """Certified interval of F(theta) - F*, two arrays ``[..., I]``."""
        worst = np.max(self.problem.losses(theta), axis=-1)
        return worst - self.optimum.upper, worst - self.optimum.lower

    def gaps(self, theta: Float, bound: Float, note: str = "") -> list[Measurement]:
        """The gaps at ``theta[I, d]`` against bounds ``[I]``, one measurement an instance."""
        low, high = self.gap(theta)
        bounds = np.broadcast_to(bound, low.shape)
        scale = np.broadcast_to(self.constants.loss_range, low.shape)
        return [
            Measurement(
                float(low[i]),
                float(high[i]),
                float(bounds[i]),
                f"{self.name}, instance {i}{note and ', '}{note}",
                scale=float(scale[i]),
            )
            for i in range(len(low))
        ]


@dataclass
class Context:
    """Everything a claim may use: effort, seed, and the shared testbed, built on first use.

    Attributes:
        effort: how much to measure.
        seed: seed of every random choice.
        note: called with a short text whenever a claim reaches a new stage.
    """

    effort: Effort = EFFORTS["default"]
    seed: int = 0
    note: Callable[[str], None] = field(default=lambda _: None, repr=False)
    _built: dict[str, Case] = field(default_factory=dict, init=False, repr=False)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that claims do not disturb each other."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    @property
    def cases(self) -> dict[str, Case]:
        """All families with certified optima: the random ones and the real data set."""
        return {name: self.case(name) for name in (*FAMILIES, REAL_DATA)}

    def case(self, name: str) -> Case:
        """One family with certified optima; each is certified once in the life of the context.

        Args:
            name: a key of `theory.problems.FAMILIES`, or `REAL_DATA`.

        Raises:
            KeyError: no such family.
            CertificateError: an optimum could not be certified.
        """
        if name not in self._built:
            self._built[name] = self._digits() if name == REAL_DATA else self._random_case(name)
        return self._built[name]

    def _random_case(self, name: str) -> Case:
        self.note(f"certifying the optima of {name}")
        rng = self.rng(name)
        problem = FAMILIES[name](rng, self.effort.instances, self.effort.tasks, self.effort.dim)
        return Case(name, problem, starting_points(problem, rng), certify_batch(problem))

    def _digits(self) -> Case:
        self.note("certifying the optimum on real data")
        single = digits_by_class(seed=self.seed)
        problem = type(single)(
            domain=type(single.domain)(single.domain.center[None], single.domain.radius[None]),
            features=single.features[None],
            shares=single.shares[None],
        )
        best = certify(single)
        optimum = CertifiedOptimum(
            best.lower[None], best.upper[None], best.point[None], best.weights[None]
        )
        start = starting_points(problem, self.rng("digits"))
        return Case(REAL_DATA, problem, start, optimum)
