r"""Logistic regression tasks (family 3), synthetic or on real data shipped with scikit-learn."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from theory.problems.base import Ball, Constants, ConvexProblem, Float, check_shape


@dataclass(frozen=True)
class Logistic(ConvexProblem):
    r"""Tasks :math:`f_t(\theta) = \sum_i s_{ti}\log(1+e^{-y_{ti}x_{ti}^\top\theta})`.

    Attributes:
        features: signed features :math:`y_{ti}x_{ti}`, ``[..., T, n, d]``, labels -1 or +1.
        shares: s, ``[..., T, n]``, nonnegative, summing to 1 over a task's samples (0 pads tasks of
            unequal size).
    """

    features: Float
    shares: Float

    def __post_init__(self) -> None:
        check_shape("features", self.features, (None, None, self.domain.dim), self.batch_shape)
        check_shape("shares", self.shares, self.features.shape[-3:-1], self.batch_shape)
        total = np.sum(self.shares, axis=-1)
        if np.any(self.shares < 0) or not np.allclose(total, 1.0, rtol=0, atol=1e-12):
            raise ValueError("`shares` should be nonnegative and sum to 1 over each task's samples")

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return int(self.shares.shape[-2])

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""
        return np.asarray(np.sum(self.shares * np.logaddexp(0.0, -self._margins(theta)), axis=-1))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Gradient ``[..., d]`` of the weighted risk."""
        # -sigmoid(-m), written so that it never overflows
        slopes = 0.5 * np.tanh(0.5 * self._margins(theta)) - 0.5
        scaled = slopes * self.shares * weights[..., None]
        return np.asarray(np.sum((scaled[..., None, :] @ self.features)[..., 0, :], axis=-2))

    def weighted_hessian(self, theta: Float, weights: Float) -> Float:
        """Hessian ``[..., d, d]`` of the weighted risk."""
        curvature = 0.25 - 0.25 * np.tanh(0.5 * self._margins(theta)) ** 2
        scaled = (curvature * self.shares * weights[..., None])[..., None] * self.features
        # one product over all samples: a product a task would hold T matrices d x d
        left, right = (x.reshape(*x.shape[:-3], -1, x.shape[-1]) for x in (scaled, self.features))
        return np.asarray(np.swapaxes(left, -1, -2) @ right)

    def constants(self) -> Constants:
        """Rigorous bounds, all from the feature lengths and the Gram matrices."""
        length = np.linalg.norm(self.features, axis=-1)
        reach = self.domain.radius[..., None, None] * length
        middle = self._margins(self.domain.center)
        bound = np.max(np.sum(self.shares * np.logaddexp(0.0, reach - middle), axis=-1), axis=-1)
        weighted = self.features * self.shares[..., None]
        eigenvalues = np.linalg.eigvalsh(np.swapaxes(weighted, -1, -2) @ self.features)
        largest = np.max(np.where(self.shares > 0, np.abs(middle) + reach, 0.0), axis=-1)
        # sigma' at the largest margin is the least curvature of a sample
        flattest = 1 / (2 + 2 * np.cosh(np.minimum(largest, 700.0)))
        rounding = eigenvalues.shape[-1] * np.finfo(np.float64).eps * eigenvalues[..., -1]
        modulus = np.maximum(eigenvalues[..., 0] - 4 * rounding, 0.0) * flattest
        return Constants(
            lipschitz=np.max(np.sum(self.shares * length, axis=-1), axis=-1),
            smoothness=np.max(eigenvalues[..., -1], axis=-1) / 4,
            strong_convexity=np.min(modulus, axis=-1),
            loss_bound=bound,
            loss_range=bound,
        )

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """One exponential cone a sample of a single instance, averaged by task."""
        tasks, samples, dim = self.features.shape
        used = np.flatnonzero(self.shares.ravel() > 0)
        values = cp.logistic(-self.features.reshape(tasks * samples, dim)[used] @ theta)
        averaging = np.zeros((tasks, used.size))
        averaging[used // samples, np.arange(used.size)] = self.shares.ravel()[used]
        return [averaging @ values <= levels]

    def _margins(self, theta: Float) -> Float:
        """Signed margins ``[..., T, n]``."""
        return np.asarray((self.features @ theta[..., None, :, None])[..., 0])


def digits_by_class(samples_per_class: int = 30, radius: float = 2.0, seed: int = 0) -> Logistic:
    """Real data: is a handwritten digit at least 5? One task a digit class (T = 10, d = 65).

    The 8x8 images ship with scikit-learn (UCI handwritten digits). Pixels are scaled to [0, 1],
    centred, and an intercept is appended; features are divided by their mean length.

    Args:
        samples_per_class: images drawn from each class without replacement.
        radius: radius of the domain around 0.
        seed: seed of the draw.

    Returns:
        A single instance.

    Raises:
        ValueError: more samples asked for than the rarest class has (174).
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    fewest = int(np.bincount(labels).min())
    if not 1 <= samples_per_class <= fewest:
        raise ValueError(
            f"`samples_per_class` should be from 1 to {fewest}; found {samples_per_class}"
        )
    rng = np.random.default_rng(seed)
    chosen = np.stack(
        [
            rng.choice(np.flatnonzero(labels == digit), samples_per_class, replace=False)
            for digit in range(10)
        ]
    )
    pixels = images / 16.0
    pixels = np.column_stack([pixels - pixels.mean(axis=0), np.ones(len(pixels))])
    pixels /= np.mean(np.linalg.norm(pixels, axis=1))
    signs = np.where(labels >= 5, 1.0, -1.0)
    features = (signs[:, None] * pixels)[chosen]
    shares = np.full(features.shape[:2], 1 / samples_per_class)
    return Logistic(Ball.of(np.zeros(features.shape[-1]), radius), features, shares)
