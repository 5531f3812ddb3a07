"""One point of a sweep: from a configuration to a measured sample complexity and its constants."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.optima import certify
from theory.problems import Ball, DenseQuadratic
from theory.sampling import exact, families
from theory.sampling.asymptote import asymptotic_quantile
from theory.sampling.laws import Float, Rng, SampledRisk, TaskSamples
from theory.sampling.measure import Interval, measure, whole_set_optimal
from theory.sampling.mixtures import hardest_mixture
from theory.sampling.sweep import Configuration, Result
from theory.sampling.two_point import TwoPoint

LINE = TwoPoint((1.0, 1.0), (4.0, 4.0), (0.25, 0.25))
"""The instance of the family "two-point"."""
SEARCH_STEPS = 50
_SHARES = np.linspace(0, 1, 201)[1:-1]
_DOMAIN = 3.0


@dataclass(frozen=True)
class Point:
    """What to measure; its fields are the configuration that names the result.

    Attributes:
        family: "shifted", "linear" (both of unit curvature), "skewed" (linear noise, condition
            10), "multiplicative" or "two-point".
        epsilon: accuracy, in decimal or as a quotient, so that exact sums decide ties exactly.
        delta: allowed probability.
        tasks: T.
        dim: d.
        start: theta_0 by its risk, or "average" or "minimax" for the minimisers of (4) and (5).
        mixture: "hardest" found, "uniform" or "vertex".
        replicates: of Monte Carlo.
        seed: of the instance and of the replicates.
    """

    family: str
    epsilon: str
    delta: float = 0.05
    tasks: int = 1
    dim: int = 1
    start: float | str = 1.0
    mixture: str = "hardest"
    replicates: int = 20_000
    seed: int = 0

    def configuration(self) -> Configuration:
        """As JSON can hold it."""
        return asdict(self)


def evaluate(configuration: Configuration, rng: Rng) -> Result:
    """Measure a point.

    Args:
        configuration: of a `Point`.
        rng: the point's own generator.

    Returns:
        The interval of N and the constants that the bounds need.

    Raises:
        ValueError: unknown family, mixture or start.
    """
    point = Point(**configuration)
    epsilon = float(Fraction(point.epsilon))
    samples = _samples(point)
    weights = _mixture(point, samples)
    risk = samples.mixture(weights)
    start_risk = _start_risk(point, samples, weights)
    interval = _interval(point, risk, weights, start_risk, rng)
    return {
        "lower": interval.lower,
        "upper": interval.upper,
        "replicates": interval.replicates,
        "residual": interval.residual,
        "weights": [float(w) for w in weights],
        **_constants(risk, start_risk, epsilon),
        "quantile": asymptotic_quantile(risk, point.delta, rng),
    }


def _constants(risk: SampledRisk, start_risk: float, epsilon: float) -> dict[str, Any]:
    """Constants on the search set, and nearer to the minimiser."""
    radius = risk.radius(start_risk)
    whole = risk.constants(radius)
    near = risk.constants(min(radius, risk.radius(epsilon)))
    return {
        "start_risk": start_risk,
        "minimum": risk.minimum,
        "modulus": risk.modulus,
        "loss_range": float(whole.loss_range),
        "lipschitz": float(whole.lipschitz),
        "near_lipschitz": float(near.lipschitz),
        "smoothness": risk.smoothness,
        "sample_modulus": risk.sample_modulus(),
        "sample_smoothness": float(whole.smoothness),
        "noise": float(np.trace(risk.gradient_noise)),
        "steepness": risk.steepest_at_minimizer(),
    }


def _samples(point: Point) -> TaskSamples:
    """The instance, drawn from the seed alone, so that all points of a sweep share it."""
    rng = np.random.default_rng([point.seed, point.tasks, point.dim])
    centers = np.zeros((point.tasks, point.dim))
    if point.family == "shifted":
        return families.shifted_additive(centers)
    if point.family == "linear":
        return families.linear_noise(np.tile(np.eye(point.dim), (point.tasks, 1, 1)), centers)
    if point.family == "skewed":
        curvatures = np.diag(np.geomspace(0.1, 1.0, point.dim))
        return families.linear_noise(np.tile(curvatures, (point.tasks, 1, 1)), centers)
    if point.family == "multiplicative":
        return families.random_multiplicative(rng, point.tasks, point.dim)
    if point.family == "two-point":
        return LINE.samples()
    raise ValueError(f"unknown family {point.family!r} of samples")


def _mixture(point: Point, samples: TaskSamples) -> Float:
    """The downstream mixture, ``[T]``."""
    tasks = samples.num_tasks
    if point.mixture == "uniform":
        return np.full(tasks, 1 / tasks)
    if point.mixture == "vertex":
        return np.asarray(np.eye(tasks)[0])
    if point.mixture != "hardest":
        raise ValueError(f"unknown mixture {point.mixture!r}")
    if tasks == 1:
        return np.ones(1)
    if point.family == "two-point":
        epsilon = float(Fraction(point.epsilon))
        hardest = _SHARES[np.argmax(LINE.complexities(_SHARES, epsilon, point.delta))]
        return np.array([1 - hardest, hardest])
    rng = np.random.default_rng([point.seed, point.tasks, point.dim, 1])
    return hardest_mixture(samples, rng, SEARCH_STEPS)


def _start_risk(point: Point, samples: TaskSamples, weights: Float) -> float:
    r""":math:`f_\lambda(\theta_0)`."""
    if not isinstance(point.start, str):
        return float(point.start)
    if point.start == "average":
        theta = samples.mixture(np.full(samples.num_tasks, 1 / samples.num_tasks)).minimizer
    elif point.start == "minimax":
        theta = certify(expected_tasks(samples)).point
    else:
        raise ValueError(f"unknown start {point.start!r}")
    return float(weights @ samples.risks(theta))


def expected_tasks(samples: TaskSamples) -> DenseQuadratic:
    """The expected tasks of multiplicative samples as a problem of the testbed.

    Args:
        samples: of the multiplicative family, minimisers within the ball of radius 3.

    Returns:
        Quadratics of minimum 0.
    """
    risks = [samples.mixture(row) for row in np.eye(samples.num_tasks)]
    return DenseQuadratic(
        Ball.of(np.zeros(risks[0].dim), _DOMAIN),
        np.stack([risk.mean_hessian for risk in risks]),
        np.stack([risk.minimizer for risk in risks]),
    )


def _interval(
    point: Point, risk: SampledRisk, weights: Float, start_risk: float, rng: Rng
) -> Interval:
    """N, exact where sums allow."""
    epsilon = Fraction(point.epsilon)
    if whole_set_optimal(risk, float(epsilon), start_risk):
        return Interval.exact(0)
    if point.family in ("shifted", "linear"):
        return Interval.exact(exact.sign_noise_complexity(risk.dim, epsilon, point.delta))
    if point.family == "two-point" and 0 < weights[1] < 1:
        found = LINE.complexities(weights[1:], float(epsilon), point.delta)
        return Interval.exact(int(found[0]))
    return measure(
        risk, float(epsilon), point.delta, start_risk, rng=rng, replicates=point.replicates
    )
