r"""A11, Def. B.2, Lemma B.3, Eq. (22): covering numbers of the search set.

The lemma's :math:`N(\epsilon, B_R) \le (1+2R/\epsilon)^d` is right. It is then used for
:math:`\Theta_\lambda = \Theta \cap B(\theta_\lambda^*, R)` with centres inside the set, and such
*internal* covering numbers are not monotone under inclusion: {-1, 1} needs two balls of radius 1,
the larger {-1, 0, 1} one. *Corrected:* the packing argument covers every subset S of a ball of
radius R. *Proof.* Take a maximal set of points of S at mutual distance at least epsilon. By
maximality it is a cover. The open balls of radius :math:`\epsilon/2` around its n points are
disjoint and lie in the ball of radius :math:`R+\epsilon/2`; compare volumes.

The bound on such packings is attained by an interval (d = 1) whose length is a multiple of epsilon;
the covering number of [-R, R] itself is exactly :math:`\lceil R/\epsilon\rceil`.

For d = 2 and 3 the sets are finite samples of half-balls, shells, lenses (ball and ball) and balls:
each is itself a subset of B_R, so that the statement about it is exact.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np

from theory import sample_bounds
from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.problems import Float
from theory.testbed import Context

SHAPES = ("ball", "half-ball", "shell", "lens")
RATIOS = {2: (1.0, 3.0, 10.0), 3: (1.0, 2.0, 5.0)}
"""Radius over spacing of the nets, by dimension."""


def checks(context: Context) -> Iterator[Check]:
    """Exact covers of intervals, then nets of bodies, then the failure of monotonicity."""
    yield from _intervals()
    yield from _nets(context)
    yield _monotonicity()


def interval_cover(radius: Fraction, spacing: Fraction) -> list[Fraction]:
    r"""A smallest internal cover of :math:`[-R, R]` by closed balls.

    The ball that covers the leftmost uncovered point reaches furthest if its centre is epsilon to
    the right of it (or at R), so that the greedy cover is optimal.

    Args:
        radius: R > 0.
        spacing: epsilon > 0.

    Returns:
        The centres, exact, in increasing order.
    """
    centers: list[Fraction] = []
    covered = -radius
    while not centers or covered < radius:
        centers.append(min(covered + spacing, radius))
        covered = centers[-1] + spacing
    return centers


def maximal_net(points: Float, spacing: float) -> Float:
    """A maximal subset at mutual distance of at least `spacing`, in the order given.

    Args:
        points: a finite set ``[n, d]``.
        spacing: epsilon > 0.

    Returns:
        The net ``[m, d]``; every point is nearer than `spacing` to one of its members.
    """
    chosen = []
    remaining = points
    while len(remaining):
        chosen.append(remaining[0])
        remaining = remaining[np.linalg.norm(remaining - remaining[0], axis=-1) >= spacing]
    return np.array(chosen)


def covering_number(points: Sequence[int], spacing: int) -> int:
    """Internal covering number of a finite set of integers, by trying all sets of centres.

    Args:
        points: the set.
        spacing: radius of the closed balls.

    Returns:
        The least number of members within `spacing` of which all points are.
    """
    for count in range(1, len(points) + 1):
        for centers in combinations(points, count):
            if all(any(abs(x - c) <= spacing for c in centers) for x in points):
                return count
    return 0


def _intervals() -> Iterator[Check]:
    """Dimension one, in exact rational arithmetic."""
    exact, lemma, packing = [], [], []
    for radius, spacing in _interval_sizes():
        count = len(interval_cover(radius, spacing))
        witness = f"[−R, R], R={radius}, ε={spacing}"
        bound = float(sample_bounds.covering_number(float(radius), float(spacing), 1))
        exact.append(Measurement.value(count, math.ceil(radius / spacing), witness))
        lemma.append(Measurement.value(count, bound, witness))
        if (2 * radius / spacing).denominator == 1:
            quarters = np.arange(4 * float(2 * radius / spacing) + 1)
            grid = (quarters * float(spacing) / 4 - float(radius))[:, None]
            packing.append(
                Measurement.value(len(maximal_net(grid, float(spacing))), bound, witness)
            )
    yield holds("d = 1", "N(ε, [−R, R]) = ⌈R/ε⌉", "==", exact, corrected=True)
    yield holds("Lemma B.3", "N(ε, [−R, R]) ≤ 1 + 2R/ε", "<=", lemma)
    yield holds("attained", "packing of [−R, R] = 1 + 2R/ε", "==", packing, corrected=True)


def _interval_sizes() -> list[tuple[Fraction, Fraction]]:
    """Radii and spacings that are exact in binary, on both sides of the jumps of the ceiling."""
    spacing = Fraction(1, 4)
    eighths = (800, 81, 40, 17, 16, 12, 9, 8, 7, 4, 1)
    return [(Fraction(n, 8) * spacing, spacing) for n in eighths]


def _nets(context: Context) -> Iterator[Check]:
    """Greedy nets in the plane and in space."""
    rng = context.rng("A11")
    count = min(context.effort.vectors, 20_000)
    sizes, reach = [], []
    for dim, ratios in RATIOS.items():
        for shape in SHAPES:
            points = body(rng, shape, dim, count)
            for ratio in ratios:
                net = maximal_net(points, 1 / ratio)
                bound = float(sample_bounds.covering_number(1.0, 1 / ratio, dim))
                witness = f"{shape}, d={dim}, R/ε={ratio:g}, {len(points)} points"
                sizes.append(Measurement.value(len(net), bound, witness))
                reach.append(Measurement.value(_farthest(points, net), 1 / ratio, witness))
    yield holds("nets cover", "maximal ε-separated sets are ε-covers", "<=", reach)
    yield holds("every subset", "N(ε, S) ≤ (1+2R/ε)^d for S ⊂ B_R", "<=", sizes, corrected=True)


def body(rng: np.random.Generator, shape: str, dim: int, count: int) -> Float:
    """Random points of a body inside the unit ball, in random order, its extremes among them.

    Args:
        rng: source of the points.
        shape: ``"ball"``, ``"half-ball"`` (first coordinate not negative), ``"shell"`` (norm at
            least 0.9) or ``"lens"`` (within distance 1 of the first unit vector).
        dim: d.
        count: points drawn from the ball; those outside the body are dropped.

    Returns:
        Points ``[n, d]``, n <= `count`.

    Raises:
        ValueError: unknown shape.
    """
    direction = rng.standard_normal((count, dim))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    # half of the points on the sphere, where a packing is densest
    norm = np.where(rng.random(count) < 0.5, 1.0, rng.random(count) ** (1 / dim))
    points = np.asarray(direction * norm[:, None])
    inside = {
        "ball": np.full(count, True),
        "half-ball": points[:, 0] >= 0,
        "shell": norm >= 0.9,
        "lens": np.linalg.norm(points - np.eye(dim)[0], axis=-1) <= 1,
    }
    if shape not in inside:
        raise ValueError(f"`shape` should be one of {', '.join(SHAPES)}; found {shape!r}")
    return np.asarray(points[inside[shape]])


def _farthest(points: Float, net: Float) -> float:
    """Largest distance of a point to the net."""
    nearest = np.full(len(points), np.inf)
    for center in net:
        nearest = np.minimum(nearest, np.linalg.norm(points - center, axis=-1))
    return float(np.max(nearest))


def _monotonicity() -> Check:
    """Internal covering numbers of two nested sets."""
    small, large = (-1, 1), (-1, 0, 1)
    return refuted(
        "monotone",
        "S ⊂ S' ⇒ N(ε, S) ≤ N(ε, S')",
        "<=",
        [
            Measurement.value(
                covering_number(small, 1), covering_number(large, 1), "{−1, 1} ⊂ {−1, 0, 1}, ε=1"
            )
        ],
    )


CLAIM = Claim(
    key="A11",
    title="covering numbers",
    source="Def. B.2, Lemma B.3, Eq. (22)",
    printed="N(ε, B_R) ≤ (1+2R/ε)^d, used for Θ_λ ⊂ B_R.",
    corrected="N(ε, S) ≤ (1+2R/ε)^d for every S ⊂ B_R, by packing: monotonicity fails.",
    checks=checks,
)
