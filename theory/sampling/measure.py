r"""Monte Carlo intervals for :math:`N_\lambda(\theta_0,\epsilon,\delta)` where sums are too long.

Replicates are whole sample paths: the counts at different n are prefixes of the same path (common
random numbers), drawn by binomials forwards and hypergeometrics in between. Numbers of samples are
probed on a fixed grid of ratio 1.02, and the Clopper-Pearson limits of a probe are corrected for
the whole grid and the points that verify it, so that choosing probes by what others gave is
allowed. The lower end of an interval is rigorous at its confidence. The upper end is one where no
failure was seen at, just above, at twice and at four times it: that failures do not come back
beyond is observed, not proved.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from theory.sampling.erm import minimize_on_ball
from theory.sampling.laws import Rng, SampledRisk

LEVEL = 1e-3
"""Probability that any limit of one measurement is wrong."""
RATIO = 1.02
"""Spacing of the grid."""
_TIE = 1e-12
"""Relative rounding allowed at the boundary of failing; ties count as failures."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """What is known of a sample complexity.

    Attributes:
        lower: N is at least this.
        upper: N is at most this.
        replicates: sample paths behind it, 0 for exact sums.
        probes: failures seen, by number of samples.
        residual: largest residual of the optimality conditions of any minimiser.
    """

    lower: int
    upper: int
    replicates: int = 0
    probes: tuple[tuple[int, int], ...] = ()
    residual: float = 0.0

    @classmethod
    def exact(cls, value: int) -> "Interval":
        """An interval of length 0."""
        return cls(value, value)


class Paths:
    """Counts of independent bits along M sample paths, at any number of samples, in any order."""

    def __init__(self, rng: Rng, probabilities: NDArray[np.float64], replicates: int) -> None:
        self._rng = rng
        self._probabilities = probabilities
        self._known: dict[int, Counts] = {
            0: np.zeros((replicates, len(probabilities)), dtype=np.int64)
        }

    def counts(self, samples: int) -> Counts:
        """How often each bit was set in the first n samples of every path.

        Args:
            samples: n >= 0.

        Returns:
            ``[M, G]``.
        """
        if samples not in self._known:
            below = max(n for n in self._known if n < samples)
            above = min((n for n in self._known if n > samples), default=None)
            start = self._known[below]
            if above is None:
                more = self._rng.binomial(samples - below, self._probabilities, start.shape)
            else:
                # given both ends, the ones in between are spread like draws without replacement
                ones = self._known[above] - start
                more = self._rng.hypergeometric(ones, above - below - ones, samples - below)
            self._known[samples] = start + more
        return self._known[samples]


def failed(
    risk: SampledRisk, epsilon: float, radius: float, counts: Counts, samples: int
) -> tuple[NDArray[np.bool_], float]:
    """Which empirical minimisers over the ball of offsets miss by epsilon.

    Args:
        risk: the downstream task.
        epsilon: accuracy.
        radius: of the search set; inf for no constraint.
        counts: of the bits, ``[M, G]``.
        samples: n >= 1.

    Returns:
        Indicators ``[M]`` and the largest residual of the optimality conditions.
    """
    found = minimize_on_ball(*risk.empirical(counts, samples), radius)
    return risk.excess(found.offset) >= epsilon * (1 - _TIE), found.residual


def whole_set_optimal(risk: SampledRisk, epsilon: float, start_risk: float) -> bool:
    r"""Whether every point of the search set is epsilon-optimal, hence N = 0.

    Args:
        risk: the downstream task.
        epsilon: accuracy.
        start_risk: :math:`f_\lambda(\theta_0)`.

    Returns:
        Whether :math:`f_\lambda(\theta_0)\,L/\mu < \epsilon`, up to rounding.
    """
    reach = 0.5 * risk.smoothness * risk.radius(start_risk) ** 2
    return bool(reach < epsilon * (1 - _TIE))


def measure(
    risk: SampledRisk,
    epsilon: float,
    delta: float,
    start_risk: float,
    *,
    rng: Rng,
    replicates: int,
    max_samples: int = 1_000_000,
) -> Interval:
    r"""Interval for :math:`N_\lambda(\theta_0,\epsilon,\delta)`.

    Args:
        risk: the downstream task.
        epsilon: accuracy.
        delta: allowed probability of missing it.
        start_risk: :math:`f_\lambda(\theta_0)`.
        rng: source of the paths.
        replicates: M.
        max_samples: give up beyond.

    Returns:
        The interval; [0, 0] if the whole search set is epsilon-optimal.

    Raises:
        ValueError: epsilon or delta out of range.
        OverflowError: more than `max_samples` are needed, or too few replicates to tell.
    """
    if not (epsilon > 0 and 0 < delta < 1):
        raise ValueError(f"need epsilon > 0 and 0 < delta < 1; found {epsilon}, {delta}")
    if whole_set_optimal(risk, epsilon, start_risk):
        return Interval.exact(0)
    radius = risk.radius(start_risk)
    search = _Search(risk, epsilon, delta, radius, rng, replicates, max_samples)
    upper = search.first_success()
    lower = search.last_failure(upper)
    upper = search.refine_success(upper)
    probes = tuple(sorted(search.failures.items()))
    return Interval(lower + 1, max(upper, lower + 1), replicates, probes, search.residual)


class _Search:
    """Probes of one measurement."""

    def __init__(
        self,
        risk: SampledRisk,
        epsilon: float,
        delta: float,
        radius: float,
        rng: Rng,
        replicates: int,
        max_samples: int,
    ) -> None:
        self.risk, self.epsilon, self.delta, self.radius = risk, epsilon, delta, radius
        self.paths = Paths(rng, risk.probabilities, replicates)
        self.replicates = replicates
        self.grid = candidate_sizes(max_samples)
        # each grid point n, with n + 1, 2n and 4n that verify it, and two limits each
        self.level = LEVEL / (8 * len(self.grid))
        self.failures: dict[int, int] = {}
        self.residual = 0.0

    def count(self, samples: int) -> int:
        """Failures among the replicates with n samples."""
        if samples not in self.failures:
            counts = self.paths.counts(samples)
            bad, residual = failed(self.risk, self.epsilon, self.radius, counts, samples)
            self.failures[samples] = int(np.sum(bad))
            self.residual = max(self.residual, residual)
        return self.failures[samples]

    def fails(self, samples: int) -> bool:
        """Whether n samples certainly fail too often."""
        return lower_limit(self.count(samples), self.replicates, self.level) > self.delta

    def succeeds(self, samples: int) -> bool:
        """Whether n samples certainly fail seldom enough."""
        return upper_limit(self.count(samples), self.replicates, self.level) <= self.delta

    def verified(self, samples: int) -> bool:
        """Whether n, n + 1, 2n and 4n all succeed."""
        return all(self.succeeds(n) for n in (samples, samples + 1, 2 * samples, 4 * samples))

    def first_success(self) -> int:
        """Index of a verified grid point, by doubling."""
        if upper_limit(0, self.replicates, self.level) > self.delta:
            raise OverflowError(
                f"{self.replicates} replicates cannot show a failure probability of {self.delta:g}"
            )
        samples = 1
        while samples <= self.grid[-1]:
            index = int(np.searchsorted(self.grid, samples))
            if self.verified(int(self.grid[index])):
                return index
            samples *= 2
        raise OverflowError(f"more than {self.grid[-1]} samples are needed")

    def last_failure(self, above: int) -> int:
        """Largest number of samples found that certainly fails, 0 if none; by bisection."""
        low, high = -1, above
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.fails(int(self.grid[middle])) else (low, middle)
        return max((n for n in self.failures if self.fails(n)), default=0)

    def refine_success(self, above: int) -> int:
        """Smallest verified number of samples found, by bisection."""
        low, high = -1, above
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.verified(int(self.grid[middle])) else (middle, high)
        return int(self.grid[high])


def candidate_sizes(max_samples: int) -> NDArray[np.int64]:
    """The grid: every n up to 50, then steps of 2 %.

    Args:
        max_samples: its end.

    Returns:
        Increasing numbers of samples.
    """
    count = math.ceil(math.log(max(max_samples, 50) / 50) / math.log(RATIO)) + 1
    steps = np.round(50 * RATIO ** np.arange(count)).astype(np.int64)
    grid = np.unique(np.concatenate([np.arange(1, 51), steps]))
    return np.asarray(grid[grid <= max(max_samples, 1)])


def lower_limit(successes: int, trials: int, level: float) -> float:
    """Clopper-Pearson lower confidence limit of a probability."""
    return float(beta.ppf(level, successes, trials - successes + 1)) if successes else 0.0


def upper_limit(successes: int, trials: int, level: float) -> float:
    """Clopper-Pearson upper confidence limit of a probability."""
    if successes == trials:
        return 1.0
    return float(beta.isf(level, successes + 1, trials - successes))
