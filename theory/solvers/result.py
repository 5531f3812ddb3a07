"""What every peer algorithm returns, and the recorder that measures it while it runs.

Points are recorded, not gaps: the certified gap of a point is computed afterwards, so that neither
the oracle counts nor the clock of a method contain any work of the measurement.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.problems import CountedProblem, Problem

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Checkpoint:
    """A run after some of its steps.

    Attributes:
        step: number of steps made.
        loss_evaluations: task risks evaluated so far, per instance.
        backward_passes: weighted gradients asked for so far, per instance; a Jacobian is T of them.
        seconds: wall time of the whole batch so far, without that of recording.
        average: ``[..., d]``, average of the points the method averages.
        last: ``[..., d]``, the current point, whose risks may not have been evaluated yet.
        best: ``[..., d]``, the point of least worst risk among those averaged.
        lower_bound: ``[...]``, certified lower bound of F* from the run itself, without a solver's
            word; -inf if it has none.
    """

    step: int
    loss_evaluations: int
    backward_passes: int
    seconds: float
    average: Float
    last: Float
    best: Float
    lower_bound: Float


@dataclass(frozen=True)
class Result:
    """Outcome of a method.

    Attributes:
        history: the checkpoints asked for, in order, and the end of the run.
    """

    history: tuple[Checkpoint, ...]

    @property
    def final(self) -> Checkpoint:
        """The end of the run."""
        return self.history[-1]

    @property
    def average(self) -> Float:
        """Averaged point ``[..., d]`` at the end."""
        return self.final.average

    @property
    def last(self) -> Float:
        """Last point ``[..., d]``."""
        return self.final.last

    @property
    def best(self) -> Float:
        """Best point ``[..., d]``."""
        return self.final.best

    @property
    def lower_bound(self) -> Float:
        """Lower bound ``[...]`` of F* at the end."""
        return self.final.lower_bound


class Recorder:
    """Counts and records one run of a method.

    Attributes:
        problem: the problem to ask; it counts.
    """

    def __init__(self, problem: Problem, num_steps: int, checkpoints: Collection[int] = ()) -> None:
        """Start the clock.

        Args:
            problem: one instance or a batch.
            num_steps: K, the last step, which is always recorded.
            checkpoints: further steps to record.
        """
        self.problem = CountedProblem(problem)
        self._watched = {*checkpoints, num_steps}
        self._history: list[Checkpoint] = []
        self._mass: Float = np.zeros(())
        self._average = self._best = self._slope = np.zeros(())
        self._worst = self._intercept = np.zeros(())
        self._bound: Float = np.asarray(-np.inf)
        self._recording = 0.0
        self._started = time.perf_counter()

    def visit(
        self,
        theta: Float,
        losses: Float,
        weights: Float | None = None,
        gradient: Float | None = None,
        share: Float | float = 1.0,
    ) -> None:
        """Take a point into the average, the best point and the lower bound.

        Args:
            theta: ``[..., d]`` in the domain.
            losses: ``[..., T]`` at theta.
            weights: ``[..., T]`` on the simplex; None if no weighted gradient was taken.
            gradient: ``[..., d]``, the weighted gradient at theta.
            share: positive weight of the point in the average.
        """
        entered = time.perf_counter()
        worst = np.max(losses, axis=-1)
        if not np.any(self._mass):
            self._average, self._best, self._worst = theta.copy(), theta.copy(), worst
            self._slope, self._intercept = np.zeros_like(theta), np.zeros_like(worst)
        self._mass = self._mass + share
        self._average = self._average + (share / self._mass)[..., None] * (theta - self._average)
        better = worst < self._worst
        if np.any(better):
            self._best = np.where(better[..., None], theta, self._best)
            self._worst = np.minimum(worst, self._worst)
        if weights is not None and gradient is not None:
            value = np.sum(weights * losses, axis=-1) - np.sum(gradient * theta, axis=-1)
            self._intercept = self._intercept + share * value
            self._slope = self._slope + np.asarray(share)[..., None] * gradient
        self._recording += time.perf_counter() - entered

    def bound(self, lower: Float | float) -> None:
        """Take a certified lower bound ``[...]`` of F* that the method found by other means."""
        self._bound = np.maximum(self._bound, lower)

    def reach(self, step: int, last: Float, *, stop: bool = False) -> None:
        """Note that `step` steps were made and where; record it if it is watched or the end.

        Args:
            step: number of steps made.
            last: ``[..., d]``, the current point.
            stop: whether the method ends here, ahead of time.
        """
        if step not in self._watched and not stop:
            return
        entered = time.perf_counter()
        counts = self.problem.counts
        self._history.append(
            Checkpoint(
                step,
                counts.loss_evaluations,
                counts.backward_passes,
                entered - self._started - self._recording,
                self._average,
                last,
                self._best,
                self._lower_bound(),
            )
        )
        self._recording += time.perf_counter() - entered

    def result(self) -> Result:
        """All that was recorded."""
        return Result(tuple(self._history))

    def _lower_bound(self) -> Float:
        """The better of the mixture of tangents, B1 (e), and the method's own bound."""
        shape = self._worst.shape
        if not np.any(self._slope) and not np.any(self._intercept):
            return np.broadcast_to(self._bound, shape)
        slope = self._slope / self._mass[..., None]
        tangents = self._intercept / self._mass + self.problem.domain.min_linear(slope)
        return np.asarray(np.maximum(tangents, self._bound))
