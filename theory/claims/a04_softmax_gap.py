r"""A4, Appendix B part 1: how far the softmax average is below the maximum.

Corrected and sharp: for every :math:`f\in\mathbb R^T` and :math:`\alpha>0`,

.. math:: 0 \le \max_t f_t - \sum_t w_t f_t \le \frac{c_T}{\alpha} \le \frac{\log T}{\alpha},
          \qquad c_T = W\!\left(\frac{T-1}{e}\right),

attained at :math:`f=(0,-u,\dots,-u)`, :math:`u=(1+c_T)/\alpha`. *Proof.* With
:math:`u_t=\alpha(\max f-f_t)` the gap is :math:`D/\alpha`,
:math:`D=\sum u_te^{-u_t}/\sum e^{-u_t}`;
:math:`\partial D/\partial u_s\propto 1-u_s+D`, so that at a maximum all nonzero :math:`u_s` equal
1 + D, hence :math:`De^D=(T-1)/e`.

The paper's route splits the tasks at :math:`\epsilon_k=R_0L'/(4\sqrt{k+1})` below the maximum; its
sign, its inequality (B) and its threshold are wrong as printed.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize

from taskrobust.schedules import paper_alpha, sharp_constant
from taskrobust.weights import softmax_gap, softmax_weights
from theory import bounds
from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.problems import Float
from theory.schedules import Setting
from theory.testbed import Context

_UNIT = Setting(num_tasks=10, num_steps=1, radius=1.0, lipschitz=1.0, loss_bound=1.0)


def checks(context: Context) -> Iterator[Check]:
    """Measure the gap on random, optimised and extremal loss vectors."""
    losses, steps = _random_losses(context)
    yield from _printed_gap(losses, steps)
    yield from _inequality_b(losses, steps)
    yield _threshold()
    yield from _sharp_gap(context)


def _random_losses(context: Context) -> tuple[Float, Float]:
    """Loss vectors ``[n, 10]`` in [0, 1] of several shapes, and iterations k ``[n]``."""
    rng = context.rng("A4")
    count = context.effort.vectors
    losses = rng.random((count, _UNIT.num_tasks)) ** rng.choice([0.2, 1.0, 5.0], (count, 1))
    losses *= rng.choice([0.01, 0.3, 1.0], (count, 1))
    return losses, rng.integers(0, 10_000, count).astype(float)


def _printed_gap(losses: Float, steps: Float) -> Iterator[Check]:
    """Sign of the gap under the printed schedule: plus as printed, minus as corrected."""
    alpha = paper_alpha(steps, num_tasks=10, radius=1.0, lipschitz=1.0, loss_bound=1.0)
    gap = softmax_gap(losses, alpha)
    allowed = bounds.printed_softmax_gap(_UNIT, steps)
    label = f"{len(losses)} random loss vectors, T=10, printed schedule"
    kindest = int(np.argmin(gap + allowed))  # the printed statement's most favourable vector
    yield refuted(
        "printed sign",
        "F_k(θ_k) − F(θ_k) ≥ +R0L'/(2√(k+1))",
        ">=",
        [
            Measurement.value(-gap[i], allowed[i], f"the closest of {label}: k={int(steps[i])}")
            for i in {kindest, int(np.argmax(gap))}
        ],
        every=True,
    )
    tightest = int(np.argmax(gap / allowed))
    yield holds(
        "sign",
        "F_k(θ_k) − F(θ_k) ≥ −R0L'/(2√(k+1))",
        ">=",
        [Measurement.value(-gap[tightest], -allowed[tightest], f"tightest of {label}")],
        corrected=True,
    )


def _inequality_b(losses: Float, steps: Float) -> Iterator[Check]:
    r"""(B) multiplies :math:`F-\epsilon_k` by the mass of the near-maximal tasks, then drops it."""
    threshold = 1 / (4 * np.sqrt(steps + 1))
    alpha = paper_alpha(steps, num_tasks=10, radius=1.0, lipschitz=1.0, loss_bound=1.0)
    weights = softmax_weights(losses, alpha)
    top = np.max(losses, axis=-1)
    near = losses >= (top - threshold)[:, None]
    mass = np.sum(np.where(near, weights, 0.0), axis=-1)
    # printed: sum over near tasks of w (F - eps) >= (1 - eps / B) (F - eps), with mass >= 1 - eps/B
    left, right = mass * (top - threshold), (1 - threshold) * (top - threshold)
    low = top < threshold
    for name, statement, chosen in (
        ("inequality (B)", "Σ_near w·(F−ε_k) ≥ (1−ε_k/B)(F−ε_k)", low),
        ("(B), F ≥ ε_k", "the same whenever F(θ_k) ≥ ε_k", ~low),
    ):
        worst = int(np.flatnonzero(chosen)[np.argmin((left - right)[chosen])])
        place = f"F={top[worst]:.3g}, ε_k={threshold[worst]:.3g}, k={int(steps[worst])}"
        measured = [
            Measurement.value(left[worst], right[worst], f"{place} ({chosen.sum()} vectors)")
        ]
        if chosen is low:
            yield refuted(name, statement, ">=", measured)
        else:
            yield holds(name, statement, ">=", measured, corrected=True)


def _threshold() -> Check:
    r"""The printed threshold is not positive where :math:`4TB\sqrt{k+1} \le R_0L'`."""
    value = 4 * math.log(4 * 2 * 0.1)
    return refuted(
        "threshold",
        "printed threshold of α_0 is positive",
        ">=",
        [Measurement.value(value, 0.0, "T=2, B=0.1, R0L'=1, k=0: 4·log(0.8)")],
    )


def _sharp_gap(context: Context) -> Iterator[Check]:
    """The sharp constant on random and optimised vectors, and where it is attained."""
    rng = context.rng("A4 sharp")
    random, optimised, attained = [], [], []
    for tasks in _task_counts(context):
        constant = sharp_constant(tasks)
        count = min(context.effort.vectors, 2_000_000 // tasks)
        alpha = 10 ** rng.uniform(-3, 3, count)
        spread = rng.choice([0.3, 1.0, 3.0, 10.0], (count, 1))
        losses = rng.standard_normal((count, tasks)) * spread / alpha[:, None]
        ratio = softmax_gap(losses, alpha) * alpha
        random.append(
            Measurement.value(np.max(ratio), constant, f"T={tasks}, {count} random vectors")
        )
        if tasks <= 100:
            found = _optimised_gap(rng, tasks)
            optimised.append(Measurement.value(found, constant, f"T={tasks}, optimised vector"))
        extremal = np.full(tasks, -(1 + constant))
        extremal[0] = 0.0
        attained.append(
            Measurement.value(
                softmax_gap(extremal, 1.0),
                constant,
                f"T={tasks}, f=(0,−u,…,−u)",
                tolerance=1e-12 * constant,
            )
        )
    yield holds("sharp bound", "α(max f − Σwf) ≤ c_T, random f", "<=", random, corrected=True)
    yield holds("optimised", "α(max f − Σwf) ≤ c_T, worst f found", "<=", optimised, corrected=True)
    yield holds("attained", "α(max f − Σwf) = c_T at (0,−u,…,−u)", "==", attained, corrected=True)
    yield holds(
        "below log T",
        "c_T < log T",
        "<=",
        [
            Measurement.value(sharp_constant(t), math.log(t), f"T={t}")
            for t in _task_counts(context)
        ],
        corrected=True,
    )


def _task_counts(context: Context) -> list[int]:
    return [t for t in (2, 3, 10, 100, 1_000, 10_000) if t <= context.effort.max_tasks]


def _optimised_gap(rng: np.random.Generator, tasks: int) -> float:
    """Largest gap that a quasi-Newton search finds, alpha = 1."""

    def negative_gap(losses: Float) -> tuple[float, Float]:
        weights = softmax_weights(losses, 1.0)
        mean = weights @ losses
        gradient = weights * (1 + losses - mean)
        gradient[np.argmax(losses)] -= 1
        return float(-softmax_gap(losses, 1.0)), gradient

    starts = rng.standard_normal((3, tasks))
    found = [minimize(negative_gap, s, jac=True, method="L-BFGS-B").fun for s in starts]
    return float(-min(found))


CLAIM = Claim(
    key="A4",
    title="softmax against maximum",
    source="Appendix B, part 1, (A)–(C)",
    printed="F_k(θ_k) ≥ F(θ_k) + R0L'/(2√(k+1)) for α_k ≥ (4√(k+1)/(R0L'))·log(4TB√(k+1)/(R0L')).",
    corrected="0 ≤ max f − Σ w_t f_t ≤ c_T/α for every f and α > 0, c_T = W((T−1)/e), attained.",
    checks=checks,
)
