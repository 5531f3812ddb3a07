r"""Gradient descent on a single (weighted) risk, with certified distances to its minimiser.

With the contraction :math:`T(\theta)=\Pi(\theta-\nabla f(\theta)/L)` of factor
:math:`1-\mu/L`, every point obeys :math:`\|\theta-\theta^*\| \le \|\theta-T(\theta)\|L/\mu`:
the error of a near-minimiser is certified by one more step, projected or not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.judge import Measurement
from theory.problems import Ball, Float


@dataclass(frozen=True)
class Risk:
    """A weighted risk of I instances with its constants.

    Attributes:
        name: for the witness.
        value: risk ``[..., I]`` at ``theta[..., I, d]``, never negative.
        gradient: its gradient ``[..., I, d]``.
        modulus: mu, ``[I]``.
        smoothness: L, ``[I]``.
        start: theta_0, ``[I, d]``.
        domain: balls to project onto; None for the whole space.
    """

    name: str
    value: Callable[[Float], Float]
    gradient: Callable[[Float], Float]
    modulus: Float
    smoothness: Float
    start: Float
    domain: Ball | None = None

    def step(self, theta: Float, step_size: Float) -> Float:
        """One step of (projected) gradient descent; the step size broadcasts as ``[..., 1]``."""
        moved = theta - step_size * self.gradient(theta)
        return moved if self.domain is None else self.domain.project(moved)

    def minimizer(self) -> tuple[Float, Float]:
        """Descend with step size 1/L, 600 steps.

        Returns:
            A near-minimiser ``[I, d]`` and a certified bound ``[I]`` of its distance to the true.
        """
        step_size = 1 / self.smoothness[:, None]
        theta = self.start
        for _ in range(600):
            theta = self.step(theta, step_size)
        residual = np.linalg.norm(theta - self.step(theta, step_size), axis=-1)
        return theta, np.asarray(residual * self.smoothness / self.modulus)


@dataclass(frozen=True)
class Path:
    """Distances to the minimiser along gradient descent.

    Attributes:
        risk: what was minimised.
        factors: step sizes in units of 1/L, ``[S]``.
        distance: ``[K + 1, S, I]``.
        error: certified error of the distances, ``[I]``.
        excess: f(theta_0) minus the near-minimum, ``[I]``, hence at most f(theta_0) - f*.
    """

    risk: Risk
    factors: tuple[float, ...]
    distance: Float
    error: Float
    excess: Float

    def compare(self, bound: Float, first: int = 0) -> list[Measurement]:
        """The iterate nearest to violating a bound, one a step size.

        Args:
            bound: broadcasts to ``[K + 1, S, I]``.
            first: first iteration to compare.

        Returns:
            The measured distances as certified intervals, in the order of the step sizes.
        """
        bound = np.broadcast_to(bound, self.distance.shape)
        found = []
        for s, factor in enumerate(self.factors):
            ratio = self.distance[first:, s] / bound[first:, s]
            k, i = np.unravel_index(np.argmax(ratio), ratio.shape)
            k += first
            value, error = float(self.distance[k, s, i]), float(self.error[i])
            witness = f"{self.risk.name}, ηL={factor:g}, instance {i}, k={k}"
            size = float(np.max(np.abs(self.risk.start[i])))
            found.append(
                Measurement(value - error, value + error, float(bound[k, s, i]), witness, 0.0, size)
            )
        return found


def follow(risk: Risk, factors: tuple[float, ...], steps: int) -> Path:
    """Run gradient descent with several step sizes and record distances to the minimiser.

    Args:
        risk: what to minimise.
        factors: step sizes in units of 1/L.
        steps: K.

    Returns:
        The path.
    """
    best, error = risk.minimizer()
    step_size = np.asarray(factors)[:, None, None] / risk.smoothness[:, None]
    theta = np.broadcast_to(risk.start, (len(factors), *risk.start.shape))
    distance = [np.linalg.norm(theta - best, axis=-1)]
    for _ in range(steps):
        theta = risk.step(theta, step_size)
        distance.append(np.linalg.norm(theta - best, axis=-1))
    excess = risk.value(risk.start) - risk.value(best)
    return Path(risk, factors, np.array(distance), error, excess)
