"""Means over seeds, with Student's interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy import stats

__all__ = ["LEVEL", "Estimate", "estimate", "paired_difference"]

LEVEL = 0.95
"""Coverage that intervals aim at."""


ROUNDING = 1e-9
"""Relative to numbers of about 1 or more: an interval so narrow is that of equal numbers."""


@dataclass(frozen=True)
class Estimate:
    """A mean of numbers, one a seed."""

    value: float
    deviation: float | None
    """Sample standard deviation; None of one seed."""
    half_width: float | None
    """Of Student's interval for the mean; None of one seed, which says nothing of others."""
    count: int
    """Seeds."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper end."""
        if self.half_width is None:
            return None
        return self.value - self.half_width, self.value + self.half_width

    @property
    def sign(self) -> int:
        """1 or −1 if the interval is on one side of 0; else 0, as with one seed.

        Also 0 if it has no width: seeds that agree to the last digit are too coarse to tell.
        """
        ends = self.interval
        if ends is None or ends[0] <= 0 <= ends[1] or self._without_width:
            return 0
        return 1 if ends[0] > 0 else -1

    @property
    def _without_width(self) -> bool:
        """Whether the seeds agree, but for the rounding of their numbers."""
        return (self.half_width or 0.0) <= ROUNDING * max(1.0, abs(self.value))


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean of values of several seeds; its interval supposes that they are normal.

    Args:
        values: a number a seed.
        level: coverage aimed at.

    Raises:
        ValueError: there is none, or one that is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(
            f"`values` should have at least one number, and finite ones; found {list(values)}"
        )
    count = len(values)
    if count == 1:
        return Estimate(float(values[0]), None, None, 1)
    deviation = stdev(values)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean(values), deviation, half, count)


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], level: float = LEVEL
) -> Estimate | None:
    """Mean of ours less theirs over the seeds that both have; None if there is no such seed.

    What a seed does to both cancels.

    Args:
        ours: by seed.
        theirs: by seed.
        level: coverage aimed at.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    return estimate([ours[seed] - theirs[seed] for seed in shared], level)
