"""Sample laws of finite support, and expected gaps on them, shared by the claims B3 and B4."""

from collections.abc import Callable

import numpy as np

from theory.judge import Measurement
from theory.optima import CertifiedOptimum
from theory.problems import (
    AbsoluteRegression,
    Ball,
    DiagonalQuadratic,
    Float,
    MaxLinear,
    jacobian,
)
from theory.stochastic import FiniteLaw, batches, mean_interval
from theory.testbed import Context

Rng = np.random.Generator

_RISK = 1e-9
"""Probability that a confidence interval misses."""
_REPLICATES = 2_000
_DIM = 3


def random_laws(context: Context, purpose: str) -> dict[str, FiniteLaw]:
    """Three couplings of T = 4 tasks: linear, absolute and quadratic sample losses."""
    rng = context.rng(f"{purpose} laws")
    samples, tasks = 4, 4
    centers = rng.standard_normal((3 * tasks, _DIM))
    centers /= np.linalg.norm(centers, axis=-1, keepdims=True)
    features = rng.standard_normal((samples * tasks, 1, _DIM))
    return {
        "noisy slopes": noisy_slopes(rng, tasks, 3),
        "absolute": FiniteLaw(
            AbsoluteRegression(_ball(), features, rng.standard_normal((samples * tasks, 1))),
            np.full(samples, 1 / samples),
        ),
        "quadratic": FiniteLaw(
            DiagonalQuadratic(_ball(), rng.uniform(0.2, 1.0, (3 * tasks, _DIM)), centers),
            rng.dirichlet(np.ones(3)),
        ),
    }


def noisy_slopes(rng: Rng, tasks: int, values: int) -> FiniteLaw:
    """Linear tasks with random slopes and offsets that differ from sample to sample."""
    shape = (values, tasks, _DIM)
    slopes = rng.standard_normal((tasks, _DIM)) + 0.5 * rng.standard_normal(shape)
    offsets = rng.standard_normal((values, tasks))
    atoms = MaxLinear(_ball(), slopes.reshape(-1, _DIM), offsets.ravel())
    return FiniteLaw(atoms, rng.dirichlet(np.full(values, 5.0)))


def noisy_offsets(rng: Rng, tasks: int, values: int) -> FiniteLaw:
    """Linear tasks with noise in their offsets alone, hence the same everywhere."""
    slopes = np.tile(rng.standard_normal((tasks, _DIM)), (values, 1))
    atoms = MaxLinear(_ball(), slopes, rng.standard_normal(values * tasks))
    return FiniteLaw(atoms, rng.dirichlet(np.full(values, 5.0)))


def error_norms(law: FiniteLaw, theta: Float, frequencies: Float) -> Float:
    """Largest distance of a task's batch gradient from its gradient, ``[N]``, at ``theta[d]``."""
    slopes = jacobian(law.atoms, theta).reshape(-1, law.num_tasks * theta.size)
    error = ((frequencies - law.probabilities) @ slopes).reshape(-1, law.num_tasks, theta.size)
    return np.asarray(np.max(np.linalg.norm(error, axis=-1), axis=-1))


def draws(rng: Rng, law: FiniteLaw, size: int) -> Callable[[int], Float]:
    """Independent batches of `size` samples for every step and replicate, ``[R, S]``."""
    frequencies, chances = batches(law.probabilities, size)
    upper = np.cumsum(chances)[:-1]
    return lambda _: frequencies[np.searchsorted(upper, rng.random(_REPLICATES), side="right")]


def expected_gap(
    law: FiniteLaw, best: CertifiedOptimum, theta: Float, bound: float, witness: str
) -> Measurement:
    """Expected gap over independent replicates ``theta[R, d]``, as an interval."""
    worst = np.max(law.losses(theta), axis=-1)
    constants = law.constants()
    reach = min(
        float(constants.loss_range), 2 * float(law.domain.radius) * float(constants.lipschitz)
    )
    floor = float(best.lower)
    low, high = mean_interval(worst, floor, floor + reach, _RISK)
    note = f"{witness}, {len(theta)} runs, confidence 1−{_RISK:.0e}"
    return Measurement(low - float(best.upper), high - floor, bound, note)


def _ball() -> Ball:
    return Ball.of(np.zeros(_DIM), 2.0)
