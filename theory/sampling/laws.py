r"""Sample losses whose constants and empirical risks are known exactly.

Every sample is T quadratic task losses driven by G independent bits,

.. math:: \ell_t(\theta, z) = \sum_{g=0}^{G} z_g
          \left(\tfrac12\theta^\top H_{tg}\theta - b_{tg}^\top\theta + k_{tg}\right),
          \qquad z_0 = 1,\quad z_g \sim \mathrm{Bernoulli}(p_g),

so that the empirical risk of n samples depends on them only through G binomial counts, whatever n.
A mixture :math:`\lambda` is one such loss. The parameter ball is taken large enough to contain the
search set (11), which is then the ball of radius :math:`\sqrt{2f_\lambda(\theta_0)/\mu}` around
:math:`\theta_\lambda^*`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from theory.problems.base import Constants
from theory.problems.secular import max_on_ball, min_on_ball

Float = NDArray[np.float64]
Rng = np.random.Generator

MAX_ENUMERATED_BITS = 10
"""Up to this many bits the constants are exact, by trying every sample."""


@dataclass(frozen=True)
class TaskSamples:
    r"""The law of the samples of T tasks.

    Attributes:
        name: family, in words.
        probabilities: p, ``[G]``, strictly between 0 and 1.
        hessian: H, ``[T, 1+G, d, d]``, symmetric.
        linear: b, ``[T, 1+G, d]``.
        constant: k, ``[T, 1+G]``.
        modulus: :math:`\mu`, the strong convexity that (11) and (13) are given.
    """

    name: str
    probabilities: Float
    hessian: Float
    linear: Float
    constant: Float
    modulus: float

    def __post_init__(self) -> None:
        if not np.all((self.probabilities > 0) & (self.probabilities < 1)):
            raise ValueError(f"`probabilities` should be inside (0, 1); found {self.probabilities}")
        if not self.modulus > 0:
            raise ValueError(f"`modulus` should be positive; found {self.modulus}")

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.constant)

    def mixture(self, weights: Float) -> "SampledRisk":
        r"""The downstream task :math:`\ell_\lambda = \sum_t\lambda_t\ell_t`.

        Args:
            weights: lambda, ``[T]`` on the simplex.

        Returns:
            Its sample loss.
        """
        return SampledRisk(
            self.probabilities,
            np.tensordot(weights, self.hessian, 1),
            np.tensordot(weights, self.linear, 1),
            np.tensordot(weights, self.constant, 1),
            self.modulus,
        )

    def risks(self, theta: Float) -> Float:
        """Expected task losses ``[T]`` at ``theta[d]``."""
        bits = np.concatenate([[1.0], self.probabilities])
        parts = (
            0.5 * np.einsum("i,tgij,j->tg", theta, self.hessian, theta)
            - self.linear @ theta
            + self.constant
        )
        return np.asarray(parts @ bits)


@dataclass(frozen=True)
class SampledRisk:
    r"""One downstream task: a quadratic loss affine in G independent bits.

    Offsets y below are :math:`\theta-\theta_\lambda^*`.

    Attributes:
        probabilities: ``[G]``.
        hessian: ``[1+G, d, d]``.
        linear: ``[1+G, d]``.
        constant: ``[1+G]``.
        modulus: :math:`\mu` of (11) and (13).
    """

    probabilities: Float
    hessian: Float
    linear: Float
    constant: Float
    modulus: float

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.linear.shape[-1])

    @cached_property
    def mean_hessian(self) -> Float:
        """Hessian ``[d, d]`` of the risk."""
        return np.asarray(np.tensordot(self._bits, self.hessian, 1))

    @cached_property
    def minimizer(self) -> Float:
        r""":math:`\theta_\lambda^*`, ``[d]``."""
        return np.asarray(np.linalg.solve(self.mean_hessian, self._bits @ self.linear))

    @cached_property
    def minimum(self) -> float:
        r""":math:`f_\lambda^*`."""
        return float(self._bits @ self.levels)

    @cached_property
    def pulls(self) -> Float:
        r"""Negative gradients at :math:`\theta_\lambda^*` of the parts, ``[1+G, d]``, mean zero."""
        applied = self.hessian @ self.minimizer
        size = np.linalg.norm(self.linear, axis=-1) + np.linalg.norm(applied, axis=-1)
        pulls = self.linear - applied
        # what is left of parts that vanish there, as at a vertex, is rounding
        rounding = np.linalg.norm(pulls, axis=-1) <= 1e-13 * size
        return np.where(rounding[:, None], 0.0, pulls)

    @cached_property
    def levels(self) -> Float:
        r"""Values of the parts at :math:`\theta_\lambda^*`, ``[1+G]``."""
        best = self.minimizer
        return np.asarray(
            0.5 * np.einsum("i,gij,j->g", best, self.hessian, best)
            - self.linear @ best
            + self.constant
        )

    @property
    def fixed_hessian(self) -> bool:
        """Whether all samples have the same Hessian."""
        return not np.any(self.hessian[1:])

    @property
    def smoothness(self) -> float:
        """L of the risk."""
        return float(np.linalg.eigvalsh(self.mean_hessian)[-1])

    def radius(self, start_risk: float) -> float:
        r"""Radius of the search set (11), given :math:`f_\lambda(\theta_0)`."""
        return float(np.sqrt(2 * start_risk / self.modulus))

    def excess(self, offset: Float) -> Float:
        r""":math:`f_\lambda(\theta)-f_\lambda^*` ``[...]`` at offsets ``[..., d]``."""
        return np.asarray(0.5 * np.sum((offset @ self.mean_hessian) * offset, axis=-1))

    def empirical(self, counts: NDArray[np.integer], samples: int) -> tuple[Float, Float]:
        """Empirical risks as quadratics in the offset, up to constants.

        Args:
            counts: how often each bit was set, ``[M, G]``.
            samples: n >= 1.

        Returns:
            Hessians ``[M, d, d]`` (``[d, d]`` if all samples share it) and linear terms ``[M, d]``:
            the risk is y'Hy/2 - q'y.
        """
        frequencies = counts / samples
        linear = self.pulls[0] + frequencies @ self.pulls[1:]
        if self.fixed_hessian:
            return self.hessian[0], linear
        dim = self.dim
        parts = self.hessian.reshape(-1, dim * dim)
        return (parts[0] + frequencies @ parts[1:]).reshape(-1, dim, dim), linear

    @cached_property
    def gradient_noise(self) -> Float:
        r"""Covariance ``[d, d]`` of :math:`\nabla\ell_\lambda(\theta_\lambda^*, z)`."""
        variance = self.probabilities * (1 - self.probabilities)
        return np.asarray((self.pulls[1:].T * variance) @ self.pulls[1:])

    def steepest_at_minimizer(self) -> float:
        r"""L' at :math:`\theta_\lambda^*` alone: bound of the sample gradients there."""
        if len(self.probabilities) <= MAX_ENUMERATED_BITS:
            return float(np.max(np.linalg.norm(self._all_samples() @ self.pulls, axis=-1)))
        return self._longest_pull()

    def sample_modulus(self) -> float:
        """Strong convexity of every sample (the least eigenvalue of any sample Hessian)."""
        if self.fixed_hessian:
            return float(np.linalg.eigvalsh(self.hessian[0])[0])
        return float(np.min(np.linalg.eigvalsh(self._sample_hessians())))

    def constants(self, radius: float) -> Constants:
        """Constants of the samples on the ball of offsets of at most `radius`.

        Args:
            radius: R > 0.

        Returns:
            L' and the range of the sample losses (its range, not its bound, is what Hoeffding's
            inequality needs), rigorous; exact up to `MAX_ENUMERATED_BITS` bits. L and mu are those
            of the samples.

        Raises:
            ValueError: too many bits to try every sample, and Hessians that differ.
        """
        if len(self.probabilities) <= MAX_ENUMERATED_BITS:
            return self._enumerated_constants(radius)
        if not self.fixed_hessian:
            raise ValueError(
                f"samples with varying Hessians need at most {MAX_ENUMERATED_BITS} bits; found "
                f"{len(self.probabilities)}"
            )
        return self._bounded_constants(radius)

    @property
    def _bits(self) -> Float:
        return np.concatenate([[1.0], self.probabilities])

    def _all_samples(self) -> Float:
        """All bit patterns, ``[2^G, 1+G]``."""
        count = len(self.probabilities)
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return np.concatenate([np.ones((2**count, 1)), bits], axis=-1)

    def _sample_hessians(self) -> Float:
        return np.asarray(np.tensordot(self._all_samples(), self.hessian, 1))

    def _enumerated_constants(self, radius: float) -> Constants:
        samples = self._all_samples()
        values, vectors = np.linalg.eigh(self._sample_hessians())
        values = np.maximum(values, 0.0)
        linear = -np.einsum("sij,si->sj", vectors, samples @ self.pulls)
        levels = samples @ self.levels
        radii = np.full(len(samples), radius)
        highest = levels + max_on_ball(values, linear, radii)
        lowest = levels + min_on_ball(values, linear, radii)
        steepest = max_on_ball(2 * values**2, 2 * values * linear, radii)
        steepest = steepest + np.sum(linear * linear, axis=-1)
        return Constants(
            lipschitz=float(np.sqrt(np.max(steepest))),
            smoothness=float(np.max(values)),
            strong_convexity=float(np.min(values)),
            loss_bound=float(np.max(highest)),
            loss_range=float(np.max(highest) - np.min(lowest)),
            exact=frozenset({"lipschitz", "smoothness", "loss_bound", "loss_range"}),
        )

    def _bounded_constants(self, radius: float) -> Constants:
        """Triangle inequalities over the cube of samples; attained for sign noise and H = I."""
        values = np.linalg.eigvalsh(self.hessian[0])
        least, most = float(values[0]), float(values[-1])
        pull = self._longest_pull()
        top = self.levels[0] + np.sum(np.maximum(self.levels[1:], 0))
        bottom = self.levels[0] + np.sum(np.minimum(self.levels[1:], 0))
        reach = min(radius, pull / least)
        highest = float(top + 0.5 * most * radius**2 + pull * radius)
        lowest = float(bottom + 0.5 * least * reach**2 - pull * reach)
        return Constants(
            lipschitz=most * radius + pull,
            smoothness=most,
            strong_convexity=least,
            loss_bound=highest,
            loss_range=highest - lowest,
        )

    def _longest_pull(self) -> float:
        """Bound of the norm of a sample gradient at the minimiser, coordinate by coordinate."""
        up = self.pulls[0] + np.sum(np.maximum(self.pulls[1:], 0), axis=0)
        down = self.pulls[0] + np.sum(np.minimum(self.pulls[1:], 0), axis=0)
        return float(np.linalg.norm(np.maximum(np.abs(up), np.abs(down))))
