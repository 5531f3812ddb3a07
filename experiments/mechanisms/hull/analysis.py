"""From inner products and risks at one or several encoders to how near Eq. 9 is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.mechanisms.hull.regression import (
    CONSTRAINTS,
    Constraint,
    Fit,
    Problem,
    fit,
    stacked,
)
from experiments.mechanisms.hull.thetas import Group, Kind, Theta

__all__ = [
    "PLANTED",
    "GradientRow",
    "TraceRow",
    "gradient_rows",
    "joint_rows",
    "planted_rows",
    "trace_rows",
]

Floats = NDArray[np.float64]
PLANTED = "mean of the tasks, other half"
"""A risk within the hull by construction, measured on other examples than the tasks."""

_LEAST = 0.05
"""Cosine of the halves of a gradient below which nothing is said about it without noise."""


@dataclass(frozen=True)
class GradientRow:
    """A gradient and its nearest combinations of upstream gradients.

    Attributes:
        name: of the risk.
        kind: of the risk; "upstream" is a task on the other tasks.
        reliability: cosine of the two halves of the gradient: 1 without sampling noise.
        regressors: names of the upstream tasks that λ is of.
        fits: by constraint.
        noise: by constraint, share of the residual that the difference of the halves explains: what
            a risk in the hull would have as a residual.
        true: by constraint, residual from products of different halves, in which independent noise
            cancels; None where the halves hardly agree. An upper bound, as the coefficients are
            fitted to gradients with noise.
    """

    name: str
    kind: Kind
    reliability: float
    regressors: tuple[str, ...]
    fits: dict[Constraint, Fit]
    noise: dict[Constraint, float]
    true: dict[Constraint, float | None]


@dataclass(frozen=True)
class TraceRow:
    """A risk over several encoders as a combination of upstream risks and a constant.

    Attributes:
        name: of the risk.
        kind: of the risk; "upstream" is a task on the other tasks.
        variance: of the risk over the encoders.
        regressors: names of the upstream tasks.
        fits: by constraint; the relative residual is a share of the variance.
    """

    name: str
    kind: Kind
    variance: float
    regressors: tuple[str, ...]
    fits: dict[Constraint, Fit]


def gradient_rows(theta: Theta, group: Group) -> list[GradientRow]:
    """Every gradient on the upstream ones, upstream ones on the others.

    Args:
        theta: one encoder.
        group: of parameters.
    """
    rows = []
    for target in range(len(theta.names)):
        regressors = _regressors(theta, target)
        products = theta.products[group]
        if not regressors or not _norm(products, target) > 0:
            continue
        fits = _fits(_problem(products, target, regressors))
        rows.append(_row(theta, products, target, regressors, fits))
    return rows


def planted_rows(theta: Theta, group: Group) -> dict[Constraint, Fit]:
    """`PLANTED`: the mean of the tasks on one half, fitted by the tasks on the other half.

    Its residual is what sampling noise alone leaves of a risk for which Eq. 9 holds, with half of
    the examples. Mean over both ways to choose the half: coefficients and measures are averaged.

    Args:
        theta: one encoder.
        group: of parameters.
    """
    tasks = theta.of_kind("upstream")
    products = theta.products[group][:, tasks][:, :, :, tasks]
    problems = [
        Problem(
            products[ours, :, ours, :],
            products[ours, :, other, :].mean(1),
            float(products[other, :, other, :].mean()),
        )
        for ours, other in ((0, 1), (1, 0))
    ]
    return _fits(stacked(problems))


def joint_rows(thetas: Sequence[Theta], group: Group) -> list[GradientRow]:
    """One λ for all encoders, as Eq. 9 has it: each gradient counts as of length 1.

    Args:
        thetas: of the same names.
        group: of parameters.

    Returns:
        One row for each name; reliability, noise and true residual are means over the encoders.
    """
    first = thetas[0]
    rows = []
    for target in range(len(first.names)):
        regressors = _regressors(first, target)
        each = [theta.products[group] for theta in thetas]
        if not regressors or not all(_norm(products, target) > 0 for products in each):
            continue
        fits = _fits(stacked([_problem(products, target, regressors) for products in each]))
        single = [
            _row(theta, products, target, regressors, fits)
            for theta, products in zip(thetas, each, strict=True)
        ]
        rows.append(
            GradientRow(
                first.names[target],
                first.kinds[target],
                float(np.mean([row.reliability for row in single])),
                tuple(first.names[place] for place in regressors),
                fits,
                {name: float(np.mean([row.noise[name] for row in single])) for name in fits},
                {name: _mean([row.true[name] for row in single]) for name in fits},
            )
        )
    return rows


def trace_rows(thetas: Sequence[Theta]) -> list[TraceRow]:
    """Every risk over the encoders on the upstream ones, with a free constant.

    Args:
        thetas: of the same names, at least 3.

    Returns:
        One row for each risk that is not constant.
    """
    first = thetas[0]
    risks = np.array([theta.risks for theta in thetas])
    moved = risks - risks.mean(0)
    rows = []
    for target in range(len(first.names)):
        regressors = _regressors(first, target)
        variance = float(np.var(risks[:, target]))
        if not regressors or not variance > 0:  # the random direction has no risk: NaN
            continue
        problem = Problem.of(moved[:, regressors].T, moved[:, target])
        names = tuple(first.names[place] for place in regressors)
        kind = first.kinds[target]
        rows.append(TraceRow(first.names[target], kind, variance, names, _fits(problem)))
    return rows


def _fits(problem: Problem) -> dict[Constraint, Fit]:
    return {constraint: fit(problem, constraint) for constraint in CONSTRAINTS}


def _regressors(theta: Theta, target: int) -> list[int]:
    return [place for place in theta.of_kind("upstream") if place != target]


def _problem(products: Floats, target: int, regressors: Sequence[int]) -> Problem:
    """Of gradients over both halves together."""
    means = products.mean((0, 2))
    return Problem(
        means[np.ix_(regressors, regressors)],
        means[regressors, target],
        float(means[target, target]),
    )


def _row(
    theta: Theta,
    products: Floats,
    target: int,
    regressors: Sequence[int],
    fits: dict[Constraint, Fit],
) -> GradientRow:
    means = products.mean((0, 2))
    across = (products[0, :, 1, :] + products[1, :, 0, :]) / 2
    norm, common = means[target, target], across[target, target]
    halves = np.sqrt(products[0, target, 0, target] * products[1, target, 1, target])
    reliability = float(common / halves) if halves > 0 else 0.0
    noise: dict[Constraint, float] = {}
    true: dict[Constraint, float | None] = {}
    for name, each in fits.items():
        error = np.zeros(len(theta.names))
        error[target] = 1.0
        error[list(regressors)] -= each.coefficients
        noise[name] = float(error @ (means - across) @ error / norm)
        enough = reliability > _LEAST
        true[name] = float(error @ across @ error / common) if enough else None
    names = tuple(theta.names[place] for place in regressors)
    return GradientRow(
        theta.names[target], theta.kinds[target], reliability, names, fits, noise, true
    )


def _norm(products: Floats, target: int) -> float:
    return float(products.mean((0, 2))[target, target])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
