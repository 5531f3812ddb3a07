r"""Guarantees on sample complexities: covering numbers, Theorem 5.4 and the fast rates of B5.

All are upper bounds on a number of samples unless said otherwise. Arguments may be arrays and
broadcast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def covering_number(radius: Any, spacing: Any, dim: int) -> Any:
    r"""Lemma B.3: :math:`(1+2R/\epsilon)^d` epsilon-balls cover any subset of B_R."""
    return (1 + 2 * np.asarray(radius) / spacing) ** dim


def theorem_5_4(
    dim: Any,
    epsilon: Any,
    delta: Any,
    *,
    loss_range: Any,
    lipschitz: Any,
    modulus: Any,
    start_risk: Any,
) -> Any:
    r"""Eq. (13), rounded up: samples after which the constrained empirical minimiser is fine.

    .. math:: \left\lceil\frac{8dB^2}{\epsilon^2}\log\left(1+\frac{16L'}{\epsilon}
              \sqrt{\frac{2f_\lambda(\theta_0)}{\mu}}\right)
              +\frac{8B^2}{\epsilon^2}\log\frac2\delta\right\rceil

    Args:
        dim: d.
        epsilon: accuracy, in loss units.
        delta: allowed probability of missing it.
        loss_range: B, length of an interval that contains all sample losses on the search set; for
            samples known only to satisfy :math:`|\ell| \le B` it is twice that bound.
        lipschitz: L' of the sample losses on the search set.
        modulus: mu of the risk.
        start_risk: :math:`f_\lambda(\theta_0)`.

    Returns:
        A number of samples, an integer as a float.
    """
    radius = np.sqrt(2 * np.asarray(start_risk) / modulus)
    entropy = dim * np.log1p(16 * lipschitz * radius / epsilon)
    return np.ceil(8 * (loss_range / epsilon) ** 2 * (entropy + np.log(2 / delta)))


def localised_samples(
    dim: Any, epsilon: Any, delta: Any, *, lipschitz: Any, modulus: Any, start_risk: Any
) -> Any:
    r"""B5 (i): of order d/epsilon, without B; :math:`m=\min(f_\lambda(\theta_0),\epsilon)`.

    .. math:: \left\lceil\frac{64}{9}\frac{L'^2m}{\mu\epsilon^2}\left[d\log\left(1+
              \frac{8L'}{\epsilon}\sqrt{\frac{2m}{\mu}}\right)+\log\frac1\delta\right]\right\rceil

    Args:
        dim: d.
        epsilon: accuracy.
        delta: allowed probability.
        lipschitz: L' of the convex samples within :math:`\sqrt{2m/\mu}` of the minimiser.
        modulus: mu of the risk.
        start_risk: :math:`f_\lambda(\theta_0)`.

    Returns:
        A number of samples.
    """
    near = np.minimum(start_risk, epsilon)
    entropy = dim * np.log1p(8 * lipschitz / epsilon * np.sqrt(2 * near / modulus))
    scale = 64 / 9 * lipschitz**2 * near / (modulus * np.asarray(epsilon) ** 2)
    return np.ceil(scale * (entropy + np.log(1 / np.asarray(delta))))


def noise_moment_samples(
    epsilon: Any, delta: Any, *, smoothness: Any, modulus: Any, noise: Any
) -> Any:
    r"""B5 (ii), by Chebyshev: :math:`\max(1,\lceil\kappa\sigma^2/(2\mu\epsilon\delta)\rceil)`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        smoothness: L of the risk; :math:`\kappa=L/\mu`.
        modulus: mu of every sample.
        noise: :math:`\sigma^2=\mathbb E\|\nabla\ell_\lambda(\theta_\lambda^*,z)\|^2`.

    Returns:
        A number of samples.
    """
    condition = smoothness / modulus
    return np.maximum(1.0, np.ceil(condition * noise / (2 * modulus * epsilon * delta)))


def noise_tail_samples(
    epsilon: Any, delta: Any, *, smoothness: Any, modulus: Any, steepness: Any
) -> Any:
    r"""B5 (ii), by McDiarmid: :math:`\kappa L'^2(1+\sqrt{2\log(1/\delta)})^2/(2\mu\epsilon)`.

    Rounded up and at least 1, as `noise_moment_samples`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        smoothness: L of the risk; :math:`\kappa=L/\mu`.
        modulus: mu of every sample.
        steepness: L' at the minimiser :math:`\theta_\lambda^*` alone.

    Returns:
        A number of samples.
    """
    spread = (1 + np.sqrt(2 * np.log(1 / np.asarray(delta)))) ** 2
    condition = smoothness / modulus
    return np.maximum(1.0, np.ceil(condition * steepness**2 * spread / (2 * modulus * epsilon)))


def interpolating_samples(epsilon: Any, delta: Any, *, condition: Any, minimax: Any) -> Any:
    r"""B5 (ii) under section 5 to the letter: :math:`\lceil\kappa^2F^*/(\epsilon\delta)\rceil`.

    For every start, as the samples are nonnegative and L-smooth on the whole space:
    :math:`\sigma^2 \le 2Lf_\lambda^* \le 2LF^*`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        condition: :math:`\kappa=L/\mu` with L and mu of the samples.
        minimax: :math:`F^*`.

    Returns:
        A number of samples, at least 1.
    """
    return np.maximum(1.0, np.ceil(condition**2 * minimax / (epsilon * np.asarray(delta))))
