r"""A10, Prop. 5.3, Eqs. (11), (12), (17): the ball that gradient descent does not leave.

For a :math:`\mu`-strongly convex, L-smooth risk f with minimiser :math:`\theta^*` and step size
:math:`\eta \le 2/L`, all iterates of gradient descent obey

.. math:: \|\theta_k-\theta^*\| \le \sqrt{2(f(\theta_0)-f^*)/\mu}, \tag{12}

because :math:`\tfrac\mu2\|\theta_k-\theta^*\|^2 \le f(\theta_k)-f^* \le f(\theta_0)-f^*`; the first
inequality of (17) is by smoothness (printed: "convexity"). It holds for projected descent too:
strong convexity gives the same growth around a constrained minimiser. *Sharper:*
:math:`\|\theta_k-\theta^*\| \le \max(|1-\eta\mu|, |1-\eta L|)^k\|\theta_0-\theta^*\|`. Both are
attained. Beyond 2/L the bound is false, so that "every step size" cannot be meant.

*What is missing where it is used.* (12) is about descent on the expected risk. The empirical
minimiser, to which descent on samples converges, can leave the set (11),
:math:`\Theta_\lambda(\theta_0) = \Theta\cap B(\theta_\lambda^*, \sqrt{2f_\lambda(\theta_0)/\mu})`:
:math:`\ell=\tfrac12(\theta-z)^2`, z = M with probability 0.1 and else 0,
:math:`\theta_0 = \theta^*`. The set is also centred at the unknown :math:`\theta_\lambda^*`; the
ball of the same radius around :math:`\theta_0` contains :math:`\theta_\lambda^*`, can be
implemented, and has the same covering bound.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import comb

import numpy as np

from theory import bounds
from theory.claims.base import Claim
from theory.gradient_descent import Path, Risk, follow
from theory.judge import Check, Measurement, holds, refuted
from theory.problems import Ball, DenseQuadratic, Float, starting_points
from theory.problems.generate import dense_quadratic, logistic
from theory.testbed import Context

STEPS = 20
STEP_SIZES = (0.5, 1.0, 1.9, 2.0)
"""Step sizes in units of 1/L for which (12) is claimed."""
TOO_LONG = 2.05
"""A step size in units of 1/L for which it is false."""
LONG_RUN = 200
RARE = Fraction(1, 10)
"""Probability of the rare large sample of the empirical counterexample."""


def radius(excess: Float, modulus: Float) -> Float:
    r"""Right-hand side of (12), :math:`\sqrt{2\,\text{excess}/\mu}`."""
    return np.asarray(np.sqrt(2 * excess / modulus))


def leaving_probability(samples: int, rare: Fraction) -> Fraction:
    r"""Probability that the empirical minimiser leaves (11), exact.

    :math:`\ell=\tfrac12(\theta-z)^2` with z = 1 with probability p, else 0 (the scale M cancels);
    :math:`\theta_0=\theta^*=p`, so that the squared radius of (11) is the variance p(1 - p).

    Args:
        samples: N.
        rare: p.
    """
    return sum(
        (
            comb(samples, ones) * rare**ones * (1 - rare) ** (samples - ones)
            for ones in range(samples + 1)
            if (Fraction(ones, samples) - rare) ** 2 > rare * (1 - rare)
        ),
        Fraction(0),
    )


def checks(context: Context) -> Iterator[Check]:
    """Follow gradient descent on random weighted risks, then leave the ball."""
    rng = context.rng("A10")
    quadratic = _quadratic(context, rng)
    risks = [quadratic, _logistic(context, rng), _constrained(quadratic)]
    paths = [follow(risk, STEP_SIZES, STEPS) for risk in risks]
    yield from _ball(paths[:2], paths[2])
    yield from _contraction(paths)
    yield from _attained()
    yield _too_long(quadratic)
    yield _empirical()
    yield _implementable(risks)


def _ball(free: list[Path], projected: Path) -> Iterator[Check]:
    """(12), (11) and the projected version."""
    yield holds(
        "Eq. (12)",
        "‖θ_k−θ*‖ ≤ √(2(f(θ_0)−f*)/μ), η ≤ 2/L",
        "<=",
        [m for path in free for m in path.compare(radius(path.excess, path.risk.modulus))],
    )
    yield holds(
        "Eq. (11)",
        "‖θ_k−θ*‖ ≤ √(2f(θ_0)/μ), η ≤ 2/L",
        "<=",
        [
            m
            for path in free
            for m in path.compare(radius(path.risk.value(path.risk.start), path.risk.modulus))
        ],
    )
    yield holds(
        "projected",
        "(12) for projected gradient descent",
        "<=",
        projected.compare(radius(projected.excess, projected.risk.modulus)),
        corrected=True,
    )


def _contraction(paths: list[Path]) -> Iterator[Check]:
    """The sharper factor."""
    steps = np.arange(STEPS + 1)[:, None, None]
    found = []
    for path in paths:
        size = np.asarray(path.factors)[:, None] / path.risk.smoothness
        factor = bounds.gradient_descent_distance(
            path.risk.modulus, path.risk.smoothness, size, steps
        )
        found += path.compare(factor * (path.distance[0] + path.error), first=1)
    yield holds(
        "contraction",
        "≤ max(|1−ημ|, |1−ηL|)^k ‖θ_0−θ*‖",
        "<=",
        found,
        corrected=True,
    )


def _attained() -> Iterator[Check]:
    """Equality in (12) at k = 0, and in the contraction along the axes of a quadratic."""
    modulus, smoothness = 0.25, 1.0
    axes = _weighted_quadratic(
        "axes of ½(μx²+Ly²), μ=1/4, L=1",
        DenseQuadratic(
            Ball.of(np.zeros((2, 2)), np.ones(2)),
            np.broadcast_to(np.diag([modulus, smoothness]), (2, 1, 2, 2)),
            np.zeros((2, 1, 2)),
        ),
        np.ones((2, 1)),
        np.eye(2),
    )
    path = follow(axes, STEP_SIZES, STEPS)
    flat = float(radius(path.excess, axes.modulus)[0])
    yield holds(
        "attained, k=0",
        "(12) is an equality for f = μx²/2",
        "==",
        [
            Measurement.value(
                path.distance[0, 0, 0], flat, "μ=1/4, x_0=1", tolerance=float(path.error[0]) + 1e-12
            )
        ],
        corrected=True,
    )
    yield holds(
        f"attained, k={STEPS}",
        "contraction is an equality on an axis",
        "==",
        [
            Measurement.value(
                np.max(path.distance[-1, s]),
                bounds.gradient_descent_distance(modulus, smoothness, factor / smoothness, STEPS),
                f"{axes.name}, ηL={factor:g}",
                tolerance=float(np.max(path.error)) + 1e-12,
            )
            for s, factor in enumerate(path.factors)
        ],
        corrected=True,
    )


def _too_long(risk: Risk) -> Check:
    """A step size beyond 2/L."""
    path = follow(risk, (TOO_LONG,), LONG_RUN)
    return refuted(
        "any step size",
        f"(12) for every step size: ηL={TOO_LONG:g}",
        "<=",
        path.compare(radius(path.excess, risk.modulus)),
        every=True,
    )


def _empirical() -> Check:
    """The empirical minimiser leaves (11)."""
    return refuted(
        "ERM in Θ_λ",
        "Pr(empirical minimiser ∉ Θ_λ(θ_0)) = 0",
        "<=",
        [
            Measurement.value(
                float(leaving_probability(n, RARE)),
                0.0,
                f"½(θ−z)², z~M·Bernoulli({float(RARE):g}), θ_0=θ*, N={n}, exact enumeration",
            )
            for n in (1, 5, 20)
        ],
    )


def _implementable(risks: list[Risk]) -> Check:
    """The ball around the start, which needs no minimiser."""
    found = []
    for risk in risks:
        best, error = risk.minimizer()
        distance = np.linalg.norm(best - risk.start, axis=-1)
        allowed = radius(risk.value(risk.start), risk.modulus)
        found += [
            Measurement(float(d - e), float(d + e), float(r), f"{risk.name}, instance {i}")
            for i, (d, e, r) in enumerate(zip(distance, error, allowed, strict=True))
        ]
    statement = "θ_λ* ∈ Θ ∩ B(θ_0, √(2f_λ(θ_0)/μ))"
    return holds("implementable", statement, "<=", found, corrected=True)


def _quadratic(context: Context, rng: np.random.Generator) -> Risk:
    """Random quadratic tasks under random weights."""
    effort = context.effort
    problem = dense_quadratic(rng, effort.instances, effort.tasks, effort.dim)
    weights = rng.dirichlet(np.ones(effort.tasks), effort.instances)
    start = starting_points(problem, rng)
    return _weighted_quadratic("weighted quadratics", problem, weights, start)


def _weighted_quadratic(name: str, problem: DenseQuadratic, weights: Float, start: Float) -> Risk:
    """Quadratics under weights ``[I, T]``, with the exact constants of the weighted risk."""
    values = np.linalg.eigvalsh(np.einsum("it,itjk->ijk", weights, problem.hessians))
    return Risk(
        name,
        lambda theta: np.asarray(np.sum(weights * problem.losses(theta), axis=-1)),
        lambda theta: problem.weighted_gradient(theta, weights),
        values[:, 0],
        values[:, -1],
        start,
    )


def _logistic(context: Context, rng: np.random.Generator) -> Risk:
    """Random logistic tasks under random weights, each with a ridge of a tenth of L."""
    effort = context.effort
    problem = logistic(rng, effort.instances, effort.tasks, effort.dim)
    weights = rng.dirichlet(np.ones(effort.tasks), effort.instances)
    smoothness = np.asarray(problem.constants().smoothness)
    ridge = smoothness / 10

    def value(theta: Float) -> Float:
        tasks = np.sum(weights * problem.losses(theta), axis=-1)
        return np.asarray(tasks + ridge / 2 * np.sum(theta * theta, axis=-1))

    def gradient(theta: Float) -> Float:
        return problem.weighted_gradient(theta, weights) + ridge[:, None] * theta

    start = starting_points(problem, rng)
    name = "weighted logistic risks with ridge"
    return Risk(name, value, gradient, ridge, smoothness + ridge, start)


def _constrained(risk: Risk) -> Risk:
    """The same risk on a ball around the start too small to hold its minimiser."""
    best, _ = risk.minimizer()
    half = np.linalg.norm(best - risk.start, axis=-1) / 2
    return Risk(
        f"{risk.name} on a ball",
        risk.value,
        risk.gradient,
        risk.modulus,
        risk.smoothness,
        risk.start,
        Ball.of(risk.start, half),
    )


CLAIM = Claim(
    key="A10",
    title="the ball of gradient descent",
    source="Prop. 5.3, Eqs. (11), (12), (17)",
    printed="‖θ_k−θ*‖ ≤ √(2(f(θ_0)−f*)/μ) along gradient descent, hence the search set Θ_λ(θ_0).",
    corrected="True for η ≤ 2/L, projected or not, with the sharper factor "
    "max(|1−ημ|, |1−ηL|)^k; the empirical minimiser may leave Θ_λ(θ_0), and a ball around θ_0 of "
    "the same radius serves as well.",
    checks=checks,
)
