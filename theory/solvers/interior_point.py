r"""Dense primal-dual interior point for :math:`\min_\Theta\max_t f_t`, smooth tasks on a ball.

In unit-ball coordinates :math:`x=(\theta-c)/R` the program is min s subject to
:math:`f_t(x) \le s` and :math:`\frac12(\|x\|^2-1) \le 0`. Every iterate is strictly feasible
(slacks are recomputed, never accumulated), and a Newton step with multipliers w of the tasks and
:math:`\nu` of the ball costs one Cholesky factorisation of the d x d matrix

.. math:: \sum_t w_t H_t + \nu I + \tfrac\nu v xx^\top + \sum_t \tfrac{w_t}{u_t}
          (\nabla f_t-\bar g)(\nabla f_t-\bar g)^\top, \qquad u_t = s-f_t,\ v=\tfrac12(1-\|x\|^2),

with :math:`\bar g` the mean gradient under the weights :math:`w_t/u_t`, which is what eliminating s
leaves. The sum is formed by BLAS in blocks of tasks. Predictor-corrector of Mehrotra (1992), with
the curvature of the constraints along the predictor in the corrector's right-hand side.

Nothing here is certified: iterates are proposals, which `theory.solve` judges.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from theory.problems import Ball, Float
from theory.solvers.normal_equations import Factorisation, factorise
from theory.solvers.second_order import BLOCK, SecondOrder, blocks


@dataclass(frozen=True)
class Pace:
    """How boldly to step.

    Attributes:
        nearest: largest fraction of the way to the boundary of the feasible set in one step.
        centring: least share of the complementarity that a step aims to keep.
        regularisation: added to the diagonal, relative to its largest entry, in machine epsilons.
        max_iterations: factorisations after which to give up.
    """

    nearest: float
    centring: float
    regularisation: float
    max_iterations: int


BOLD = Pace(nearest=0.9995, centring=0.0, regularisation=8.0, max_iterations=60)
CAUTIOUS = Pace(nearest=0.9, centring=0.1, regularisation=1e3, max_iterations=200)


@dataclass(frozen=True)
class Iterate:
    """A strictly feasible point and what it seems to be worth.

    Attributes:
        point: ``[d]``, inside the ball up to rounding.
        weights: ``[T]`` on the simplex.
        gap: complementarity, which estimates (and does not bound) the gap, in loss units.
    """

    point: Float
    weights: Float
    gap: float


def interior_point(
    model: SecondOrder, domain: Ball, num_tasks: int, pace: Pace = BOLD
) -> Iterator[Iterate]:
    """Iterates from the centre of the ball until the arithmetic gives out.

    Args:
        model: derivatives of the tasks.
        domain: the ball, a single instance.
        num_tasks: T.
        pace: how boldly to step.

    Yields:
        The start and one iterate a factorisation. The caller stops when satisfied.
    """
    unit = _UnitBall(model, domain, num_tasks)
    state = _start(unit)
    for _ in range(pace.max_iterations):
        yield unit.iterate(state)
        following = _advance(unit, state, pace)
        if following is None:
            return
        state = following
    yield unit.iterate(state)


@dataclass
class _State:
    """A strictly feasible primal point and positive multipliers, the ball's at index T.

    Attributes:
        x: ``[d]`` in the unit ball.
        level: s.
        losses: ``[T]``.
        slacks: ``[T + 1]``.
        multipliers: ``[T + 1]``.
    """

    x: Float
    level: float
    losses: Float
    slacks: Float
    multipliers: Float

    @property
    def complementarity(self) -> float:
        """Mean product of slacks and multipliers."""
        return float(self.slacks @ self.multipliers) / self.slacks.size


class _UnitBall:
    """The tasks on the unit ball, losses divided so that gradients have length 1 or less at 0."""

    def __init__(self, model: SecondOrder, domain: Ball, num_tasks: int) -> None:
        self.model, self.num_tasks = model, num_tasks
        self.center, self.radius = domain.center, float(domain.radius)
        self._reach = num_tasks if model.stored else BLOCK
        steepest = max(
            float(np.max(np.einsum("td,td->t", rows, rows)))
            for rows in (model.gradients(self.center, block) for block in blocks(num_tasks))
        )
        spread = float(np.ptp(model.losses(self.center)))
        self.unit = max(self.radius * math.sqrt(steepest), spread) or 1.0
        self.slope_unit = self.radius / self.unit

    def theta(self, x: Float) -> Float:
        return np.asarray(self.center + self.radius * x)

    def losses(self, x: Float) -> Float:
        return np.asarray(self.model.losses(self.theta(x)), dtype=float) / self.unit

    def pull(self, x: Float, weights: Float) -> Float:
        """Weighted sums of the gradients, ``[k, d]`` for weights ``[k, T]``."""
        theta = self.theta(x)
        total = np.zeros((len(weights), x.size))
        for block in blocks(self.num_tasks, self._reach):
            total += weights[:, block] @ self.model.gradients(theta, block)
        return self.slope_unit * total

    def push(self, x: Float, direction: Float) -> Float:
        """Directional derivatives of all tasks, ``[T]``."""
        theta = self.theta(x)
        parts = [
            self.model.gradients(theta, block) @ direction
            for block in blocks(self.num_tasks, self._reach)
        ]
        return self.slope_unit * np.concatenate(parts)

    def curvature(self, state: _State) -> Float:
        """Hessian of the Lagrangian, ``[d, d]`` or its diagonal ``[d]``."""
        theta, multipliers = self.theta(state.x), state.multipliers
        curvature = self.model.curvature(theta, multipliers[:-1])
        curvature = curvature * (self.radius * self.slope_unit)
        if curvature.ndim == 1:
            return np.asarray(curvature + multipliers[-1])
        curvature[np.diag_indices(state.x.size)] += multipliers[-1]
        return np.asarray(curvature)

    def rows(self, state: _State, ratios: Float, mean: Float) -> Iterator[Float]:
        """Gradients of all constraints less `mean` (tasks only), by the roots of their ratios."""
        theta, roots = self.theta(state.x), np.sqrt(ratios)
        size = min(BLOCK, max(16, self.num_tasks // 4))  # the buffer counts as memory as well
        buffer = np.empty((min(size, self.num_tasks), state.x.size))
        for block in blocks(self.num_tasks, size):
            gradients = self.model.gradients(theta, block)
            rows = np.multiply(gradients, self.slope_unit, out=buffer[: len(gradients)])
            rows -= mean
            rows *= roots[block, None]
            yield rows
        yield roots[-1] * state.x[None]

    def iterate(self, state: _State) -> Iterate:
        weights = state.multipliers[:-1]
        gap = self.unit * float(state.slacks @ state.multipliers)
        return Iterate(self.theta(state.x), weights / np.sum(weights), gap)


def _start(unit: _UnitBall) -> _State:
    """The centre, one loss unit above the maximum, with equal products and weights of sum 1."""
    x = np.zeros(unit.center.size)
    losses = unit.losses(x)
    level = float(np.max(losses)) + 1.0
    slacks = np.append(level - losses, 0.5)
    multipliers = 1 / slacks / np.sum(1 / slacks[:-1])
    return _State(x, level, losses, slacks, multipliers)


@dataclass(frozen=True)
class _Direction:
    x: Float
    level: float
    slacks: Float
    multipliers: Float
    slopes: Float


@dataclass(frozen=True)
class _Newton:
    """One factorisation, and the directions it gives."""

    unit: _UnitBall
    state: _State
    ratios: Float
    mean: Float
    residual: Float
    factors: Factorisation

    def direction(self, target: Float, bend: Float) -> _Direction:
        """Newton direction to products `target` ``[T + 1]``, if constraints curve by `bend`."""
        state = self.state
        force = target / state.slacks - state.multipliers + self.ratios * bend
        excess = float(np.sum(force[:-1]) - (1 - np.sum(state.multipliers[:-1])))
        pulled = self.unit.pull(state.x, force[None, :-1])[0] + force[-1] * state.x
        step = self.factors.solve(self.mean * excess - self.residual - pulled)
        level = float(self.mean @ step + excess / np.sum(self.ratios[:-1]))
        slopes = self.unit.push(state.x, step)
        slacks = np.append(level - slopes, -state.x @ step) - bend
        multipliers = target / state.slacks - state.multipliers - self.ratios * slacks
        return _Direction(step, level, slacks, multipliers, slopes)


def _newton(unit: _UnitBall, state: _State, pace: Pace) -> _Newton | None:
    """Factorise at a state; None if the matrix is not numerically positive definite."""
    ratios = state.multipliers / state.slacks
    pulled = unit.pull(state.x, np.stack([ratios[:-1], state.multipliers[:-1]]))
    mean = pulled[0] / np.sum(ratios[:-1])
    residual = pulled[1] + state.multipliers[-1] * state.x
    rows = unit.rows(state, ratios, mean)
    factors = factorise(unit.curvature(state), rows, ratios.size, pace.regularisation)
    return None if factors is None else _Newton(unit, state, ratios, mean, residual, factors)


def _advance(unit: _UnitBall, state: _State, pace: Pace) -> _State | None:
    """One predictor-corrector step; None where the arithmetic gives out."""
    newton = _newton(unit, state, pace)
    if newton is None:
        return None
    still = np.zeros_like(state.slacks)
    predictor = newton.direction(still, still)
    primal, dual = _longest(state, predictor)
    slacks = state.slacks + primal * predictor.slacks
    left = float(slacks @ (state.multipliers + dual * predictor.multipliers)) / slacks.size
    share = max(left / state.complementarity, 0.0) ** 3
    target = max(share, pace.centring) * state.complementarity
    bend = np.append(still[:-1], 0.5 * primal**2 * (predictor.x @ predictor.x))
    if unit.model.curved:
        ahead = unit.losses(state.x + primal * predictor.x)
        bend[:-1] = ahead - state.losses - primal * predictor.slopes
    products = target - primal * dual * predictor.slacks * predictor.multipliers
    return _step(unit, state, newton.direction(products, bend), pace)


def _longest(state: _State, direction: _Direction) -> tuple[float, float]:
    """Longest primal and dual steps, at most 1, that keep everything nonnegative to first order."""
    lengths = []
    for values, change in (
        (state.slacks, direction.slacks),
        (state.multipliers, direction.multipliers),
    ):
        falling = change < 0
        ratios = values[falling] / -change[falling]
        lengths.append(min(1.0, float(np.min(ratios, initial=1.0))))
    return lengths[0], lengths[1]


def _step(unit: _UnitBall, state: _State, along: _Direction, pace: Pace) -> _State | None:
    """Move, shortening the primal step until curvature leaves every constraint strictly slack."""
    nearest = min(max(0.9, 1 - state.complementarity), pace.nearest)
    primal, dual = (min(1.0, nearest * length) for length in _longest(state, along))
    if unit.model.curved:  # stationarity is then bilinear: one length keeps its residual small
        primal = dual = min(primal, dual)
    keep = 0.02 * (1 - nearest) * state.slacks
    for _ in range(80):
        x, level = state.x + primal * along.x, state.level + primal * along.level
        losses = unit.losses(x)
        slacks = np.append(level - losses, 0.5 * (1 - x @ x))
        if np.all(slacks >= keep):
            multipliers = state.multipliers + dual * along.multipliers
            return _State(x, level, losses, slacks, multipliers)
        primal *= 0.9
    return None
