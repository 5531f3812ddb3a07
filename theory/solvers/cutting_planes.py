r"""The convex subproblems of prox-linear steps, level bundles and MGDA, solved by Clarabel.

All concern a model :math:`m(\theta)=\max_i(v_i+\langle g_i,\theta-a\rangle)` of cuts around an
anchor a, over the ball :math:`\Theta`. The solver is not trusted: lower bounds are computed from
its multipliers, which are made a point of the simplex first, and its points are projected.
"""

from dataclasses import dataclass

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from theory.convex import CertificateError
from theory.problems import Ball

Float = NDArray[np.float64]

TOLERANCE = 1e-10
"""Asked of the solver, relative and absolute."""


@dataclass(frozen=True)
class Cuts:
    """Affine functions whose maximum is the model.

    Attributes:
        values: v, ``[m]``, at the anchor.
        slopes: g, ``[m, d]``.
        anchor: a, ``[d]``.
    """

    values: Float
    slopes: Float
    anchor: Float

    def at(self, anchor: Float) -> "Cuts":
        """The same functions around another anchor."""
        return Cuts(self.values + self.slopes @ (anchor - self.anchor), self.slopes, anchor)

    def and_also(self, other: "Cuts") -> "Cuts":
        """These and the other ones, around this anchor."""
        moved = other.at(self.anchor)
        return Cuts(
            np.concatenate([self.values, moved.values]),
            np.concatenate([self.slopes, moved.slopes]),
            self.anchor,
        )

    def lower_bound(self, multipliers: Float, domain: Ball) -> float:
        r"""Minimum over the ball of the cuts weighted by a point of the simplex ``[m]``.

        It is at most the minimum of the model, hence of every convex function above the cuts.
        """
        slope = multipliers @ self.slopes
        return float(multipliers @ self.values - slope @ self.anchor + domain.min_linear(slope))


def minimize_model(cuts: Cuts, domain: Ball, curvature: float) -> tuple[Float, Float]:
    r"""Minimise :math:`m(\theta)+\frac c2\|\theta-a\|^2` over the ball.

    Args:
        cuts: the model.
        domain: the ball.
        curvature: c >= 0.

    Returns:
        The minimiser ``[d]``, and multipliers of the cuts, a point ``[m]`` of the simplex.

    Raises:
        CertificateError: the solver broke down.
    """
    count, dim = cuts.slopes.shape
    # With unit values, slopes and radius the tolerances mean the same for every problem.
    length, scale = float(domain.radius), _steepness(cuts) * float(domain.radius)
    rows = np.column_stack([cuts.slopes * (length / scale), -np.ones(count)])
    offsets = (np.max(cuts.values) - cuts.values) / scale
    quadratic = np.append(np.full(dim, curvature * length**2 / scale), 0.0)
    linear = np.append(np.zeros(dim), 1.0)
    step, multipliers = _solve(quadratic, linear, rows, offsets, _shift(cuts, domain))
    multipliers = np.maximum(multipliers, 0.0)
    return (
        domain.project(cuts.anchor + length * step[:dim]),
        multipliers / np.sum(multipliers),
    )


def project_to_level(cuts: Cuts, domain: Ball, level: float) -> Float:
    r"""The point ``[d]`` of the ball with :math:`m(\theta)\le` `level` that is nearest to a.

    Raises:
        CertificateError: the solver broke down, or the level set is empty.
    """
    dim = cuts.slopes.shape[1]
    length, scale = float(domain.radius), _steepness(cuts) * float(domain.radius)
    rows = cuts.slopes * (length / scale)
    offsets = (level - cuts.values) / scale
    step, _ = _solve(np.ones(dim), np.zeros(dim), rows, offsets, _shift(cuts, domain))
    return domain.project(cuts.anchor + length * step)


def _steepness(cuts: Cuts) -> float:
    """Longest slope, 1 if all are zero."""
    longest = float(np.max(np.linalg.norm(cuts.slopes, axis=1)))
    return longest if longest > 0 else 1.0


def _shift(cuts: Cuts, domain: Ball) -> Float:
    """The centre as seen from the anchor, in radii."""
    return np.asarray((domain.center - cuts.anchor) / domain.radius)


def _solve(
    quadratic: Float, linear: Float, rows: Float, offsets: Float, center: Float
) -> tuple[Float, Float]:
    r"""Minimise a diagonal quadratic with ``rows x <= offsets`` and :math:`\|x_{1:d}-c\|\le1`."""
    dim, variables = center.size, linear.size
    ball = np.zeros((dim + 1, variables))
    ball[1:, :dim] = -np.eye(dim)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    solution = clarabel.DefaultSolver(
        sparse.diags_array(quadratic, format="csc"),
        linear,
        sparse.csc_array(np.concatenate([rows, ball])),
        np.concatenate([offsets, [1.0], -center]),
        [clarabel.NonnegativeConeT(len(rows)), clarabel.SecondOrderConeT(dim + 1)],
        settings,
    ).solve()
    point = np.asarray(solution.x)
    if str(solution.status) not in {"Solved", "AlmostSolved", "InsufficientProgress"} or not (
        np.all(np.isfinite(point))
    ):
        raise CertificateError(f"the solver of a cutting-plane model says {solution.status}")
    return point, np.asarray(solution.z)[: len(rows)]
