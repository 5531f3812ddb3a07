r"""Two tasks on a line with two-point curvatures: sample complexities by binomial sums.

.. math:: \ell_1 = \tfrac12h_1(z)\,\theta^2, \qquad \ell_2 = \tfrac12h_2(z)(1-\theta)^2,
          \qquad \Theta = [0, 1]

Section 5 to the letter (nonnegative, strongly convex, smooth samples; risks of minimum 0). With
mixture :math:`(1-\lambda,\lambda)` the empirical minimiser is
:math:`\lambda\hat h_2/((1-\lambda)\hat h_1+\lambda\hat h_2)`, a function of the ratio of two
binomial means, which increases with it: for each number of samples one sorted table of ratios
serves all mixtures.

On a line, a constrained and a free empirical minimiser fail together unless the whole search set
(11) is epsilon-optimal (B7), so that the search set decides only between N = 0 and N >= 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from theory.sampling.families import multiplicative
from theory.sampling.laws import Float, TaskSamples

_TIE = 1e-12
"""Ratios this close (relatively) to the threshold count as failures; rounding decides no tie."""


@dataclass(frozen=True)
class TwoPoint:
    """Two tasks on [0, 1] with minimisers 0 and 1.

    Attributes:
        low: usual curvatures h_1, h_2, positive.
        high: larger curvatures.
        probabilities: of the larger ones, independent.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    probabilities: tuple[float, float]

    @cached_property
    def means(self) -> Float:
        """Expected curvatures ``[2]``."""
        low, high, p = map(np.array, (self.low, self.high, self.probabilities))
        return np.asarray(low + p * (high - low))

    @property
    def average_point(self) -> float:
        r""":math:`\theta_{avg}`, which minimises the sum of the risks."""
        return float(self.means[1] / np.sum(self.means))

    @property
    def minimax_point(self) -> float:
        r""":math:`\theta_{max}`, where the two risks are equal."""
        roots = np.sqrt(self.means)
        return float(roots[1] / np.sum(roots))

    def curvature(self, share: Float) -> Float:
        r"""Curvature of :math:`f_\lambda` for shares of the second task ``[...]``."""
        return np.asarray((1 - share) * self.means[0] + share * self.means[1])

    def risk(self, theta: float, share: Float) -> Float:
        r""":math:`f_\lambda(\theta)`, ``[...]``."""
        first, second = 0.5 * self.means * np.array([theta**2, (1 - theta) ** 2])
        return np.asarray((1 - share) * first + share * second)

    def samples(self) -> TaskSamples:
        """The same law for the general machinery; its mu is that of the samples."""
        low, high = (np.array(h)[:, None, None] for h in (self.low, self.high))
        centers = np.array([[0.0], [1.0]])
        return multiplicative(low, high, np.array(self.probabilities), centers)

    def worst_excess(self, theta: float, share: Float, modulus: float) -> Float:
        r"""Largest excess risk on :math:`\{|\theta'-\theta_\lambda^*|\le\sqrt{2f_\lambda/\mu}\}`.

        Args:
            theta: theta_0.
            share: lambda, ``[...]``.
            modulus: mu of (11).

        Returns:
            :math:`f_\lambda(\theta_0)\,h_\lambda/\mu`, not less than on the search set, which is
            also confined to [0, 1].
        """
        return np.asarray(self.risk(theta, share) * self.curvature(share) / modulus)

    def worst_excess_any_mixture(self, theta: float, modulus: float) -> float:
        r"""Maximum of `worst_excess` over all mixtures: a quadratic in lambda on [0, 1]."""
        ends = self.worst_excess(theta, np.array([0.0, 0.5, 1.0]), modulus)
        start, middle, end = (float(e) for e in ends)
        bend = 2 * (start + end - 2 * middle)
        slope = end - start - bend
        best = max(start, end)
        if bend < 0 and 0 < -slope / (2 * bend) < 1:
            best = max(best, start - slope**2 / (4 * bend))
        return best

    def failures(self, samples: int, share: Float, epsilon: float) -> Float:
        """Exact probability ``[L]`` that the free empirical minimiser misses by epsilon.

        Args:
            samples: n >= 1.
            share: lambda, ``[L]``, inside (0, 1).
            epsilon: accuracy.

        Returns:
            The sum over both binomial counts, to rounding.
        """
        ratios, cumulative = self._table(samples)
        low, high = self._thresholds(share, epsilon)
        below = cumulative[np.searchsorted(ratios, low * (1 + _TIE), "right")]
        above = 1 - cumulative[np.searchsorted(ratios, high * (1 - _TIE), "left")]
        return np.asarray(np.where(low > 0, below, 0.0) + np.maximum(above, 0.0))

    def complexities(self, share: Float, epsilon: float, delta: float) -> NDArray[np.int64]:
        """Exact N ``[L]`` of search sets that are not entirely epsilon-optimal.

        Args:
            share: lambda, ``[L]``, inside (0, 1).
            epsilon: accuracy.
            delta: allowed probability.

        Returns:
            One more than the last n that fails with probability above delta, at least 1.
        """
        last = np.zeros(len(share), dtype=np.int64)
        for samples in range(1, self.cap(share, epsilon, delta)):
            last[self.failures(samples, share, epsilon) > delta] = samples
        return last + 1

    def cap(self, share: Float, epsilon: float, delta: float) -> int:
        """A number of samples from which on no mixture fails by more than delta.

        Args:
            share: lambda, ``[L]``.
            epsilon: accuracy.
            delta: allowed probability.

        Returns:
            The cap for the worst of the mixtures: `tail_rates` decrease in n.

        Raises:
            ArithmeticError: the bound found does not decay.
        """
        rates = self.tail_rates(share, epsilon)
        if np.any(rates >= 1):
            raise ArithmeticError(f"no tail bound found for epsilon = {epsilon:g}; it is too small")
        needed = 1
        while np.any(np.sum(rates**needed, axis=0) > delta):
            needed *= 2
        low = needed // 2
        while needed - low > 1:
            middle = (low + needed) // 2
            enough = np.all(np.sum(rates**middle, axis=0) <= delta)
            low, needed = (low, middle) if enough else (middle, needed)
        return needed

    def tail_rates(self, share: Float, epsilon: float) -> Float:
        r"""Rates r of a bound :math:`r_-^n + r_+^n` of the failure probability, ``[2, L]``.

        The minimiser passes :math:`x=\theta_\lambda^*\pm\sqrt{2\epsilon/h_\lambda}` only if the
        empirical gradient at x has the wrong sign, which by Chernoff's bound has probability at
        most :math:`M(s)^n`, M the moment generating function of one sample's gradient and s
        anything.

        Args:
            share: lambda, ``[L]``.
            epsilon: accuracy.

        Returns:
            The least rates found, below and above the minimiser.
        """
        curvature = self.curvature(share)
        best, reach = share * self.means[1] / curvature, np.sqrt(2 * epsilon / curvature)
        return np.stack([self._chernoff(share, best + sign * reach, sign) for sign in (-1, 1)])

    def _table(self, samples: int) -> tuple[Float, Float]:
        """Sorted ratios of empirical curvatures and their cumulative probabilities, from 0."""
        counts = np.arange(samples + 1)
        means, masses = [], []
        for low, high, p in zip(self.low, self.high, self.probabilities, strict=True):
            means.append(low + counts / samples * (high - low))
            masses.append(binom.pmf(counts, samples, p))
        ratios = (means[1][None, :] / means[0][:, None]).ravel()
        order = np.argsort(ratios)
        mass = (masses[0][:, None] * masses[1][None, :]).ravel()[order]
        return ratios[order], np.concatenate([[0.0], np.cumsum(mass)])

    def _thresholds(self, share: Float, epsilon: float) -> tuple[Float, Float]:
        """Ratios at or below, or at or above, which the minimiser misses; 0 and inf for never."""
        curvature = self.curvature(share)
        best, reach = share * self.means[1] / curvature, np.sqrt(2 * epsilon / curvature)
        odds = (1 - share) / share
        low, high = best - reach, best + reach
        with np.errstate(divide="ignore"):
            above = np.where(high < 1, odds * high / np.maximum(1 - high, 0.0), np.inf)
        return np.where(low > 0, odds * low / (1 - low), 0.0), above

    def _chernoff(self, share: Float, point: Float, sign: int) -> Float:
        r"""Least :math:`\mathbb E e^{-sX}` found, ``[L]``, X the outward gradient."""
        pulls = np.stack([(1 - share) * point, share * (point - 1)]) * sign
        # the best s is of the order of mean over second moment: from 1/largest curvature up
        largest = np.max(np.abs(pulls) * np.array(self.high)[:, None], axis=0)
        scales = np.geomspace(1e-4, 1e4, 161)[:, None] / largest
        rate = np.zeros_like(scales)
        for pull, low, high, p in zip(pulls, self.low, self.high, self.probabilities, strict=True):
            tilt = -scales * pull
            rate += np.logaddexp(np.log1p(-p) + tilt * low, np.log(p) + tilt * high)
        return np.asarray(np.exp(np.min(rate, axis=0)))
