r"""How far a point is from stationary, from inner products of the task gradients alone.

Of the smoothed risk, :math:`\|\nabla F_\alpha\| = \|\sum_t w_t \nabla f_t\|` with the weights of
Eq. (7). Of the maximum, the distance of 0 from its :math:`\epsilon`-subdifferential in the sense of
Clarke, :math:`\operatorname{conv}\{\nabla f_t : f_t \ge \max f - \epsilon\}`.
"""

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from experiments.configuration import ConfigurationError

__all__ = ["clarke_distance", "weighted_norm"]

Floats = NDArray[np.float64]

TOLERANCES = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
"""Asked of Clarabel."""


def weighted_norm(gram: Floats, weights: Floats) -> float:
    """Norm of a weighted sum of gradients.

    Args:
        gram: ``[T, T]`` inner products of the gradients.
        weights: ``[T]``.
    """
    return float(np.sqrt(max(0.0, float(weights @ gram @ weights))))


def clarke_distance(gram: Floats, risks: Floats, active: float) -> tuple[float, Floats]:
    """Norm of the smallest convex combination of the gradients of nearly worst tasks.

    Args:
        gram: ``[T, T]`` inner products of the gradients.
        risks: ``[T]``.
        active: tasks whose risk is at least the largest less this take part.

    Returns:
        The norm, and the weights ``[T]`` of the combination, 0 for the other tasks.

    Raises:
        ConfigurationError: gradients that are not finite.
    """
    if not np.isfinite(gram).all():
        raise ConfigurationError(
            "gradients should be finite; training diverged: lower `network.learning_rate`"
        )
    chosen = np.flatnonzero(risks >= risks.max() - active)
    weights = np.zeros(len(risks))
    scale = float(np.diag(gram)[chosen].max())
    if len(chosen) == 1 or scale == 0:
        weights[chosen[0]] = 1.0
        return weighted_norm(gram, weights), weights
    values, vectors = np.linalg.eigh(gram[np.ix_(chosen, chosen)] / scale)
    root = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    simplex = cp.Variable(len(chosen), nonneg=True)
    smallest = cp.Problem(cp.Minimize(cp.sum_squares(root @ simplex)), [cp.sum(simplex) == 1])
    smallest.solve(solver=cp.CLARABEL, **TOLERANCES)
    found = np.clip(simplex.value, 0, None)
    weights[chosen] = found / found.sum()
    return weighted_norm(gram, weights), weights
