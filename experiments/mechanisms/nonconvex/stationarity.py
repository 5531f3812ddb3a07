r"""How far a point is from stationary, from inner products of the task gradients alone.

Of the smoothed risk, :math:`\|\nabla F_\alpha\| = \|\sum_t w_t \nabla f_t\|` with the weights of
Eq. (7). Of the maximum, the distance of 0 from its :math:`\epsilon`-subdifferential in the sense of
Clarke, :math:`\operatorname{conv}\{\nabla f_t : f_t \ge \max f - \epsilon\}`. At the boundary of
the domain the normal cone, the ray of an outward normal, is added to both: there a gradient may
point inwards.
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
    """Norm of a weighted sum of gradients; at the boundary, its distance from inward normals.

    Args:
        gram: inner products ``[T, T]`` of the gradients, or ``[T+1, T+1]`` with a unit normal.
        weights: ``[T]``.
    """
    tasks = len(weights)
    squared = float(weights @ gram[:tasks, :tasks] @ weights)
    if len(gram) > tasks:
        squared -= min(0.0, float(weights @ gram[:tasks, tasks])) ** 2
    return float(np.sqrt(max(0.0, squared)))


def clarke_distance(gram: Floats, risks: Floats, active: float) -> tuple[float, Floats]:
    """Norm of the smallest convex combination of the gradients of nearly worst tasks.

    Args:
        gram: as in `weighted_norm`.
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
    tasks = len(risks)
    chosen = np.flatnonzero(risks >= risks.max() - active)
    weights = np.zeros(tasks)
    scale = float(np.diag(gram)[chosen].max())
    if len(chosen) == 1 or scale == 0:
        weights[chosen[0]] = 1.0
        return weighted_norm(gram, weights), weights
    rows = np.concatenate([chosen, np.arange(tasks, len(gram))])
    units = np.where(rows < tasks, np.sqrt(scale), 1.0)
    values, vectors = np.linalg.eigh(gram[np.ix_(rows, rows)] / np.outer(units, units))
    root = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    combination = cp.Variable(len(rows), nonneg=True)
    on_simplex = cp.sum(combination[: len(chosen)]) == 1
    cp.Problem(cp.Minimize(cp.sum_squares(root @ combination)), [on_simplex]).solve(
        solver=cp.CLARABEL, **TOLERANCES
    )
    found = np.clip(combination.value[: len(chosen)], 0, None)
    weights[chosen] = found / found.sum()
    return weighted_norm(gram, weights), weights
