"""Random and deliberately nasty instances of the families, batched, from one seed.

Families 1 to 4 are drawn on a ball of radius 2 around a random centre near 0; family 8 stresses one
property at a time: conditioning, near-ties, scale, duplicates.
"""

from collections.abc import Callable

import numpy as np

from theory.problems.base import Ball, ConvexProblem, Float
from theory.problems.linear import MaxLinear
from theory.problems.logistic import Logistic
from theory.problems.quadratic import DenseQuadratic, DiagonalQuadratic
from theory.problems.regression import AbsoluteRegression, HuberRegression

Rng = np.random.Generator
Generator = Callable[[Rng, int, int, int], ConvexProblem]
"""(rng, instances I, tasks T, dimension d) -> a batch of I instances."""

RADIUS = 2.0
SAMPLES = 8


def max_linear(rng: Rng, instances: int, tasks: int, dim: int) -> MaxLinear:
    """Gaussian slopes of length about 1 and Gaussian offsets."""
    slopes = rng.standard_normal((instances, tasks, dim)) / np.sqrt(dim)
    return MaxLinear(_ball(rng, instances, dim), slopes, rng.standard_normal((instances, tasks)))


def absolute(rng: Rng, instances: int, tasks: int, dim: int) -> AbsoluteRegression:
    """Absolute regression; every task has its own regressor."""
    return AbsoluteRegression(*_regression(rng, instances, tasks, dim))


def huber(rng: Rng, instances: int, tasks: int, dim: int) -> HuberRegression:
    """Huber regression with knee 1/2; every task has its own regressor."""
    return HuberRegression(*_regression(rng, instances, tasks, dim), knee=0.5)


def logistic(rng: Rng, instances: int, tasks: int, dim: int) -> Logistic:
    """Logistic regression on Gaussian features; labels of a task's own teacher, 10 % flipped."""
    features = rng.standard_normal((instances, tasks, SAMPLES, dim)) / np.sqrt(dim)
    teachers = rng.standard_normal((instances, tasks, dim, 1))
    labels = np.sign((features @ teachers)[..., 0])
    labels[rng.random(labels.shape) < 0.1] *= -1
    shares = np.full(labels.shape, 1 / SAMPLES)
    return Logistic(_ball(rng, instances, dim), features * labels[..., None], shares)


def dense_quadratic(rng: Rng, instances: int, tasks: int, dim: int) -> DenseQuadratic:
    """Strongly convex quadratics with eigenvalues from 0.2 to 1 in random bases."""
    bases, _ = np.linalg.qr(rng.standard_normal((instances, tasks, dim, dim)))
    eigenvalues = rng.uniform(0.2, 1.0, (instances, tasks, 1, dim))
    hessians = (bases * eigenvalues) @ np.swapaxes(bases, -1, -2)
    domain = _ball(rng, instances, dim)
    hessians = 0.5 * (hessians + np.swapaxes(hessians, -1, -2))
    return DenseQuadratic(domain, hessians, _points_inside(rng, domain, tasks))


def ill_conditioned(rng: Rng, instances: int, tasks: int, dim: int) -> DiagonalQuadratic:
    """Diagonal quadratics with condition number 1e6: curvatures log-uniform on [1e-6, 1]."""
    return conditioned(rng, instances, tasks, dim, condition=1e6)


def conditioned(
    rng: Rng, instances: int, tasks: int, dim: int, condition: float
) -> DiagonalQuadratic:
    """Diagonal quadratics with curvatures log-uniform on [1/condition, 1], both ends taken."""
    exponents = rng.uniform(0.0, 1.0, (instances, tasks, dim))
    exponents[..., 0], exponents[..., -1] = 0.0, 1.0 if dim > 1 else 0.0
    domain = _ball(rng, instances, dim)
    return DiagonalQuadratic(domain, condition**-exponents, _points_inside(rng, domain, tasks))


def near_ties(rng: Rng, instances: int, tasks: int, dim: int) -> MaxLinear:
    """Linear tasks in near-tied pairs: the second half repeats the first, 1e-9 t higher."""
    base = max_linear(rng, instances, (tasks + 1) // 2, dim)
    slopes = np.concatenate([base.slopes, base.slopes], axis=1)[:, :tasks]
    offsets = np.concatenate([base.offsets, base.offsets], axis=1)[:, :tasks]
    return MaxLinear(base.domain, slopes, offsets + 1e-9 * np.arange(tasks))


def one_large_scale(rng: Rng, instances: int, tasks: int, dim: int) -> DiagonalQuadratic:
    """Diagonal quadratics, one of them a thousand times the others."""
    base = conditioned(rng, instances, tasks, dim, condition=10.0)
    scale = np.ones(tasks)
    scale[0] = 1e3
    return DiagonalQuadratic(base.domain, base.curvatures * scale[:, None], base.minimizers)


def duplicated(rng: Rng, instances: int, tasks: int, dim: int) -> DenseQuadratic:
    """Two different quadratics, the second repeated T - 1 times: the extremal case of the gap."""
    base = dense_quadratic(rng, instances, 2, dim)
    index = np.minimum(np.arange(tasks), 1)
    return DenseQuadratic(base.domain, base.hessians[:, index], base.minimizers[:, index])


FAMILIES: dict[str, Generator] = {
    "max-linear": max_linear,
    "absolute": absolute,
    "Huber": huber,
    "logistic": logistic,
    "quadratic": dense_quadratic,
    "ill-conditioned": ill_conditioned,
    "near-ties": near_ties,
    "large scale": one_large_scale,
    "duplicates": duplicated,
}
"""The random families of the ledger, by name."""


def starting_points(problem: ConvexProblem, rng: Rng) -> Float:
    """Random points ``[..., d]`` on the sphere of 0.9 times the radius."""
    domain = problem.domain
    direction = rng.standard_normal(domain.center.shape)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return np.asarray(domain.center + 0.9 * domain.radius[..., None] * direction)


def _ball(rng: Rng, instances: int, dim: int) -> Ball:
    center = 0.3 * rng.standard_normal((instances, dim)) / np.sqrt(dim)
    return Ball.of(center, np.full(instances, RADIUS))


def _points_inside(rng: Rng, domain: Ball, tasks: int) -> Float:
    """One point a task, ``[I, T, d]``, at 0.3 to 0.9 radii from the centre."""
    instances, dim = domain.center.shape
    direction = rng.standard_normal((instances, tasks, dim))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    reach = domain.radius[:, None, None] * rng.uniform(0.3, 0.9, (instances, tasks, 1))
    return np.asarray(domain.center[:, None, :] + reach * direction)


def _regression(rng: Rng, instances: int, tasks: int, dim: int) -> tuple[Ball, Float, Float]:
    """Ball, features ``[I, T, n, d]`` and noisy targets ``[I, T, n]`` of a regressor a task."""
    domain = _ball(rng, instances, dim)
    features = rng.standard_normal((instances, tasks, SAMPLES, dim)) / np.sqrt(dim)
    teachers = _points_inside(rng, domain, tasks)
    noise = 0.1 * rng.standard_normal((instances, tasks, SAMPLES))
    return domain, features, (features @ teachers[..., None])[..., 0] + noise
