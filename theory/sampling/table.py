"""How loose (13) is: which points are measured at which effort, and the bounds beside each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from theory import sample_bounds
from theory.sampling.points import Point, evaluate
from theory.sampling.sweep import sweep
from theory.testbed import Context, Effort

STARTS = (0.001, 0.01, 0.029, 0.03, 0.031, 0.1, 1.0, 10.0, 100.0)
"""Risks of theta_0 of the sweep over starts, epsilon being 0.03."""


@dataclass(frozen=True)
class Row:
    r"""A measured sample complexity and what bounds it.

    Attributes:
        point: what was measured.
        lower: N is at least this (rigorous, at its confidence if Monte Carlo).
        upper: N is at most this (Monte Carlo: as observed).
        replicates: sample paths, 0 for exact sums.
        residual: largest residual of the optimality conditions.
        weights: the downstream mixture.
        start_risk: :math:`f_\lambda(\theta_0)`.
        minimum: :math:`f_\lambda^*`.
        modulus: mu of (11) and (13).
        loss_range: B on the search set.
        lipschitz: L' on the search set.
        near_lipschitz: L' on its part nearer to the minimiser than :math:`\sqrt{2\epsilon/\mu}`.
        smoothness: L of the risk.
        sample_modulus: mu of the samples.
        sample_smoothness: L of the samples.
        noise: :math:`\sigma_\lambda^2`.
        steepness: L' at the minimiser.
        quantile: limit of N epsilon.
    """

    point: Point
    lower: int
    upper: int
    replicates: int
    residual: float
    weights: list[float]
    start_risk: float
    minimum: float
    modulus: float
    loss_range: float
    lipschitz: float
    near_lipschitz: float
    smoothness: float
    sample_modulus: float
    sample_smoothness: float
    noise: float
    steepness: float
    quantile: float

    @property
    def epsilon(self) -> float:
        """Accuracy as a number."""
        numerator, _, denominator = self.point.epsilon.partition("/")
        return float(numerator) / float(denominator or 1)

    @property
    def witness(self) -> str:
        """The point in words."""
        point = self.point
        start = f"{point.start:g}" if not isinstance(point.start, str) else point.start
        how = f"{self.replicates} paths" if self.replicates else "exact"
        return (
            f"{point.family}, T={point.tasks}, d={point.dim}, ε={point.epsilon}, "
            f"δ={point.delta:g}, θ_0: {start}, λ: {point.mixture}, {how}"
        )

    def theorem(self) -> float:
        """Eq. (13)."""
        return float(
            sample_bounds.theorem_5_4(
                self.point.dim,
                self.epsilon,
                self.point.delta,
                loss_range=self.loss_range,
                lipschitz=self.lipschitz,
                modulus=self.modulus,
                start_risk=self.start_risk,
            )
        )

    def localised(self) -> float:
        """B5 (i)."""
        return float(
            sample_bounds.localised_samples(
                self.point.dim,
                self.epsilon,
                self.point.delta,
                lipschitz=self.near_lipschitz,
                modulus=self.modulus,
                start_risk=self.start_risk,
            )
        )

    def moment(self) -> float:
        """B5 (ii), Chebyshev."""
        return float(
            sample_bounds.noise_moment_samples(
                self.epsilon,
                self.point.delta,
                smoothness=self.smoothness,
                modulus=self.sample_modulus,
                noise=self.noise,
            )
        )

    def tail(self) -> float:
        """B5 (ii), McDiarmid."""
        return float(
            sample_bounds.noise_tail_samples(
                self.epsilon,
                self.point.delta,
                smoothness=self.smoothness,
                modulus=self.sample_modulus,
                steepness=self.steepness,
            )
        )

    def asymptote(self) -> float:
        """B5 (iii)."""
        return self.quantile / self.epsilon

    def looseness(self) -> float:
        """(13) divided by the largest N possible; inf where N = 0."""
        return self.theorem() / self.upper if self.upper else float("inf")


def points(effort: Effort, seed: int = 0) -> list[Point]:
    """The points of an effort.

    Args:
        effort: the number of replicates follows its `vectors`; from the default effort on there
            are more accuracies, dimensions and numbers of tasks.
        seed: of instances and replicates.

    Returns:
        Sweeps over epsilon, delta, d, the start's risk and T.
    """
    replicates = min(max(effort.vectors // 5, 2_000), 100_000)
    more = effort.vectors >= 50_000
    much = effort.vectors >= 500_000
    small = (*(("0.01",) if more else ()), *(("0.003", "0.001") if much else ()))
    found = [Point("shifted", e) for e in ("0.1", "0.03", "0.01", "0.003", "0.001", "0.0001")]
    found += [Point("shifted", e, dim=10) for e in ("0.1", "0.03", *small)]
    found += [Point("shifted", "0.03", dim=d) for d in (2, 5, *((20, 50, 100) if more else ()))]
    found += [Point("shifted", "0.03", delta=d, dim=10) for d in (0.2, 0.01, 0.001)]
    found += [Point("linear", "0.03", dim=10, start=e) for e in STARTS]
    found += [Point("two-point", e, tasks=2, start="average") for e in ("0.03", "0.01", *small[1:])]
    sampled = [
        Point("multiplicative", e, tasks=t, dim=5, start="average")
        for t in (2, 3, *((5,) if more else ()), *((10,) if much else ()))
        for e in ("0.1", *small)
    ]
    sampled.append(Point("multiplicative", "0.1", tasks=3, dim=5, start="minimax"))
    sampled.append(
        Point("multiplicative", "0.1", tasks=3, dim=5, start="average", mixture="vertex")
    )
    sampled += [Point("skewed", "0.03", dim=3, start=e) for e in (0.005, *((1.0,) if more else ()))]
    return found + [
        Point(**{**p.configuration(), "replicates": replicates, "seed": seed}) for p in sampled
    ]


def measure_rows(
    chosen: list[Point], directory: Path | None = None, done: Callable[[int], None] = lambda _: None
) -> list[Row]:
    """Measure points.

    Args:
        chosen: the points.
        directory: where finished points are kept, for a restart to find.
        done: called with the number of points finished.

    Returns:
        A row a point.
    """
    configurations = [point.configuration() for point in chosen]
    results = sweep(configurations, evaluate, directory, done)
    return [Row(point, **result) for point, result in zip(chosen, results, strict=True)]


def looseness_table(context: Context) -> tuple[Row, ...]:
    """The rows of a run of the ledger, measured once and shared by the claims that need them.

    Args:
        context: its effort and seed choose the points.

    Returns:
        The rows.
    """
    context.note("measuring sample complexities")
    return _cached(context.effort, context.seed)


@lru_cache(maxsize=4)
def _cached(effort: Effort, seed: int) -> tuple[Row, ...]:
    return tuple(measure_rows(points(effort, seed)))
