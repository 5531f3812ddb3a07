r"""Sample complexities without sampling: binomial sums, searched down from a proven cap.

:math:`N_\lambda(\theta_0,\epsilon,\delta)` is the least N such that for *all* n >= N the
constrained empirical minimiser of n samples misses by epsilon with probability at most delta.
The probability is not monotone in n, so N is one more than the last n that fails; a tail bound
that decreases in n gives a cap beyond which none does. At n = 0 every point of the search set is an
empirical minimiser and the worst counts: N = 0 means that the whole search set is epsilon-optimal.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom

Float = NDArray[np.float64]


def sample_complexity(failure: Callable[[int], float], delta: float, cap: int) -> int:
    r"""N from exact failure probabilities.

    Args:
        failure: probability of failing with n >= 1 samples.
        delta: allowed probability.
        cap: proven to fail with probability at most delta for every n >= cap.

    Returns:
        The least N >= 1 such that every n >= N fails with probability at most delta.
    """
    for samples in range(cap - 1, 0, -1):
        if failure(samples) > delta:
            return samples + 1
    return 1


def sign_noise_failure(dim: int, epsilon: Fraction, samples: int) -> float:
    r"""Failure probability for curvature 1 and sign noise of norm 1 in d coordinates.

    The minimiser misses by :math:`\tfrac12\|\bar z\|^2`, whose law is that of a sum of squares of
    d independent binomials, an integer: no rounding decides a tie.

    Args:
        dim: d.
        epsilon: exact.
        samples: n.

    Returns:
        :math:`\Pr(\tfrac12\|\bar z\|^2 \ge \epsilon)`, to rounding.
    """
    # with k_i = 2 J_i - n: the excess is sum k_i^2 / (2 d n^2)
    failing = math.ceil(2 * epsilon * dim * samples**2)
    if dim == 1:
        return float(line_failures(epsilon, np.array([samples]))[0])
    return max(0.0, 1.0 - float(np.sum(_sum_of_squares(dim, samples, failing))))


def line_failures(epsilon: Fraction, samples: NDArray[np.int64]) -> Float:
    """`sign_noise_failure` in one dimension for many numbers of samples at once, ``[...]``."""
    failing = -((-2 * epsilon.numerator * samples**2) // epsilon.denominator)
    root = np.sqrt(failing - 1.0).astype(np.int64)
    root -= root * root > failing - 1
    least = root + 1  # smallest k with k^2 >= failing; k = |2J - n|
    return np.asarray(2 * binom.sf((least + samples + 1) // 2 - 1, samples, 0.5))


def sign_noise_complexity(dim: int, epsilon: Fraction, delta: float) -> int:
    """N for curvature 1 and sign noise of norm 1, when the search set is not all epsilon-optimal.

    Args:
        dim: d.
        epsilon: exact, so that ties are.
        delta: allowed probability.

    Returns:
        N >= 1.
    """
    cap = sign_noise_cap(dim, epsilon, delta)
    if dim == 1:
        failing = np.flatnonzero(line_failures(epsilon, np.arange(1, cap)) > delta)
        return int(failing[-1]) + 2 if len(failing) else 1
    return sample_complexity(lambda n: sign_noise_failure(dim, epsilon, n), delta, cap)


def sign_noise_cap(dim: int, epsilon: Fraction, delta: float) -> int:
    r"""A number of samples from which on sign noise never fails by more than delta.

    Even moments of sums of signs are at most the Gaussian ones, so that Chernoff's bound of
    :math:`\chi^2_d` applies, :math:`(xe^{1-x})^{d/2}` at :math:`x=2\epsilon n`; and Hoeffding's,
    :math:`2e^{-n\epsilon}`, if d = 1. Both decrease in n (the former for x >= 1).

    Args:
        dim: d.
        epsilon: accuracy.
        delta: allowed probability.

    Returns:
        The cap.
    """
    low, high = 1.0, 2.0

    def allowed(x: float) -> bool:
        return dim / 2 * (math.log(x) + 1 - x) <= math.log(delta)

    while not allowed(high):
        high *= 2
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if allowed(middle) else (middle, high)
    cap = math.ceil(high / (2 * float(epsilon)) * (1 + 1e-12)) + 1
    if dim == 1:
        cap = min(cap, math.ceil(math.log(2 / delta) / float(epsilon)) + 1)
    return cap


def _sum_of_squares(dim: int, samples: int, size: int) -> Float:
    """Probabilities ``[size]`` that the d squares of sign sums add up to 0, 1, ... size - 1."""
    ups = np.arange(samples + 1)
    squares = (2 * ups - samples) ** 2
    base = np.zeros(size)
    kept = squares < size
    np.add.at(base, squares[kept], binom.pmf(ups[kept], samples, 0.5))
    result, power = None, base
    remaining = dim
    while remaining:
        if remaining & 1:
            result = power if result is None else fftconvolve(result, power)[:size]
        remaining >>= 1
        if remaining:
            power = fftconvolve(power, power)[:size]
    assert result is not None
    return np.asarray(result)
