r"""A1, Eqs. (1)-(3) and footnote 3: the empirical risk, reweighted tasks and sample complexity.

*Eq. (1)* divides a sum of N losses by n. Only :math:`\frac1N\sum_{i\le N}` is unbiased for the
risk.

*Footnote 3* moves all tasks to one distribution by
:math:`E_P[\frac{dP_t}{dP}\ell]=E_{P_t}[\ell]`. It needs :math:`P_t \ll P`, which a density
presupposes, and multiplies the bound B and the Lipschitz constant L' of a single sample by up to
:math:`\mathrm{ess\,sup}\,dP_t/dP`, which is attained. A guarantee about samples, (13), must use
the inflated constants. The risk :math:`f_t = E_{P_t}[\ell]` averages under P_t and keeps both
constants, and risks are all that the proof of (8) uses.

*Eq. (3)* is the argmin of an integer. In one dimension with
:math:`\ell=\frac12(\theta-z)^2`, z = ±1 with equal chances, the risk is
:math:`\frac12\theta^2+\frac12`, constrained empirical risk minimisation clips the sample mean to
:math:`|\theta|\le r(\theta_0)`, and the number of samples is an exact binomial sum: the argmin is
an interval. With the radius printed in (11), :math:`r^2 = 2f_\lambda(\theta_0)/\mu \ge 1`, it is
all of the domain.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom

from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.problems import Float
from theory.testbed import Context

_SUPPORT = np.array([-1.0, 0.0, 1.0])
"""Values of z for footnote 3; the loss is (θ − z)²/2 with θ in [−1, 1]."""
_ENDS = np.array([-1.0, 1.0])
_REFERENCE = np.array([0.5, 0.3, 0.2])
_TASKS = {"P_1": np.array([0.1, 0.2, 0.7]), "P_2": np.array([0.8, 0.1, 0.1])}

_REACH = 2.0
"""Half the length of the domain Θ = [−2, 2] of Eq. (3)."""
_STARTS = np.linspace(-_REACH, _REACH, 801)
_EPSILON, _DELTA = 0.1, 0.05


def checks(context: Context) -> Iterator[Check]:
    """Enumerate small samples, two densities and a binomial law, all exactly."""
    yield from _normalisation()
    yield from _reweighting(context)
    yield from _inflation(context)
    yield from _argmin()


def _normalisation() -> Iterator[Check]:
    """Mean over all samples of the empirical risk, with 1/n and with 1/N, against the risk."""
    printed: list[Measurement] = []
    corrected: list[Measurement] = []
    for size, divisor in ((5, 3), (3, 5), (8, 7)):
        theta, chance = 0.3, 0.25  # z = 1 with this chance, else -1
        samples = np.array(list(itertools.product((-1.0, 1.0), repeat=size)))
        probabilities = np.prod(np.where(samples > 0, chance, 1 - chance), axis=-1)
        losses = 0.5 * (theta - samples) ** 2
        risk = 0.5 * (chance * (theta - 1) ** 2 + (1 - chance) * (theta + 1) ** 2)
        case = f"all {len(samples)} samples of N={size} values ±1, P(+1)={chance}, θ={theta}"
        for found, number in ((printed, divisor), (corrected, size)):
            mean = float(probabilities @ _empirical_risk(losses, number))
            found.append(Measurement.value(mean, risk, f"{case}, divided by {number}"))
    yield refuted("Eq. (1), 1/n", "E[(1/n)Σ_{i≤N} ℓ(θ,z_i)] = E ℓ(θ,z)", "==", printed, every=True)
    yield holds(
        "Eq. (1), 1/N", "E[(1/N)Σ_{i≤N} ℓ(θ,z_i)] = E ℓ(θ,z)", "==", corrected, corrected=True
    )


def _empirical_risk(losses: Float, divisor: int) -> Float:
    """Sum of the losses ``[..., N]`` over `divisor`."""
    return np.asarray(np.sum(losses, axis=-1) / divisor)


def _reweighting(context: Context) -> Iterator[Check]:
    """Footnote 3's identity under P_t << P, and without it."""
    theta = context.rng("A1").uniform(-1, 1, 5)
    statement = "E_P[(dP_t/dP)·ℓ] = E_{P_t} ℓ"
    measured = []
    for name, task in _TASKS.items():
        for point in theta:
            reweighted, direct = _both_risks(task, _REFERENCE, point)
            witness = f"P={_law(_REFERENCE)}, {name}={_law(task)}, θ={point:.4g}"
            measured.append(Measurement.value(reweighted, direct, witness))
    yield holds("reweighting", statement, "==", measured)
    narrow = np.array([0.6, 0.4, 0.0])
    reweighted, direct = _both_risks(_TASKS["P_1"], narrow, 0.0)
    witness = f"P={_law(narrow)} misses z=1, P_1={_law(_TASKS['P_1'])}, θ=0"
    yield refuted(
        "not P_t ≪ P",
        f"{statement} for every P_t",
        "==",
        [Measurement.value(reweighted, direct, witness)],
    )


def _both_risks(task: Float, reference: Float, theta: float) -> tuple[float, float]:
    """E_P[(dP_t/dP) l] and E_{P_t}[l] at theta."""
    losses = _loss(np.asarray(theta))
    return float(reference @ (_density(task, reference) * losses)), float(task @ losses)


def _inflation(context: Context) -> Iterator[Check]:
    """Sample-level constants of the reweighted loss, and the constants of its risk."""
    # Loss and |slope| are convex in theta, so that their largest values are at the ends.
    losses, slopes = _loss(_ENDS), np.abs(_slope(_ENDS))
    for symbol, magnitude in (("B", losses), ("L'", slopes)):
        what = "ℓ" if symbol == "B" else "‖∇ℓ‖"
        largest = float(np.max(magnitude))
        plain, inflated, attained = [], [], []
        for name, task in _densities(context):
            density = _density(task, _REFERENCE)
            reweighted = float(np.max(density * magnitude))
            peak = float(np.max(density))
            witness = f"P={_law(_REFERENCE)}, {name}={_law(task)}, ess sup dP_t/dP={peak:.4g}"
            inflated.append(Measurement.value(reweighted, peak * largest, witness))
            if name in _TASKS:
                plain.append(Measurement.value(reweighted, largest, witness))
                attained.append(Measurement.value(reweighted, peak * largest, witness))
        yield refuted(f"{symbol} unchanged", f"sup (dP_t/dP)·{what} ≤ {symbol}", "<=", plain)
        yield holds(
            f"{symbol} inflated",
            f"sup (dP_t/dP)·{what} ≤ {symbol}·ess sup dP_t/dP",
            "<=",
            inflated,
            corrected=True,
        )
        yield holds(
            f"{symbol} sharp",
            f"sup (dP_t/dP)·{what} = {symbol}·ess sup dP_t/dP",
            "==",
            attained,
            corrected=True,
        )
    yield _risk_constants(context, float(np.max(losses)), float(np.max(slopes)))


def _risk_constants(context: Context, bound: float, lipschitz: float) -> Check:
    """The reweighted risk keeps the constants of the unweighted loss: it averages under P_t."""
    measured = []
    for name, task in _densities(context):
        shares = _REFERENCE * _density(task, _REFERENCE)
        values, slopes = _loss(_ENDS) @ shares, np.abs(_slope(_ENDS) @ shares)
        for symbol, found, allowed in (("B", values, bound), ("L'", slopes, lipschitz)):
            witness = f"{symbol} of f_t, P={_law(_REFERENCE)}, {name}={_law(task)}"
            measured.append(Measurement.value(float(np.max(found)), allowed, witness))
    statement = "sup f_t ≤ B and sup ‖∇f_t‖ ≤ L'"
    return holds("risk constants", statement, "<=", measured, corrected=True)


def _densities(context: Context) -> list[tuple[str, Float]]:
    """The two named tasks and random ones."""
    random = context.rng("A1 densities").dirichlet(np.ones(_SUPPORT.size), 100)
    return [*_TASKS.items(), *(("random P_t", task) for task in random)]


def _density(task: Float, reference: Float) -> Float:
    """dP_t/dP where P has mass, 0 elsewhere (the absolutely continuous part)."""
    return np.divide(task, reference, out=np.zeros_like(task), where=reference > 0)


def _loss(theta: Float) -> Float:
    return np.asarray(0.5 * (theta[..., None] - _SUPPORT) ** 2)


def _slope(theta: Float) -> Float:
    return np.asarray(theta[..., None] - _SUPPORT)


def _law(probabilities: Float) -> str:
    return "(" + ", ".join(f"{p:.3g}" for p in probabilities) + ")"


def _argmin() -> Iterator[Check]:
    """Eq. (3): the same integer at different starts, and an argmin of positive length."""
    example = f"ℓ=(θ−z)²/2, z=±1, ε={_EPSILON}, δ={_DELTA}, Θ=[−2, 2]"
    radii = {
        "radius √(2f_λ(θ_0)/μ) of (11)": np.sqrt(_STARTS**2 + 1),
        "radius √(2(f_λ(θ_0)−f_λ*)/μ)": np.abs(_STARTS),
    }
    distinct, length = [], []
    for label, radius in radii.items():
        needed = _samples_needed(radius, _EPSILON, _DELTA)
        first, second = np.argmin(np.abs(_STARTS - 0.5)), np.argmin(np.abs(_STARTS - 1.0))
        witness = f"{example}, {label}: N_λ(0.5)={needed[first]}, N_λ(1)={needed[second]}"
        distinct.append(Measurement.value(abs(needed[first] - needed[second]), 1, witness))
        minimal = _STARTS[needed == np.min(needed)]
        place = f"{example}, {label}: N_λ={np.min(needed)} on [{minimal[0]:.3g}, {minimal[-1]:.3g}]"
        length.append(Measurement.value(np.ptp(minimal), 0, place))
    yield refuted("(3) distinct", "N_λ(θ_0) ≠ N_λ(θ_0') if θ_0 ≠ θ_0'", ">=", distinct, every=True)
    yield refuted("(3) one point", "argmin of N_λ has length 0", "<=", length, every=True)
    spacing = float(_STARTS[1] - _STARTS[0])
    excess = length[-1]
    yield holds(
        "(3) a set",
        "argmin = {θ_0: excess risk < ε}, length",
        "==",
        [
            Measurement.value(
                excess.lower,
                2 * math.sqrt(2 * _EPSILON),
                f"{excess.witness}, starts {spacing:.3g} apart",
                tolerance=2 * spacing,
            )
        ],
        corrected=True,
    )


def _samples_needed(radius: Float, epsilon: float, delta: float) -> Float:
    """N_λ at starts whose set has this radius: least N with failure at most delta from N on.

    By Hoeffding the sample mean errs by sqrt(2 epsilon) with probability at most
    2 exp(-n epsilon), so that no n beyond log(2/delta)/epsilon can fail.
    """
    needed = np.zeros(radius.shape, dtype=int)
    for size in range(math.ceil(math.log(2 / delta) / epsilon)):
        failing = _failure_probability(radius, size, epsilon) > delta
        needed = np.where(failing, size + 1, needed)
    return needed


def _failure_probability(radius: Float, size: int, epsilon: float) -> Float:
    """Chance that the clipped mean of `size` signs has excess risk of at least epsilon.

    Without a sample any point of the set may be returned, so that its farthest one counts.
    """
    if size == 0:
        return np.asarray(0.5 * radius**2 >= epsilon, dtype=float)
    heads = np.arange(size + 1)
    means = (2 * heads - size) / size
    estimate = np.clip(means, -radius[:, None], radius[:, None])
    failing = 0.5 * estimate**2 >= epsilon
    return np.asarray(failing @ binom.pmf(heads, size, 0.5))


CLAIM = Claim(
    key="A1",
    title="risks, reweighting, sample size",
    source="Eqs. (1)–(3), footnote 3",
    printed="(1) averages N losses by 1/n; footnote 3 reweights P to P_t with B and L' unchanged; "
    "(3) defines one θ_0 as the argmin of N_λ(θ_0).",
    corrected="1/N; P_t ≪ P, and sample-level B, L' grow by ess sup dP_t/dP (those of the risks "
    "stay); the argmin in (3) is a set.",
    checks=checks,
)
