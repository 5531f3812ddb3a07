r"""Constrained empirical risk minimisation over a ball, in batches, with checked residuals.

.. math:: \min_y \tfrac12 y^\top Hy - q^\top y \quad\text{subject to}\quad \|y\| \le R

Inside the ball the minimiser is :math:`H^{-1}q`; outside, it is :math:`y(\nu)=(H+\nu I)^{-1}q` with
the multiplier :math:`\nu>0` for which :math:`\|y(\nu)\|=R`: the radial clip if H is a multiple of
the identity, otherwise the root of the secular equation :math:`1/\|y(\nu)\| = 1/R`, whose left side
is concave in :math:`\nu`, so that Newton's method from 0 climbs to the root without overshooting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

RESIDUAL = 1e-10
"""Largest relative residual of the optimality conditions that is accepted."""

_NEWTON_STEPS = 60


@dataclass(frozen=True)
class Minimizers:
    """Solutions of a batch of problems.

    Attributes:
        offset: minimisers y, ``[M, d]``.
        multiplier: nu >= 0 of the ball, ``[M]``.
        residual: largest relative violation of the optimality conditions.
    """

    offset: Float
    multiplier: Float
    residual: float


class ResidualError(ArithmeticError):
    """A computed minimiser does not satisfy the optimality conditions."""


def minimize_on_ball(hessian: Float, linear: Float, radius: float) -> Minimizers:
    """Minimise a batch of convex quadratics over the ball of offsets.

    Args:
        hessian: H, ``[M, d, d]``, or ``[d, d]`` shared; positive definite.
        linear: q, ``[M, d]``.
        radius: R > 0; inf for no constraint.

    Returns:
        The minimisers, their multipliers and the largest residual.

    Raises:
        ResidualError: the conditions are violated by more than `RESIDUAL`.
    """
    offset = free_minimizers(hessian, linear)
    multiplier = np.zeros(len(linear))
    outside = np.linalg.norm(offset, axis=-1) > radius
    if np.any(outside):
        picked = hessian if hessian.ndim == 2 else hessian[outside]
        offset[outside], multiplier[outside] = _on_sphere(picked, linear[outside], radius)
    residual = _residual(hessian, linear, radius, offset, multiplier)
    if not residual <= RESIDUAL:
        raise ResidualError(
            f"constrained empirical minimisers violate the optimality conditions by {residual:.3g} "
            f"(relative), more than {RESIDUAL:g}; are the Hessians positive definite?"
        )
    return Minimizers(offset, multiplier, residual)


def free_minimizers(hessian: Float, linear: Float) -> Float:
    """Unconstrained minimisers ``[M, d]`` of the same quadratics."""
    if hessian.ndim == 2:
        return np.asarray(np.linalg.solve(hessian, linear.T).T)
    return np.asarray(np.linalg.solve(hessian, linear[..., None])[..., 0])


def _on_sphere(hessian: Float, linear: Float, radius: float) -> tuple[Float, Float]:
    """Minimisers on the sphere and their multipliers, for problems whose free ones are outside."""
    length = np.linalg.norm(linear, axis=-1)
    if hessian.ndim == 2 and np.array_equal(hessian, hessian[0, 0] * np.eye(len(hessian))):
        return radius * linear / length[:, None], length / radius - hessian[0, 0]
    values, vectors = np.linalg.eigh(hessian)
    rotated = np.einsum("...ji,...j->...i", vectors, linear)
    multiplier = np.zeros(len(linear))
    for _ in range(_NEWTON_STEPS):
        shifted = values + multiplier[:, None]
        squares = (rotated / shifted) ** 2
        norm = np.sqrt(np.sum(squares, axis=-1))
        slope = np.sum(squares / shifted, axis=-1) / norm**3  # of 1/norm with respect to nu
        step = (1 / radius - 1 / norm) / slope
        multiplier = np.maximum(multiplier + step, 0.0)
        if np.all(np.abs(step) <= 1e-15 * (multiplier + values[..., -1])):
            break
    offset = np.einsum("...ij,...j->...i", vectors, rotated / (values + multiplier[:, None]))
    return offset, multiplier


def _residual(
    hessian: Float, linear: Float, radius: float, offset: Float, multiplier: Float
) -> float:
    """Largest relative violation of stationarity, feasibility and complementarity."""
    applied = offset @ hessian if hessian.ndim == 2 else (hessian @ offset[..., None])[..., 0]
    stationary = applied + multiplier[:, None] * offset - linear
    size = np.linalg.norm(linear, axis=-1) + np.linalg.norm(applied, axis=-1)
    gradient = np.linalg.norm(stationary, axis=-1) / np.where(size == 0, 1.0, size)
    excess = np.linalg.norm(offset, axis=-1) / radius - 1
    violation = np.where(multiplier > 0, np.abs(excess), np.maximum(excess, 0.0))
    return float(max(np.max(gradient), np.max(violation), -np.min(multiplier), 0.0))
