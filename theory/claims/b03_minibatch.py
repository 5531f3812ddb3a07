r"""B3: minibatch losses inside the softmax, and losses averaged over past batches.

With the same batch for weights and gradient, :math:`\hat g=\sum_tw_t(\hat f)\nabla\hat f_t` is an
unbiased subgradient, not of F_alpha, but of

.. math:: G(\theta)=\mathbb E\,\tfrac1\alpha\log\sum_te^{\alpha\hat f_t(\theta)},\qquad
          F\le F_\alpha\le G\le F_\alpha+\min\left(\frac{\alpha\sigma^2}{2b},
          \sigma\sqrt{\frac{2\log T}b}\right),

convex and L'-Lipschitz with the samples' L', for :math:`\sigma`-sub-Gaussian sample losses,
however the tasks are coupled. *Proof.* Jensen below; above, :math:`\mathbb E\log\le\log\mathbb E`
and the moment generating function, or :math:`F_\alpha(f+\xi)\le F_\alpha(f)+\max\xi_t`. Hence

.. math:: \mathbb EF(\bar\theta_K)-F^*\le\frac{R_0L'}{\sqrt K}+\frac{\log T}\alpha
          +\min\left(\frac{\alpha\sigma^2}{2b},\sigma\sqrt{\frac{2\log T}b}\right),

whose last two terms are least, :math:`\sigma\sqrt{2\log T/b}`, at
:math:`\alpha=\sqrt{2b\log T}/\sigma`, and as :math:`\alpha\to\infty`. The floor is real: with noise
the gap does not vanish as K grows. Weights from averaged losses are `b03_moving_average`.

Expectations are sums over all batches, or over all sequences of batches; where there are too many,
they are confidence intervals that miss with probability 1e-9.
"""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.special import logsumexp

from taskrobust.weights import smooth_max, softmax_weights
from theory import bounds, stochastic_bounds
from theory.claims import b03_moving_average
from theory.claims.base import Claim
from theory.claims.finite_laws import draws, error_norms, expected_gap, noisy_slopes, random_laws
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import certify
from theory.problems import Float
from theory.schedules import Schedule, Setting
from theory.stochastic import (
    FiniteLaw,
    batches,
    descend_minibatch,
    expected_gradient,
    expected_smooth_max,
)
from theory.testbed import Context

_SHARPNESS = (0.3, 3.0, 30.0)
_SIZES = (1, 2, 5)
_PATH = 10
"""Steps of descent of which all sequences of batches are tried."""


def checks(context: Context) -> Iterator[Check]:
    """The surrogate, its bias, what descent on it reaches, and averaged losses."""
    laws = random_laws(context, "B3")
    yield from _unbiased(context, laws)
    yield _subgradient(context, laws)
    yield from _surrogate(context, laws)
    yield _bias_approached()
    yield _best_sharpness()
    yield from _weight_bias(context, laws)
    yield _all_paths(context)
    yield from _rate(context)
    yield from b03_moving_average.checks(context, laws)


def _unbiased(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """Expected gradient against complex-step derivatives of G and F_alpha by SciPy."""
    rng = context.rng("B3 gradient")
    surrogate: list[Measurement] = []
    smoothed: list[Measurement] = []
    for name, law in laws.items():
        if name == "absolute":  # not differentiable
            continue
        theta = law.domain.project(rng.standard_normal(law.domain.dim))
        scale = float(law.constants().lipschitz)
        for alpha, size in product(_SHARPNESS, _SIZES):
            gradient = expected_gradient(law, theta, alpha, size)
            frequencies, chances = batches(law.probabilities, size)
            own = _complex_gradient(law, theta, alpha, frequencies, chances)
            plain = _complex_gradient(law, theta, alpha, law.probabilities[None], np.ones(1))
            witness = f"{name}, S={len(law.probabilities)}, α={alpha:g}, b={size}"
            for list_, reference in ((surrogate, own), (smoothed, plain)):
                error = float(np.max(np.abs(gradient - reference)))
                list_.append(Measurement.value(error, 0.0, witness, tolerance=1e-11 * scale))
    yield holds("unbiased", "‖E ĝ − ∇G‖ = 0, all batches tried", "==", surrogate, corrected=True)
    yield refuted("not for F_α", "‖E ĝ − ∇F_α‖ = 0", "==", smoothed)


def _complex_gradient(
    law: FiniteLaw, theta: Float, alpha: float, frequencies: Float, chances: Float
) -> Float:
    """Gradient ``[d]`` of the mean smooth maximum over batches, without taking a difference."""
    found = np.empty_like(theta)
    for axis in range(theta.size):
        moved = theta.astype(complex)
        moved[axis] += 1e-200j
        losses = law.batch_losses(moved[None], frequencies)
        found[axis] = chances @ np.imag(logsumexp(alpha * losses, axis=-1)) / (alpha * 1e-200)
    return found


def _subgradient(context: Context, laws: dict[str, FiniteLaw]) -> Check:
    """G lies above its tangents at kinks of the sample losses, where residuals vanish."""
    rng = context.rng("B3 subgradient")
    law = laws["absolute"]
    features, targets = law.atoms.features[:, 0], law.atoms.targets[:, 0]  # type: ignore[attr-defined]
    measured = []
    for alpha, size in product((*_SHARPNESS, math.inf), _SIZES):
        atom = int(rng.integers(len(targets)))
        row = features[atom]
        theta = law.domain.center + rng.standard_normal(row.size) / 4
        theta = theta - (row @ theta - targets[atom]) / (row @ row) * row
        others = theta + rng.standard_normal((50, row.size)) * rng.choice([1e-3, 1.0], (50, 1))
        slope = expected_gradient(law, theta, alpha, size)
        base = float(expected_smooth_max(law, theta, alpha, size))
        excess = expected_smooth_max(law, others, alpha, size) - base - (others - theta) @ slope
        witness = f"absolute, α={alpha:g}, b={size}, kink of atom {atom}, 50 points"
        measured.append(Measurement.value(np.min(excess), 0.0, witness, scale=base))
    statement = "G(y) ≥ G(x)+⟨E ĝ(x), y−x⟩ at kinks"
    return holds("subgradient", statement, ">=", measured, corrected=True)


def _surrogate(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """F <= F_alpha <= G and the bias of G, at random points."""
    rng = context.rng("B3 surrogate")
    order, bias = [], []
    for name, law in laws.items():
        theta = law.domain.project(rng.standard_normal((50, law.domain.dim)))
        losses = law.losses(theta)
        worst = np.max(losses, axis=-1)
        scale = float(np.max(np.abs(law.sample_losses(theta))))
        for alpha, size in product(_SHARPNESS, _SIZES):
            smooth = smooth_max(losses, alpha)
            surrogate = expected_smooth_max(law, theta, alpha, size)
            allowed = stochastic_bounds.minibatch_bias(law.num_tasks, alpha, law.noise(theta), size)
            witness = f"{name}, α={alpha:g}, b={size}, worst of 50 points"
            above = max(float(np.max(worst - smooth)), float(np.max(smooth - surrogate)))
            order.append(Measurement.value(above, 0.0, witness, scale=scale))
            tight = int(np.argmax((surrogate - smooth) / allowed))
            value = surrogate[tight] - smooth[tight]
            bias.append(Measurement.value(value, allowed[tight], witness, scale=scale))
    yield holds("sandwich", "F ≤ F_α ≤ G", "<=", order, corrected=True)
    statement = "G−F_α ≤ min(ασ²/(2b), σ√(2logT/b))"
    yield holds("batch bias", statement, "<=", bias, corrected=True)


def _bias_approached() -> Check:
    """Independent signs on T equal tasks: the share 1 - 1/T of the bound as alpha -> 0."""
    measured = []
    for tasks in (2, 5, 10):
        signs = np.array(list(product((-1.0, 1.0), repeat=tasks)))
        alpha = 1e-3
        surrogate = float(np.mean(smooth_max(signs, alpha)))
        share = (surrogate - math.log(tasks) / alpha) / stochastic_bounds.minibatch_bias(
            tasks, alpha, 1.0, 1
        )
        witness = f"T={tasks} independent signs, α=0.001, b=1, {len(signs)} batches"
        measured.append(Measurement.value(share, 1 - 1 / tasks, witness, tolerance=1e-5))
    statement = "(G−F_α)/(ασ²/(2b)) → 1−1/T as α → 0"
    return holds("bias reached", statement, "==", measured, corrected=True)


def _best_sharpness() -> Check:
    """Least total of smoothing and bias over a grid of alpha, against its closed form."""
    measured = []
    for tasks, noise, size in ((2, 1.0, 1), (10, 0.3, 8), (1_000, 5.0, 64)):
        best = math.sqrt(2 * size * math.log(tasks)) / noise
        grid = best * np.append(np.geomspace(1e-3, 1e3, 2_001), math.inf)
        total = bounds.smoothing(tasks, grid) + stochastic_bounds.minibatch_bias(
            tasks, grid, noise, size
        )
        floor = noise * math.sqrt(2 * math.log(tasks) / size)
        witness = f"T={tasks}, σ={noise:g}, b={size}, α of "
        for value, place in (
            (np.min(total), "a grid of 2001"),
            (total[1_000], "the closed form"),
            (total[-1], "∞"),
        ):
            measured.append(Measurement.value(value, floor, witness + place, scale=floor))
    statement = "least at α=√(2b logT)/σ: σ√(2logT/b)"
    return holds("best α", statement, "==", measured, corrected=True)


def _weight_bias(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """How far the expected weights and gradients are from those of the risks."""
    rng = context.rng("B3 weights")
    weight_bias, gradient_bias = [], []
    for name, law in laws.items():
        theta = law.domain.project(rng.standard_normal(law.domain.dim))
        lipschitz = float(law.constants().lipschitz)
        for alpha, size in product((0.03, *_SHARPNESS), _SIZES):
            frequencies, chances = batches(law.probabilities, size)
            losses, risks = law.batch_losses(theta[None], frequencies), law.losses(theta)
            change = softmax_weights(losses, alpha) - softmax_weights(risks, alpha)
            error = np.max(np.abs(losses - risks), axis=-1)
            bound = stochastic_bounds.weight_bias(alpha, chances @ error, chances @ error**2)
            witness = f"{name}, α={alpha:g}, b={size}"
            value = float(np.sum(np.abs(chances @ change)))
            weight_bias.append(Measurement.value(value, bound, witness, scale=1.0))
            together = chances @ (
                np.sum(np.abs(change), axis=-1) * error_norms(law, theta, frequencies)
            )
            plain = law.weighted_gradient(theta, softmax_weights(risks, alpha))
            moved = float(np.linalg.norm(expected_gradient(law, theta, alpha, size) - plain))
            gradient_bias.append(
                Measurement.value(moved, lipschitz * bound + together, witness, scale=lipschitz)
            )
    statement = "‖E w(f̂)−w(f)‖₁ ≤ min(2,αE‖ξ‖,α²E‖ξ‖²)"
    yield holds("weight bias", statement, "<=", weight_bias, corrected=True)
    statement = "‖E ĝ−∇F_α‖ ≤ L'·that+E‖Δw‖₁max‖Δ∇f_t‖"
    yield holds("gradient bias", statement, "<=", gradient_bias, corrected=True)


def _all_paths(context: Context) -> Check:
    """Exact expectation: every sequence of batches of a two-valued law is a replicate."""
    rng = context.rng("B3 paths")
    paths = np.array(list(product((0, 1), repeat=_PATH)))
    measured = []
    for instance in range(3):
        law = noisy_slopes(rng, tasks=4, values=2)
        chances = np.prod(law.probabilities[paths], axis=-1)
        best = certify(law)
        for alpha in (1.0, 10.0, math.inf):
            setting, schedule, start = _plan(law, best.point, _PATH, alpha, rng)
            run = descend_minibatch(law, schedule, start, lambda k: np.eye(2)[paths[:, k]])
            value = float(chances @ np.max(law.losses(run.average), axis=-1))
            bound = stochastic_bounds.minibatch(setting, alpha, float(law.noise(best.point)), 1)
            measured.append(
                Measurement(
                    value - float(best.upper),
                    value - float(best.lower),
                    float(bound),
                    f"noisy slopes {instance}, α={alpha:g}, K={_PATH}, b=1, all {2**_PATH} paths",
                )
            )
    statement = "E gap ≤ R0L'/√K+logT/α+bias, all paths"
    return holds("exact rate", statement, "<=", measured, corrected=True)


def _rate(context: Context) -> Iterator[Check]:
    """Longer runs by confidence intervals, and the floor that no K removes."""
    rng = context.rng("B3 rate")
    steps = context.effort.steps[1]
    measured = []
    for values, size in ((2, 1), (4, 8)):
        law = noisy_slopes(rng, tasks=4, values=values)
        best = certify(law)
        noise = float(law.noise(best.point))
        for alpha in (10.0, math.sqrt(2 * size * math.log(4)) / noise):
            context.note(f"B3 minibatch descent, b={size}, K={steps}")
            setting, schedule, start = _plan(law, best.point, steps, alpha, rng)
            run = descend_minibatch(law, schedule, start, draws(rng, law, size))
            bound = float(stochastic_bounds.minibatch(setting, alpha, noise, size))
            witness = f"noisy slopes, S={values}, α={alpha:.3g}, b={size}, K={steps}"
            measured.append(expected_gap(law, best, run.average, bound, witness))
    statement = "E gap ≤ R0L'/√K+logT/α+bias"
    yield holds("rate", statement, "<=", measured, corrected=True)
    yield _floor(context)


def _floor(context: Context) -> Check:
    """Tasks theta + z and -theta/2, z a sign, hard maximum: G is least at -2/3.

    There F is 1/3 above its optimum 0, whatever K; the bound of (8) vanishes.
    """
    law = b03_moving_average.sign_law(slope=-0.5)
    steps = 250
    setting = Setting(2, steps, radius=1.0, lipschitz=1.0)
    schedule = Schedule(np.full(steps, math.inf), np.full(steps, steps**-0.5), np.ones(steps))
    batch = draws(context.rng("B3 floor"), law, 1)
    run = descend_minibatch(law, schedule, np.array([-1.0]), batch)
    witness = f"f=(θ+z, −θ/2), z=±1, α=∞, b=1, K={steps}"
    gap = expected_gap(law, certify(law), run.average, float(bounds.theorem_3_1(setting)), witness)
    return refuted("noise is free", "E F(θ̄_K)−F* ≤ 2R0L'/√K with b=1", "<=", [gap])


def _plan(
    law: FiniteLaw, point: Float, steps: int, alpha: float, rng: np.random.Generator
) -> tuple[Setting, Schedule, Float]:
    """Constants, constant schedule and a start on the sphere of 0.9 times the radius."""
    direction = rng.standard_normal(law.domain.dim)
    reach = 0.9 * law.domain.radius / np.linalg.norm(direction)
    start = law.domain.center + reach * direction
    radius = float(np.linalg.norm(start - point))
    lipschitz = float(law.constants().lipschitz)
    setting = Setting(law.num_tasks, steps, radius, lipschitz)
    size = np.full(steps, radius / (lipschitz * math.sqrt(steps)))
    return setting, Schedule(np.full(steps, alpha), size, np.ones(steps)), start


CLAIM = Claim(
    key="B3",
    title="minibatch and averaged losses",
    source="sharpened result",
    printed="Batch losses in place of risks: treated as if the gradient were that of F_α.",
    corrected="The batch gradient is unbiased for G, F ≤ F_α ≤ G ≤ F_α+min(ασ²/(2b), σ√(2logT/b)); "
    "this is the price of noise, and it is a floor. Averaged losses trade it for a lag.",
    checks=checks,
)
