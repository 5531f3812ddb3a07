"""Counting oracle calls: what an algorithm really asks of a problem."""

from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from theory.problems.base import Ball, Constants, Float, Problem


@dataclass
class OracleCounts:
    """Calls so far, per instance of the batch.

    Attributes:
        loss_evaluations: task risks evaluated (T for one call of ``losses``).
        backward_passes: weighted gradients, each one backward pass of a weighted sum.
    """

    loss_evaluations: int = 0
    backward_passes: int = 0


@dataclass
class CountedProblem:
    """A problem that counts its oracle calls and is otherwise `inner`.

    Attributes:
        inner: the problem asked.
        counts: the calls so far.
    """

    inner: Problem
    counts: OracleCounts = field(default_factory=OracleCounts)

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return self.inner.num_tasks

    @property
    def domain(self) -> Ball:
        """Domain of the inner problem."""
        return self.inner.domain

    def losses(self, theta: Float) -> Float:
        """Task risks; counts T loss evaluations."""
        self.counts.loss_evaluations += self.num_tasks
        return np.asarray(self.inner.losses(theta))

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Weighted gradient; counts one backward pass."""
        self.counts.backward_passes += 1
        return np.asarray(self.inner.weighted_gradient(theta, weights))

    def constants(self) -> Constants:
        """Constants of the inner problem."""
        return self.inner.constants()

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Epigraph of the inner problem."""
        return self.inner.epigraph(theta, levels)
