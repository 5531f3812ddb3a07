"""A vector as a convex, a non-negative or any combination of others, from inner products alone.

Eq. 9 says f_λ = Σ_t λ_t f_t with λ in the simplex; then g_λ = Σ_t λ_t g_t for gradients. Only the
T × T Gram matrix of the g_t and their products with g_λ matter, so that the number of parameters
does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["CONSTRAINTS", "Constraint", "Fit", "Problem", "fit", "stacked"]

Floats = NDArray[np.float64]
Constraint = Literal["simplex", "cone", "span"]

CONSTRAINTS: dict[Constraint, str] = {
    "simplex": "λ in the simplex, Eq. 9 to the letter",
    "cone": "s·λ with λ in the simplex and a scale s ≥ 0, as risks have units of their own",
    "span": "any coefficients: least squares, the floor of the other two",
}
"""What coefficients may be."""

_RANK = 1e-12
"""Eigenvalues of the Gram matrix of unit vectors below this share of the largest are rounding."""

_NOTHING = 1e-6
"""Below this relative length a fit is the zero vector, whose λ is undefined."""


@dataclass(frozen=True)
class Problem:
    """A target and T vectors, by their inner products.

    Args:
        gram: ``[T, T]``, of the vectors with each other.
        products: ``[T]``, of the vectors with the target.
        squared_norm: of the target, positive.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a target of length 0.
    """

    gram: Floats
    products: Floats
    squared_norm: float

    def __post_init__(self) -> None:
        tasks = len(self.products)
        if tasks < 1 or self.products.shape != (tasks,) or self.gram.shape != (tasks, tasks):
            raise ValueError(
                "`gram` and `products` should have shapes [T, T] and [T] with T ≥ 1; found "
                f"{self.gram.shape} and {self.products.shape}"
            )
        if not (np.isfinite(self.gram).all() and np.isfinite(self.products).all()):
            raise ValueError("`gram` and `products` should be finite; found values that are not")
        if not (np.isfinite(self.squared_norm) and self.squared_norm > 0):
            raise ValueError(f"`squared_norm` should be positive; found {self.squared_norm}")

    @classmethod
    def of(cls, vectors: Floats, target: Floats) -> "Problem":
        """The problem of given vectors.

        Args:
            vectors: ``[T, p]``.
            target: ``[p]``.
        """
        return cls(vectors @ vectors.T, vectors @ target, float(target @ target))

    def residual(self, coefficients: Floats) -> float:
        """‖target − Σ_t c_t v_t‖² / ‖target‖² of coefficients ``[T]``."""
        squared = coefficients @ self.gram @ coefficients - 2 * coefficients @ self.products
        return float(np.maximum(0.0, 1.0 + squared / self.squared_norm))  # NaN stays NaN

    def cosine(self, coefficients: Floats) -> float:
        """Of the angle between target and combination; 0 if the combination is 0."""
        length = np.sqrt(max(0.0, float(coefficients @ self.gram @ coefficients)))
        if length <= _NOTHING * np.sqrt(self.squared_norm):
            return 0.0
        return float(coefficients @ self.products / (length * np.sqrt(self.squared_norm)))


@dataclass(frozen=True)
class Fit:
    """The nearest combination.

    Attributes:
        coefficients: ``[T]``.
        weights: λ ``[T]``, coefficients over their sum; None of the zero vector, and for "span".
        scale: s, the sum of the coefficients; 1 for "simplex".
        residual: relative, squared: 0 is exact, 1 as bad as the zero vector.
        cosine: between the target and its fit.
    """

    coefficients: Floats
    weights: Floats | None
    scale: float
    residual: float
    cosine: float


def fit(problem: Problem, constraint: Constraint) -> Fit:
    """Minimise the distance of the target from the combinations that a constraint allows.

    Args:
        problem: the inner products.
        constraint: of `CONSTRAINTS`.

    Returns:
        The minimiser; where it is not unique, one of them.

    Raises:
        ValueError: the constraint is unknown.
    """
    if constraint not in CONSTRAINTS:
        raise ValueError(f"`constraint` should be of {', '.join(CONSTRAINTS)}; found {constraint}")
    length = np.sqrt(problem.squared_norm)
    lengths = np.sqrt(np.diag(problem.gram).clip(min=0.0))
    lengths = np.where(lengths > 0, lengths, 1.0)
    factor, target = _least_squares(
        problem.gram / np.outer(lengths, lengths), problem.products / (lengths * length)
    )
    units = length / lengths  # coefficients of the vectors are these times those of unit vectors
    if constraint == "span":
        free = units * np.linalg.lstsq(factor, target, rcond=None)[0]
        return _fitted(problem, free, None)
    coefficients = units * _non_negative(factor, target, units if constraint == "simplex" else None)
    if constraint == "simplex":
        coefficients = coefficients / coefficients.sum()
    scale = float(coefficients.sum())
    reached = coefficients @ problem.gram @ coefficients > _NOTHING**2 * problem.squared_norm
    return _fitted(problem, coefficients, coefficients / scale if reached else None)


def stacked(problems: Sequence[Problem]) -> Problem:
    """One problem with the same coefficients for several; each target counts as of length 1.

    The relative residual of given coefficients is the mean of theirs.

    Args:
        problems: of the same T.

    Raises:
        ValueError: there are none.
    """
    if not problems:
        raise ValueError("`problems` should be at least one; found none")
    return Problem(
        np.mean([each.gram / each.squared_norm for each in problems], axis=0),
        np.mean([each.products / each.squared_norm for each in problems], axis=0),
        1.0,
    )


def _fitted(problem: Problem, coefficients: Floats, weights: Floats | None) -> Fit:
    return Fit(
        coefficients,
        weights,
        float(coefficients.sum()),
        problem.residual(coefficients),
        problem.cosine(coefficients),
    )


def _least_squares(gram: Floats, products: Floats) -> tuple[Floats, Floats]:
    """A and b such that ‖A x − b‖² = x·gram·x − 2 x·products + constant."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    kept = values > _RANK * max(values[-1], 0.0)
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return roots[:, None] * vectors.T, vectors.T @ products / roots


def _non_negative(factor: Floats, target: Floats, units: Floats | None) -> Floats:
    """Minimise ‖A x − b‖² over x ≥ 0, with Σ units·x = 1 if there are units."""
    x = cp.Variable(factor.shape[1], nonneg=True)
    constraints = [] if units is None else [units / units.max() @ x == 1 / units.max()]
    # Of the distance, not its square: that stays accurate where the residual is 0.
    objective = cp.norm(factor @ x - target) if factor.size else cp.sum(x)  # all vectors are 0
    cp.Problem(cp.Minimize(objective), constraints).solve(solver=cp.CLARABEL)
    found: Floats = np.clip(np.asarray(x.value, np.float64), 0.0, None)
    return found
