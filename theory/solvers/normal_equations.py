r"""The linear algebra of the interior point: :math:`(H + B^\top B)\,y = r` by one factorisation.

H is the curvature ``[d]`` or ``[d, d]``, B has a scaled row for each constraint and comes in
blocks. Usually the d x d matrix is accumulated by BLAS. With half as many rows as coordinates or
fewer, and H diagonal, the matrix of the rows is factorised instead, by Woodbury's formula, so that
nothing larger than the rows themselves is ever held.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from scipy.linalg import blas, lapack

from theory.problems import Float

_EPS = float(np.finfo(np.float64).eps)


class Factorisation(Protocol):
    """Solves with a matrix factorised before."""

    def solve(self, right: Float) -> Float:
        """Solution ``[d]`` for the right-hand side ``[d]``."""
        ...


def factorise(
    curvature: Float, rows: Iterable[Float], num_rows: int, regularisation: float
) -> Factorisation | None:
    r"""Factorise :math:`H + B^\top B`.

    Args:
        curvature: H, ``[d]`` for a diagonal or symmetric ``[d, d]``; overwritten.
        rows: B in consecutive blocks ``[b, d]``; overwritten when the next is asked for.
        num_rows: how many rows in all.
        regularisation: added to the diagonal of the matrix factorised, relative to its largest
            entry, in machine epsilons.

    Returns:
        The factorisation, or None if the matrix is not numerically positive definite.
    """
    diagonal = curvature.ndim == 1 and bool(np.all(curvature > 0))
    if diagonal and 2 * num_rows <= curvature.size:
        return _few_rows(curvature, rows, num_rows, regularisation)
    # the transpose of a symmetric matrix is itself in the order that BLAS can update in place
    matrix = (np.diag(curvature) if curvature.ndim == 1 else curvature).T
    for block in rows:
        matrix = blas.dsyrk(1.0, block.T, beta=1.0, c=matrix, lower=1, overwrite_c=1)
    factor = _cholesky(matrix, regularisation)
    return None if factor is None else _Dense(factor)


class _Dense:
    def __init__(self, factor: Float) -> None:
        self._factor = factor

    def solve(self, right: Float) -> Float:
        return _solve_triangles(self._factor, right)


class _Woodbury:
    r"""With :math:`Z=BH^{-1/2}`: :math:`y=H^{-1/2}(I-Z^\top(I+ZZ^\top)^{-1}Z)H^{-1/2}r`."""

    def __init__(self, roots: Float, scaled: Float, factor: Float) -> None:
        self._roots, self._scaled, self._factor = roots, scaled, factor

    def solve(self, right: Float) -> Float:
        first = self._once(right / self._roots)
        # what the difference has cancelled is restored by one step of refinement
        missing = right / self._roots - first - (self._scaled @ first) @ self._scaled
        return np.asarray((first + self._once(missing)) / self._roots)

    def _once(self, right: Float) -> Float:
        inner = _solve_triangles(self._factor, self._scaled @ right)
        return np.asarray(right - inner @ self._scaled)


def _few_rows(
    curvature: Float, rows: Iterable[Float], num_rows: int, regularisation: float
) -> _Woodbury | None:
    roots = np.sqrt(curvature)
    scaled = np.empty((num_rows, curvature.size))
    start = 0
    for block in rows:
        np.divide(block, roots, out=scaled[start : start + len(block)])
        start += len(block)
    identity = np.eye(num_rows, order="F")
    matrix = blas.dsyrk(1.0, scaled.T, beta=1.0, c=identity, trans=1, lower=1, overwrite_c=1)
    factor = _cholesky(matrix, regularisation)
    return None if factor is None else _Woodbury(roots, scaled, factor)


def _cholesky(matrix: Float, regularisation: float) -> Float | None:
    """Lower factor of a matrix whose lower half counts; overwrites it."""
    diagonal = np.diag_indices(len(matrix))
    matrix[diagonal] += regularisation * _EPS * np.max(matrix[diagonal])
    factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1, clean=0)
    return factor if failed == 0 and np.all(np.isfinite(factor[diagonal])) else None


def _solve_triangles(factor: Float, right: Float) -> Float:
    solution, _ = lapack.dpotrs(factor, right, lower=1)
    return np.asarray(solution)
