r"""Algorithm 1 on minibatches of a law of finite support, batched over replicates.

A sample :math:`z` takes one of S values, with probabilities p, and gives a loss to every task at
once, so that the tasks may be coupled in any way. A batch of b samples is the vector of the
frequencies of the values, hence expectations over batches are finite sums (`batches`), whatever b.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import smooth_max, softmax_weights
from theory.problems import Ball, Constants, ConvexProblem
from theory.schedules import Schedule

Float = NDArray[np.float64]


@dataclass(frozen=True)
class FiniteLaw:
    r"""T task risks :math:`f_t(\theta)=\sum_s p_s\ell_t(\theta,s)`, themselves a `Problem`.

    Attributes:
        atoms: a single instance with S T tasks; :math:`\ell_t(\cdot,s)` is its task ``s * T + t``.
        probabilities: p, ``[S]`` on the simplex.
    """

    atoms: ConvexProblem
    probabilities: Float

    def __post_init__(self) -> None:
        p = self.probabilities
        if np.any(p < 0) or not math.isclose(float(np.sum(p)), 1.0, rel_tol=1e-12):
            raise ValueError(f"`probabilities` should be nonnegative and sum to 1; found {p}")
        if self.atoms.num_tasks % len(p):
            raise ValueError(
                f"`atoms` should have a multiple of {len(p)} tasks, one group for each sample; "
                f"found {self.atoms.num_tasks}"
            )

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return self.atoms.num_tasks // len(self.probabilities)

    @property
    def domain(self) -> Ball:
        """The ball of the atoms."""
        return self.atoms.domain

    def losses(self, theta: Float) -> Float:
        """Risks ``[..., T]``."""
        return self.batch_losses(theta, self.probabilities)

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Subgradient ``[..., d]`` of the weighted risk."""
        return self.batch_gradient(theta, self.probabilities, weights)

    def constants(self) -> Constants:
        """Those of the sample losses, hence rigorous for risks and batches alike."""
        found = self.atoms.constants()
        return Constants(
            found.lipschitz,
            found.smoothness,
            found.strong_convexity,
            found.loss_bound,
            found.loss_range,
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Levels of the sample losses, averaged."""
        each = cp.Variable(self.atoms.num_tasks)
        average = np.kron(self.probabilities, np.eye(self.num_tasks))
        return [*self.atoms.epigraph(theta, each), average @ each <= levels]

    def dual_bound(self, weights: Float) -> Float:
        """Lower bound of the minimum of the weighted risk, from the atoms' own."""
        bound: Callable[[Float], Float] = self.atoms.dual_bound  # type: ignore[attr-defined]
        return bound(np.outer(self.probabilities, weights).ravel())

    def sample_losses(self, theta: Float) -> Float:
        """Losses of every sample value, ``[..., S, T]``."""
        flat = self.atoms.losses(theta)
        return flat.reshape(*flat.shape[:-1], len(self.probabilities), self.num_tasks)

    def batch_losses(self, theta: Float, frequencies: Float) -> Float:
        """Mean losses ``[..., T]`` over batches with the given ``frequencies[..., S]``."""
        return _mixed(frequencies, self.sample_losses(theta))

    def batch_gradient(self, theta: Float, frequencies: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the batch's mean losses weighted by ``weights[..., T]``."""
        product = frequencies[..., :, None] * weights[..., None, :]
        return self.atoms.weighted_gradient(
            theta, product.reshape(*product.shape[:-2], self.atoms.num_tasks)
        )

    def noise(self, theta: Float) -> Float:
        r"""Sub-Gaussian constant :math:`\sigma` ``[...]`` of all sample losses at ``theta``.

        Half the range of a bounded variable, by Hoeffding's lemma.
        """
        values = self.sample_losses(theta)
        return np.asarray(np.max(np.ptp(values, axis=-2), axis=-1) / 2)


def batches(probabilities: Float, size: int) -> tuple[Float, Float]:
    """All batches of independent samples, as frequencies, with their multinomial probabilities.

    Args:
        probabilities: ``[S]``.
        size: b >= 1.

    Returns:
        Frequencies ``[N, S]`` and probabilities ``[N]``, N = C(b+S-1, S-1).
    """
    counts = np.array(list(_compositions(size, len(probabilities))))
    orders = [math.factorial(size) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts / size, np.array(orders) * np.prod(probabilities**counts, axis=-1)


def expected_smooth_max(law: FiniteLaw, theta: Float, alpha: float, size: int) -> Float:
    r"""The surrogate that minibatches really descend, by enumeration of all batches.

    .. math:: G(\theta) = \mathbb E\,\tfrac1\alpha\log\sum_te^{\alpha\hat f_t(\theta)} \ge F_\alpha

    Args:
        law: the samples.
        theta: ``[..., d]``.
        alpha: sharpness in (0, inf].
        size: b.

    Returns:
        ``[...]``, in loss units.
    """
    frequencies, chances = batches(law.probabilities, size)
    values = smooth_max(law.batch_losses(theta[..., None, :], frequencies), alpha)
    return np.asarray(values @ chances)


def expected_gradient(law: FiniteLaw, theta: Float, alpha: float, size: int) -> Float:
    """Expectation ``[..., d]`` of the minibatch gradient, same batch for weights and gradient."""
    frequencies, chances = batches(law.probabilities, size)
    points = theta[..., None, :]
    weights = softmax_weights(law.batch_losses(points, frequencies), alpha)
    return np.asarray(chances @ law.batch_gradient(points, frequencies, weights))


@dataclass(frozen=True)
class MovingAverage:
    r"""Weights from losses averaged over past batches, :math:`s\leftarrow\beta s+(1-\beta)\hat f`.

    Attributes:
        decay: beta in [0, 1).
        include_current: whether the weights of step k already see batch k, which biases the
            gradient; otherwise they are one step older.
    """

    decay: float
    include_current: bool = False


@dataclass(frozen=True)
class MinibatchRun:
    r"""Outcome of minibatch descent on R replicates.

    Attributes:
        average: averaged iterates 0 to K - 1, ``[R, d]``.
        weight_error: :math:`\|s_k-f(\theta_k)\|_\infty` of the losses s_k that the weights were
            made from, ``[K, R]``.
    """

    average: Float
    weight_error: Float


def descend_minibatch(
    law: FiniteLaw,
    schedule: Schedule,
    start: Float,
    draw: Callable[[int], Float],
    memory: MovingAverage | None = None,
) -> MinibatchRun:
    r"""Algorithm 1 with batch means in place of risks, projected, on R replicates at once.

    Args:
        law: the samples.
        schedule: K steps with uniform averaging.
        start: theta_0, ``[d]`` in the domain.
        draw: frequencies ``[R, S]`` of the batches of step k = 0, ..., K - 1; asked for k = -1 too
            (an extra batch at theta_0 that starts s) where the weights exclude the current batch.
        memory: None for weights from the same batch as the gradient.

    Returns:
        The averages, and how wrong the losses behind the weights were.
    """
    first = draw(-1 if memory and not memory.include_current else 0)
    theta = np.broadcast_to(start, (len(first), len(start)))
    state = law.batch_losses(theta, first)
    total, errors = np.zeros_like(theta), []
    for k in range(schedule.num_steps):
        batch = draw(k)
        values = law.sample_losses(theta)
        losses = _mixed(batch, values)
        updated = losses if memory is None else state + (1 - memory.decay) * (losses - state)
        seen = state if memory and not memory.include_current else updated
        weights = softmax_weights(seen, schedule.alpha[k], validate=False)
        gradient = law.batch_gradient(theta, batch, weights)
        errors.append(np.max(np.abs(seen - law.probabilities @ values), axis=-1))
        total += theta
        theta = law.domain.project(theta - schedule.step_size[k] * gradient)
        state = updated
    return MinibatchRun(total / schedule.num_steps, np.stack(errors))


def mean_interval(values: Float, low: float, high: float, risk: float) -> tuple[float, float]:
    """Confidence interval of the mean of a bounded variable, by the empirical Bernstein bound.

    Source: Maurer and Pontil, Empirical Bernstein bounds and sample variance penalization, 2009.

    Args:
        values: independent draws ``[R]``, R >= 2.
        low: certain lower bound of the variable.
        high: certain upper bound.
        risk: probability that the interval misses the mean, at most.

    Returns:
        Lower and upper limit.
    """
    logarithm, count = math.log(4 / risk), values.size
    spread = math.sqrt(2 * float(np.var(values, ddof=1)) * logarithm / count)
    reach = spread + 7 * (high - low) * logarithm / (3 * (count - 1))
    mean = float(np.mean(values))
    return max(low, mean - reach), min(high, mean + reach)


def _mixed(frequencies: Float, values: Float) -> Float:
    """Mean ``[..., T]`` of ``values[..., S, T]`` under ``frequencies[..., S]``."""
    return np.asarray((frequencies[..., None, :] @ values)[..., 0, :])


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` nonnegative integers."""
    if parts == 1:
        return [(total,)]
    return [
        (head, *tail)
        for head in range(total + 1)
        for tail in _compositions(total - head, parts - 1)
    ]
