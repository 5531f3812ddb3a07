r"""B4: several workers, each with a shard of the batch.

Averaging the workers' own softmax gradients is the gradient of the mean of their smooth maxima,
:math:`\frac1M\sum_jF_\alpha(f^{(j)})`, not of :math:`F_\alpha(\bar f)`, the smooth maximum of the
mean losses. With :math:`\xi_j=f^{(j)}-\bar f`,

.. math:: 0\le\frac1M\sum_jF_\alpha(f^{(j)})-F_\alpha(\bar f)
          \le\min\left(\frac\alpha2\frac1M\sum_j\|\xi_j\|_\infty^2,\
          \frac1M\sum_j\max_t\xi_{jt}\right),

*Proof.* Jensen; :math:`F_\alpha(\bar f+\xi)-F_\alpha(\bar f)-\langle w,\xi\rangle` is the cumulant
generating function of a centred variable of range at most :math:`2\|\xi\|_\infty` (Hoeffding), and
the :math:`\xi_j` sum to 0; or :math:`F_\alpha(\bar f+\xi)\le F_\alpha(\bar f)+\max\xi_t`. Both are
approached, as alpha tends to 0 and to infinity. The gradients differ by at most :math:`L'\frac1M
\sum_j2\tanh(\alpha\|\xi_j\|_\infty/2)`. With independent shards the bias of claim B3 is that of the
*local* batch, M times the global one as alpha tends to 0.

With one task a worker every local softmax is 1: the method silently minimises the average loss (4).
Summing losses and counts over the workers before the softmax gives the single process exactly.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from taskrobust.weights import smooth_max, softmax_weights
from theory import bounds, stochastic_bounds
from theory.claims.base import Claim
from theory.claims.finite_laws import random_laws
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import certify
from theory.problems import Float, Problem, appendix_c
from theory.schedules import SCHEDULES, Setting
from theory.stochastic import FiniteLaw, expected_smooth_max
from theory.testbed import Context

Bool = NDArray[np.bool_]

_SHARPNESS = (0.3, 3.0, 30.0)
_WORKERS = (2, 5)


def checks(context: Context) -> Iterator[Check]:
    """Local against global softmax, independent shards, one task a worker, and the remedy."""
    laws = random_laws(context, "B4")
    yield from _surrogate(context, laws)
    yield from _difference(context, laws)
    yield from _approached()
    yield from _shards(context, laws)
    yield from _one_task_each()
    yield from _all_reduced(context)


def local_weights(losses: Float, alpha: float, present: Bool | None = None) -> Float:
    """Each worker's own softmax over the tasks it has, ``[M, T]``."""
    return np.asarray(softmax_weights(losses, alpha, present))


def _averaged(law: FiniteLaw, theta: Float, alpha: float, shards: Float) -> Float:
    """Mean of the local softmax gradients, ``[d]``, for shards of frequencies ``[M, S]``."""
    points = np.broadcast_to(theta, (len(shards), theta.size))
    weights = local_weights(law.batch_losses(points, shards), alpha)
    return np.asarray(np.mean(law.batch_gradient(points, shards, weights), axis=0))


def _global(law: FiniteLaw, theta: Float, alpha: float, shards: Float) -> Float:
    """Softmax gradient ``[d]`` of all shards together."""
    together = np.mean(shards, axis=0)
    weights = softmax_weights(law.batch_losses(theta, together), alpha)
    return law.batch_gradient(theta, together, weights)


def _cases(
    context: Context, laws: dict[str, FiniteLaw]
) -> Iterator[tuple[str, FiniteLaw, Float, Float, float]]:
    """Witness, law, point ``[d]``, shards ``[M, S]`` of eight samples each, and sharpness."""
    rng = context.rng("B4 shards")
    for (name, law), workers, alpha in product(laws.items(), _WORKERS, _SHARPNESS):
        theta = law.domain.project(rng.standard_normal(law.domain.dim))
        shards = rng.multinomial(8, rng.dirichlet(np.ones(len(law.probabilities)), workers)) / 8
        yield f"{name}, M={workers}, α={alpha:g}", law, theta, shards, alpha


def _surrogate(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """The averaged gradient against complex-step derivatives by SciPy."""
    own: list[Measurement] = []
    other: list[Measurement] = []
    for witness, law, theta, shards, alpha in _cases(context, laws):
        if witness.startswith("absolute"):  # not differentiable
            continue
        scale = float(law.constants().lipschitz)
        gradient = _averaged(law, theta, alpha, shards)
        for list_, groups in ((own, shards), (other, np.mean(shards, axis=0)[None])):
            reference = np.empty_like(theta)
            for axis in range(theta.size):
                moved = theta.astype(complex)
                moved[axis] += 1e-200j
                losses = law.batch_losses(np.tile(moved, (len(groups), 1)), groups)
                value = np.imag(logsumexp(alpha * losses, axis=-1)) / (alpha * 1e-200)
                reference[axis] = np.mean(value)
            error = float(np.max(np.abs(gradient - reference)))
            list_.append(Measurement.value(error, 0.0, witness, tolerance=1e-11 * scale))
    statement = "mean local gradient = ∇ mean_j F_α(f^j)"
    yield holds("local softmax", statement, "==", own, corrected=True)
    statement = "local softmax averaged = global softmax"
    yield refuted("not global", statement, "==", other)


def _difference(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """Values and gradients of the two surrogates."""
    below, above, slopes, crude = [], [], [], []
    for witness, law, theta, shards, alpha in _cases(context, laws):
        losses = law.batch_losses(np.tile(theta, (len(shards), 1)), shards)
        spread = losses - np.mean(losses, axis=0)
        excess = float(np.mean(smooth_max(losses, alpha)) - smooth_max(losses.mean(0), alpha))
        scale = float(np.max(np.abs(losses))) + math.log(law.num_tasks) / alpha
        size = np.max(np.abs(spread), axis=-1)
        bound = stochastic_bounds.shard_difference(
            alpha, np.mean(size**2), np.mean(np.max(spread, -1))
        )
        below.append(Measurement.value(excess, 0.0, witness, scale=scale))
        above.append(Measurement.value(excess, bound, witness, scale=scale))
        lipschitz = float(law.constants().lipschitz)
        gap = _averaged(law, theta, alpha, shards) - _global(law, theta, alpha, shards)
        distance = float(np.linalg.norm(gap))
        change = lipschitz * float(np.mean(stochastic_bounds.softmax_change(alpha, size)))
        slopes.append(Measurement.value(distance, change, witness, scale=lipschitz))
        simple = lipschitz * min(2.0, alpha * float(np.mean(size)))
        crude.append(Measurement.value(distance, simple, witness, scale=lipschitz))
    yield holds("not below", "mean_j F_α(f^j) ≥ F_α(mean_j f^j)", ">=", below, corrected=True)
    statement = "difference ≤ min(½α⟨‖ξ‖²⟩, ⟨max ξ⟩)"
    yield holds("difference", statement, "<=", above, corrected=True)
    statement = "‖Δgradient‖ ≤ L'·mean_j 2tanh(α‖ξ_j‖/2)"
    yield holds("gradients", statement, "<=", slopes, corrected=True)
    statement = "‖Δgradient‖ ≤ L'·min(2, α·mean_j‖ξ_j‖)"
    yield holds("gradients, min", statement, "<=", crude, corrected=True)


def _approached() -> Iterator[Check]:
    """Two workers with losses (r, -r) and (-r, r): the difference is log(cosh(alpha r))/alpha."""
    for name, sharpness, limit in (("flat limit", 1e-4, "½αr²"), ("sharp limit", 1e7, "r")):
        measured = []
        for spread in (0.5, 2.0):
            losses = np.array([[spread, -spread], [-spread, spread]])
            excess = float(np.mean(smooth_max(losses, sharpness)))
            excess -= float(smooth_max(np.zeros(2), sharpness))
            bound = float(stochastic_bounds.shard_difference(sharpness, spread**2, spread))
            witness = f"f=±({spread:g}, −{spread:g}), α={sharpness:g}"
            measured.append(Measurement.value(excess / bound, 1.0, witness, tolerance=1e-6))
        statement = f"workers ±(r,−r): difference/({limit}) → 1"
        yield holds(name, statement, "==", measured, corrected=True)


def _shards(context: Context, laws: dict[str, FiniteLaw]) -> Iterator[Check]:
    """Bias of independent shards, by enumeration of local and of global batches."""
    rng = context.rng("B4 bias")
    bias, ratio = [], []
    for (name, law), workers in product(laws.items(), (2, 4)):
        theta = law.domain.project(rng.standard_normal(law.domain.dim))
        smooth = {a: float(smooth_max(law.losses(theta), a)) for a in (1e-3, *_SHARPNESS)}
        for alpha, local in product(_SHARPNESS, (1, 2)):
            value = float(expected_smooth_max(law, theta, alpha, local)) - smooth[alpha]
            bound = float(
                stochastic_bounds.minibatch_bias(law.num_tasks, alpha, law.noise(theta), local)
            )
            witness = f"{name}, α={alpha:g}, M={workers}, {local} samples a worker"
            bias.append(Measurement.value(value, bound, witness, scale=abs(smooth[alpha])))
        alone, together = (
            float(expected_smooth_max(law, theta, 1e-3, size)) - smooth[1e-3]
            for size in (1, workers)
        )
        witness = f"{name}, α=0.001, M={workers}, 1 sample a worker"
        tolerance = 0.02 * workers
        ratio.append(Measurement.value(alone / together, workers, witness, tolerance=tolerance))
    statement = "bias ≤ min(ασ²/2b,σ√(2logT/b)), local b"
    yield holds("shard bias", statement, "<=", bias, corrected=True)
    statement = "local bias/global bias → M as α → 0"
    yield holds("M times", statement, "==", ratio, corrected=True)


def _one_task_each() -> Iterator[Check]:
    """Worker j has task j alone: gradient, path and end of the descent."""
    problem, tasks = appendix_c(9.0, 10), 10
    best = certify(problem)
    constants = problem.constants()
    start = np.array([0.5])
    radius = float(np.linalg.norm(start - best.point))
    setting = Setting(tasks, 300, radius, constants.lipschitz, constants.loss_bound)
    paths, ends = [], []
    plain = _average_descent(problem, setting, start)
    for name in ("paper", "sharpened", "constant"):
        alpha = SCHEDULES[name](setting).alpha
        path = _local_descent(problem, setting, start, alpha, np.eye(tasks, dtype=bool))
        witness = f"App. C, A=9, T=M=10, K=300, θ_0=0.5, {name} schedule"
        apart = float(np.max(np.abs(path - plain)))
        paths.append(Measurement.value(apart, 0.0, witness, tolerance=1e-12))
        worst = float(np.max(problem.losses(np.mean(path, axis=0))))
        low, high = worst - float(best.upper), worst - float(best.lower)
        ends.append(Measurement(low, high, float(bounds.theorem_3_1(setting)), witness))
    statement = "one task each: the path of (4), any α"
    yield holds("becomes (4)", statement, "==", paths, corrected=True)
    statement = "one task each: F(θ̄_K)−F* ≤ 2R0L'/√K"
    yield refuted("one task each", statement, "<=", ends, every=True)


def _local_descent(
    problem: Problem, setting: Setting, start: Float, alpha: Float, present: Bool
) -> Float:
    """Iterates ``[K, d]`` of descent with averaged local softmaxes over the tasks present."""
    size = setting.radius / (setting.lipschitz * math.sqrt(setting.num_steps))
    path, theta = [], start
    for sharpness in alpha.ravel():
        path.append(theta)
        losses = np.broadcast_to(problem.losses(theta), present.shape)
        weights = np.mean(local_weights(losses, float(sharpness), present), axis=0)
        step = size * problem.weighted_gradient(theta, weights)
        theta = problem.domain.project(theta - step)
    return np.stack(path)


def _average_descent(problem: Problem, setting: Setting, start: Float) -> Float:
    """Iterates ``[K, d]`` of gradient descent on the average loss, without any softmax."""
    size = setting.radius / (setting.lipschitz * math.sqrt(setting.num_steps))
    uniform = np.full(problem.num_tasks, 1 / problem.num_tasks)
    path = [start]
    while len(path) < setting.num_steps:
        step = size * problem.weighted_gradient(path[-1], uniform)
        path.append(problem.domain.project(path[-1] - step))
    return np.stack(path)


@dataclass(frozen=True)
class _Shards:
    """Sample losses of each worker and task, ``shards[worker][task]``, of any lengths, also 0."""

    samples: list[list[Float]]

    @property
    def sums(self) -> Float:
        """Local sums ``[M, T]``."""
        return np.array([[np.sum(s) for s in worker] for worker in self.samples])

    @property
    def counts(self) -> Float:
        """Local counts ``[M, T]``."""
        return np.array([[s.size for s in worker] for worker in self.samples], dtype=float)

    def single_process(self) -> tuple[Float, Bool]:
        """Mean losses ``[T]`` of all samples in one place (0 if none), and which tasks have any."""
        joined = [np.concatenate(parts) for parts in zip(*self.samples, strict=True)]
        means = np.array([np.mean(s) if s.size else 0.0 for s in joined])
        return means, np.array([s.size > 0 for s in joined])


def all_reduced(sums: Float, counts: Float) -> tuple[Float, Bool]:
    """Mean losses ``[T]`` and presence from local sums and counts ``[M, T]``."""
    total, number = np.sum(sums, axis=0), np.sum(counts, axis=0)
    return total / np.maximum(number, 1.0), number > 0


def _all_reduced(context: Context) -> Iterator[Check]:
    """Uneven shards, with tasks that some or all workers lack."""
    rng = context.rng("B4 all-reduce")
    equal, uneven = [], []
    for trial, alpha in product(range(5), (0.0, 3.0, math.inf)):
        sizes = rng.integers(0, 4, (3, 6)) * (np.arange(6) != trial)  # one task nobody has
        shards = _Shards([[rng.standard_normal(n) for n in row] for row in sizes])
        losses, present = shards.single_process()
        expected = softmax_weights(losses, alpha, present)
        reduced, some = all_reduced(shards.sums, shards.counts)
        error = float(np.max(np.abs(softmax_weights(reduced, alpha, some) - expected)))
        witness = f"3 workers, 6 tasks, 0 to 3 samples each, trial {trial}, α={alpha:g}"
        equal.append(Measurement.value(error, 0.0, witness, tolerance=1e-12))
        held = shards.counts > 0
        means = np.where(held, shards.sums / np.maximum(shards.counts, 1), 0.0)
        naive = np.sum(means, axis=0) / np.maximum(np.sum(held, axis=0), 1)
        error = float(np.max(np.abs(softmax_weights(naive, alpha, some) - expected)))
        uneven.append(Measurement.value(error, 0.0, witness, tolerance=1e-12))
    statement = "sums and counts reduced: single process"
    yield holds("all-reduce", statement, "==", equal, corrected=True)
    statement = "mean of local means: single process"
    yield refuted("mean of means", statement, "==", uneven)


CLAIM = Claim(
    key="B4",
    title="distributed workers",
    source="sharpened result",
    printed="Local softmax gradients may be averaged over workers, as gradients usually are.",
    corrected="That descends mean_j F_α(f^j), with the bias of the local batch; with one task a "
    "worker it is the average loss. Losses and counts should be summed before the softmax.",
    checks=checks,
)
