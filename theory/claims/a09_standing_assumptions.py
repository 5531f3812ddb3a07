r"""A9, the standing assumptions of section 5 and footnote 4.

(i) Section 5 assumes every sample's loss nonnegative and strongly convex and
:math:`\min_\theta \mathbb E\,\ell_t = 0`. Then :math:`\ell_t(\theta_t^*, z) = 0` almost surely, so
that :math:`\theta_t^*` is the unique minimiser of every sample: one sample recovers it, and
:math:`N_t \le 1` at every vertex whatever epsilon, delta and :math:`\theta_0` (the constrained
search set contains :math:`\theta_t^*`). Only mixtures :math:`\lambda` inside the simplex are
statistical problems.

(ii) Footnote 4, "assumptions on the expectation suffice", is false for Theorem 5.4: (20) needs the
empirical risk :math:`L'`-Lipschitz and (23) needs bounded samples. Witness on [0, 1]:
:math:`\ell_1=\tfrac12\theta^2`, :math:`\ell_2=\tfrac{b}{2p}(\theta-1)^2` with b = 1 with
probability p, else 0; :math:`\lambda=(\tfrac12,\tfrac12)`. Both expectations are nonnegative with
minimum 0, :math:`\mu=L=L'=1`, :math:`B=\tfrac12`. Until b = 1 is drawn the empirical minimiser is
0, with excess risk 1/8, so that :math:`N_\lambda` grows like 1/p while (13) stays fixed. (From
:math:`\theta_0 = 0` the search set (11) is all of [0, 1].)

(iii) (11) uses :math:`f_\lambda(\theta_0)` where :math:`f_\lambda(\theta_0)-f_\lambda^*` is
natural. As :math:`f_\lambda \ge \sum_t\lambda_t\tfrac\mu2\|\theta-\theta_t^*\|^2`, the minimum is
at least :math:`\tfrac\mu2\mathrm{Var}_\lambda(\theta_t^*)`, positive inside the simplex: (11) is
strictly larger than it need be.

On :math:`\mathbb R^d` the assumptions contradict each other: strong convexity makes gradients grow
like :math:`\mu\|\theta-\theta^*\|`, and convex functions with an upper bound are constant. Hence
the bounded domain of this testbed.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom

from theory import sample_bounds
from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import certify
from theory.problems import Ball, DenseQuadratic, DiagonalQuadratic, Float, jacobian
from theory.problems.generate import dense_quadratic, starting_points
from theory.testbed import Context

LEAST_CURVATURE = 0.2
EPSILON, DELTA = 0.1, 0.1
RARE = 1e-4
"""Probability p of the rare sample of footnote 4's witness."""
MIXTURE = np.array([0.5, 0.5])


def checks(context: Context) -> Iterator[Check]:
    """One sample at a vertex, footnote 4's witness, the radius of (11), the whole space."""
    yield _vertex(context)
    yield _interior(context)
    yield from _footnote()
    problem, start = _quadratics(context)
    yield from _minimum(context, problem, start)
    yield from _whole_space(context, problem)


def _sample_hessians(rng: np.random.Generator, count: tuple[int, ...], dim: int) -> Float:
    """Random ``[*count, d, d]``, eigenvalues in [0.2, 1], mean a multiple of the identity."""
    roots = rng.standard_normal((*count, dim, dim))
    squares = roots @ np.swapaxes(roots, -1, -2)
    share = squares / np.trace(squares, axis1=-2, axis2=-1)[..., None, None]
    return np.asarray(LEAST_CURVATURE * np.eye(dim) + (1 - LEAST_CURVATURE) * share)


def _empirical_minimizer(hessians: Float, minimizers: Float, mixture: Float) -> Float:
    r"""Minimiser ``[..., d]`` of the empirical :math:`\sum_t\lambda_t\ell_t` of quadratic samples.

    The samples are :math:`\tfrac12(\theta-c_t)^\top H_t(z)(\theta-c_t)`, with Hessians
    ``[..., T, N, d, d]``, minimisers c ``[T, d]`` and mixture lambda ``[T]``.
    """
    means = np.mean(hessians, axis=-3)
    total = np.einsum("t,...tij->...ij", mixture, means)
    pull = np.einsum("t,...tij,tj->...i", mixture, means, minimizers)
    return np.asarray(np.linalg.solve(total, pull[..., None])[..., 0])


def _failure_probability(samples: int, rare: float) -> float:
    r"""Probability that the witness's empirical minimiser has excess at least epsilon, exact.

    With j draws of b = 1 and r = j/(Np) it is r/(1 + r), increasing in j, and the excess is
    :math:`\tfrac12(\hat\theta-\tfrac12)^2`: a binomial tail on either side.
    """
    reach = math.sqrt(2 * EPSILON)
    low, high = 0.5 - reach, 0.5 + reach
    fewest = math.floor(samples * rare * low / (1 - low))
    most = math.ceil(samples * rare * high / (1 - high))
    return float(binom.cdf(fewest, samples, rare) + binom.sf(most - 1, samples, rare))


def _draws(context: Context) -> int:
    return min(context.effort.vectors // 10, 5_000)


def _vertex(context: Context) -> Check:
    """At a vertex every sample has the same minimiser as the expectation."""
    rng, dim, count = context.rng("A9 vertex"), context.effort.dim, _draws(context)
    target = rng.standard_normal((1, dim))
    found = []
    for samples in (1, 2, 5):
        hessians = _sample_hessians(rng, (count, 1, samples), dim)
        error = np.linalg.norm(_empirical_minimizer(hessians, target, np.ones(1)) - target, axis=-1)
        witness = f"d={dim}, N={samples}, largest error of {count} draws of random Hessians"
        found.append(Measurement.value(np.max(error), 0.0, witness, tolerance=1e-10))
    return holds("vertex", "N_t ≤ 1: one sample gives θ_t*", "==", found, corrected=True)


def _interior(context: Context) -> Check:
    """Inside the simplex one sample does not do."""
    rng, dim, count = context.rng("A9 interior"), context.effort.dim, _draws(context)
    targets = rng.standard_normal((2, dim))
    hessians = _sample_hessians(rng, (count, 2, 1), dim)
    # the mean Hessian is a multiple of the identity, so the mixture of the targets is optimal
    error = _empirical_minimizer(hessians, targets, MIXTURE) - MIXTURE @ targets
    missed = np.mean(np.linalg.norm(error, axis=-1) >= 1e-3)
    # d = 1, minimisers 0 and 1, curvature 1 or 3 with equal probability: all four draws
    pairs = np.array([[a, b] for a in (1.0, 3.0) for b in (1.0, 3.0)])[..., None, None, None]
    exact = _empirical_minimizer(pairs, np.array([[0.0], [1.0]]), MIXTURE)[:, 0]
    excess = np.square(exact - 0.5)  # f_λ has curvature 2
    return holds(
        "interior λ",
        "one sample misses θ_λ* w.p. ≥ 1/2",
        ">=",
        [
            Measurement.value(float(missed), 0.5, f"d={dim}, λ=(½,½), {count} draws, error ≥ 1e-3"),
            Measurement.value(
                float(np.mean(excess > 0.06)), 0.5, "d=1, curvatures 1 or 3, exact, excess 1/16"
            ),
        ],
        corrected=True,
    )


def _witness(scale: float) -> DiagonalQuadratic:
    r"""Tasks :math:`\tfrac12\theta^2`, :math:`\tfrac s2(\theta-1)^2` on [0, 1]; s = 1 in mean."""
    return DiagonalQuadratic(
        Ball.of(np.array([0.5]), 0.5), np.array([[1.0], [scale]]), np.array([[0.0], [1.0]])
    )


def _footnote() -> Iterator[Check]:
    """The expectation satisfies everything; samples, empirical risk and (13) do not follow."""
    mean, sample, origin = _witness(1.0), _witness(1 / RARE), np.zeros(1)
    known = mean.constants()
    moved = np.array([0.01])
    steepness = abs(MIXTURE @ (sample.losses(origin) - sample.losses(moved))) / moved[0]
    drawn = f"p={RARE:g}, one sample with b=1"
    yield refuted(
        "note 4, L'",
        "f L'-Lipschitz ⇒ f̂ too, Eq. (20)",
        "<=",
        [Measurement.value(steepness, known.lipschitz, f"{drawn}, slope of f̂_λ on [0, 0.01]")],
    )
    yield refuted(
        "note 4, B",
        "f ≤ B ⇒ samples ≤ B, Eq. (23)",
        "<=",
        [Measurement.value(np.max(sample.losses(origin)), known.loss_bound, f"{drawn}, θ=0")],
    )
    start_risk = float(MIXTURE @ mean.losses(origin))
    for name, statement, problem in (
        ("note 4, (13)", "(13) with B, L' of the expectation", mean),
        ("sample B, L'", "(13) with B, L' of the samples", sample),
    ):
        constants = problem.constants()
        bound = int(
            sample_bounds.theorem_5_4(
                1,
                EPSILON,
                DELTA,
                loss_range=float(constants.loss_bound),
                lipschitz=float(constants.lipschitz),
                modulus=float(known.strong_convexity),
                start_risk=start_risk,
            )
        )
        measured = Measurement.value(
            _failure_probability(bound, RARE),
            DELTA,
            f"p={RARE:g}, ε={EPSILON:g}, δ={DELTA:g}, θ_0=0, failure probability at N={bound}",
        )
        if problem is mean:
            yield refuted(name, statement, "<=", [measured])
        else:
            yield holds(name, statement, "<=", [measured], corrected=True)


def _quadratics(context: Context) -> tuple[DenseQuadratic, Float]:
    """A few random quadratic instances and their starts."""
    rng, effort = context.rng("A9 quadratics"), context.effort
    problem = dense_quadratic(rng, min(effort.instances, 4), effort.tasks, effort.dim)
    return problem, starting_points(problem, rng)


def _minimum(context: Context, problem: DenseQuadratic, start: Float) -> Iterator[Check]:
    """Certified minima of mixtures, and what they do to the radius of (11)."""
    tasks = problem.num_tasks
    mixtures = {
        "uniform λ": np.full(tasks, 1 / tasks),
        "random λ": context.rng("A9 mixtures").dirichlet(np.ones(tasks)),
    }
    positive, smaller, vertex = [], [], []
    for i, instance in enumerate(problem.instances()):
        modulus = float(instance.constants().strong_convexity)
        for name, mixture in mixtures.items():
            best = certify(instance, mixture)
            risk = float(mixture @ instance.losses(start[i]))
            spread = float(mixture @ _squared_distances(instance, mixture))
            ends = [math.sqrt((risk - float(end)) / risk) for end in (best.upper, best.lower)]
            low, high = float(best.lower), float(best.upper)
            witness = f"instance {i}, {name}"
            positive.append(Measurement(low, high, modulus / 2 * spread, witness))
            smaller.append(Measurement(ends[0], ends[1], 1.0, witness))
        best = certify(instance, np.eye(tasks)[0])
        reach = float(instance.constants().loss_bound)
        low, high = float(best.lower), float(best.upper)
        vertex.append(Measurement(low, high, 0.0, f"instance {i}, task 0", 1e-8 * reach))
    statement = "f_λ* ≥ (μ/2)·Var_λ(θ_t*), inside Δ_T"
    yield holds("f_λ* > 0", statement, ">=", positive, corrected=True)
    yield holds("f_λ*, vertex", "f_λ* = 0 at a vertex", "==", vertex)
    statement = "√((f_λ(θ_0)−f_λ*)/f_λ(θ_0)) ≤ 1, radii"
    yield holds("radius of (11)", statement, "<=", smaller, corrected=True)


def _squared_distances(instance: DenseQuadratic, mixture: Float) -> Float:
    """Squared distances ``[T]`` of the task minimisers to their mixture."""
    offsets = instance.minimizers - mixture @ instance.minimizers
    return np.asarray(np.sum(offsets * offsets, axis=-1))


def _whole_space(context: Context, problem: DenseQuadratic) -> Iterator[Check]:
    """The constants of the ball, inside and far outside it."""
    rng = context.rng("A9 space")
    constants = problem.constants()
    direction = rng.standard_normal(problem.domain.center.shape)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    distance = 2 * constants.lipschitz / constants.strong_convexity
    far = problem.minimizers[:, 0] + distance[:, None] * direction
    sphere = np.stack([starting_points(problem, rng) for _ in range(100)])
    steep, tall = _largest(problem, far)
    note = "at ‖θ−θ_0*‖ = 2L'/μ"
    yield refuted(
        "Lipschitz, R^d",
        "strongly convex, ‖∇f_t‖ ≤ L' on R^d",
        "<=",
        _each(steep, constants.lipschitz, note),
        every=True,
    )
    yield refuted(
        "bounded, R^d",
        "not constant, f_t ≤ B on R^d",
        "<=",
        _each(tall, constants.loss_bound, note),
        every=True,
    )
    steep, tall = (np.max(values, axis=0) for values in _largest(problem, sphere))
    yield holds(
        "on a ball",
        "‖∇f_t‖ ≤ L' and f_t ≤ B on bounded Θ",
        "<=",
        [
            *_each(steep, constants.lipschitz, "gradients at 100 points"),
            *_each(tall, constants.loss_bound, "risks at 100 points"),
        ],
        corrected=True,
    )


def _largest(problem: DenseQuadratic, theta: Float) -> tuple[Float, Float]:
    """Largest gradient norm and risk over tasks, ``[..., I]``."""
    norms = np.linalg.norm(jacobian(problem, theta), axis=-1)
    return np.max(norms, axis=-1), np.max(problem.losses(theta), axis=-1)


def _each(values: Float, bound: Float, note: str) -> list[Measurement]:
    return [
        Measurement.value(value, limit, f"quadratics, instance {i}, {note}")
        for i, (value, limit) in enumerate(zip(values, bound, strict=True))
    ]


CLAIM = Claim(
    key="A9",
    title="standing assumptions of section 5",
    source="Section 5, footnote 4, Eq. (11)",
    printed="Samples nonnegative and strongly convex, risks Lipschitz and bounded, minimum 0; "
    "assumptions on the expectation suffice.",
    corrected="On R^d they are contradictory; on a ball N_t ≤ 1 at vertices; (13) needs B and L' "
    "of the samples; f_λ* > 0 inside the simplex, so that (11) is larger than needed.",
    checks=checks,
)
