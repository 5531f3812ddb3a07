r"""Extreme values of a convex quadratic on a ball, by the secular equation of its multiplier.

Both functions evaluate the Lagrangian dual at the multiplier they find, so that the result is
rigorous (on the safe side) however far the bisection got, and exact when it converged. The
quadratic is given in its eigenbasis: curvatures ``[..., d]`` and linear term ``[..., d]``.
"""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_HALVINGS = 120


def max_on_ball(curvature: Float, linear: Float, radius: Float) -> Float:
    r"""Maximum of :math:`\tfrac12\sum_i h_i x_i^2 + \sum_i p_i x_i` over :math:`\|x\| \le R`.

    Args:
        curvature: nonnegative eigenvalues h ``[..., d]``.
        linear: p ``[..., d]``.
        radius: R ``[...]``.

    Returns:
        ``[...]``: the dual value :math:`\tfrac12\nu R^2 + \tfrac12\sum_i p_i^2/(\nu - h_i)` at the
        best :math:`\nu \ge \max h`, never below the maximum.
    """
    top = np.max(curvature, axis=-1, keepdims=True)
    spread = top - curvature
    low = np.zeros_like(top)
    # At the optimum the norm equation forces nu - max h <= ||p|| / R.
    high = np.linalg.norm(linear, axis=-1, keepdims=True) / radius[..., None]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        length = np.linalg.norm(_ratio(linear, spread + middle), axis=-1, keepdims=True)
        too_small = length > radius[..., None]
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    quotient = np.sum(_ratio(linear, spread + high) * linear, axis=-1)
    return np.asarray(0.5 * (top + high)[..., 0] * radius**2 + 0.5 * quotient)


def min_on_ball(curvature: Float, linear: Float, radius: Float) -> Float:
    r"""Minimum of :math:`\tfrac12\sum_i h_i x_i^2 + \sum_i p_i x_i` over :math:`\|x\| \le R`.

    Args:
        curvature: nonnegative eigenvalues h ``[..., d]``.
        linear: p ``[..., d]``.
        radius: R ``[...]``.

    Returns:
        ``[...]``: the dual value :math:`-\tfrac12\nu R^2 - \tfrac12\sum_i p_i^2/(\nu + h_i)` at the
        best :math:`\nu \ge 0`, never above the minimum.
    """
    low = np.zeros_like(curvature[..., :1])
    high = np.linalg.norm(linear, axis=-1, keepdims=True) / radius[..., None]
    inside = np.linalg.norm(_ratio(linear, curvature), axis=-1) <= radius
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        length = np.linalg.norm(_ratio(linear, curvature + middle), axis=-1, keepdims=True)
        too_small = length > radius[..., None]
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    multiplier = np.where(inside[..., None], 0.0, high)
    quotient = np.sum(_ratio(linear, curvature + multiplier) * linear, axis=-1)
    return np.asarray(-0.5 * multiplier[..., 0] * radius**2 - 0.5 * quotient)


def _ratio(numerator: Float, denominator: Float) -> Float:
    """Quotient with 0/0 = 0 and x/0 = inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, np.abs(numerator) / denominator) * np.sign(numerator)
