"""The convex control: one linear head, shared by all tasks, on features that stay as they are.

A head for each task would decouple the tasks: each would reach its own minimum, and nothing would
be traded. Softmax cross-entropy is convex in a shared head, so that its minimax value is certified.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.configuration import Control
from experiments.mechanisms.nonconvex.problem import Problem

__all__ = ["HeadTasks", "head_tasks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class HeadTasks(Problem):
    """Regularised risks of a linear classifier W ``[p, C]``, started at 0.

    The domain is the ball that has to contain the minimax point: λ/2 ‖W*‖² ≤ F(W*) ≤ F(0) = log C.

    Args:
        inputs: ``[n, p]``, with a constant if there should be a bias.
        classes: ``[n]`` in 0 … C−1.
        tasks: ``[n]`` in 0 … T−1; each occurs.
        ridge: λ.
    """

    def __init__(self, inputs: Floats, classes: Ints, tasks: Ints, ridge: float) -> None:
        self.inputs, self.classes, self.tasks, self.ridge = inputs, classes, tasks, ridge
        self.num_tasks, self.num_classes = int(tasks.max()) + 1, int(classes.max()) + 1
        self.radius = math.sqrt(2 * math.log(self.num_classes) / ridge)
        members = tasks[None, :] == np.arange(self.num_tasks)[:, None]
        self.averages: Floats = members / members.sum(axis=1, keepdims=True)
        """``[T, n]``: cross-entropies of the tasks are these times those of the examples."""
        self._inputs, self._classes = torch.from_numpy(inputs), torch.from_numpy(classes)
        self._averages = torch.from_numpy(self.averages)
        self.head = torch.zeros(inputs.shape[1], self.num_classes, dtype=torch.float64)
        self.parameters = [self.head.requires_grad_()]

    def risks(self) -> Tensor:
        """Mean cross-entropy ``[T]`` of each task with the ridge, nats."""
        losses = torch.nn.functional.cross_entropy(
            self._inputs @ self.head, self._classes, reduction="none"
        )
        return self._averages @ losses + self.ridge / 2 * self.head.square().sum()

    @torch.no_grad()
    def project(self) -> None:
        """Put the head at the nearest point of the ball."""
        norm = float(self.head.norm())
        if norm > self.radius:
            self.head.mul_(self.radius / norm)

    @property
    def lipschitz(self) -> float:
        """L' in the ball: cross-entropy has gradient x (p − y)ᵀ with ‖p − y‖ ≤ √2, the ridge λW."""
        norms = np.linalg.norm(self.inputs, axis=1)
        return float(math.sqrt(2) * (self.averages @ norms).max() + self.ridge * self.radius)

    @property
    def loss_bound(self) -> float:
        """B in the ball: logits of two classes differ by at most √2 ‖W‖ ‖x‖."""
        norms = np.linalg.norm(self.inputs, axis=1)
        differences = math.sqrt(2) * self.radius * norms
        losses = np.logaddexp(0, math.log(self.num_classes - 1) + differences)
        return float((self.averages @ losses).max() + self.ridge / 2 * self.radius**2)


def head_tasks(
    control: Control, states: Tensor, pieces: Tensor, tasks: Tensor, num_tasks: int
) -> HeadTasks:
    """A small problem for a head, from an encoder's states.

    Args:
        control: how small.
        states: ``[n, d]`` of the frozen encoder.
        pieces: ``[n]`` to be predicted.
        tasks: ``[n]``.
        num_tasks: T.

    Returns:
        The first examples of every task whose pieces are among the most frequent ones of some task;
        features are principal components over these, with mean 0 and variance 1, and a constant.

    Raises:
        ConfigurationError: a task with too few examples, or states of smaller rank.
    """
    labels, groups = pieces.numpy(), tasks.numpy()
    outputs = _frequent(labels, groups, num_tasks, control.pieces_per_task)
    chosen = []
    for task in range(num_tasks):
        found = np.flatnonzero((groups == task) & np.isin(labels, outputs))
        if len(found) < control.examples_per_task:
            raise ConfigurationError(
                f"`control.examples_per_task` should be at most {len(found)}, which task {task} "
                f"has; found {control.examples_per_task}: lower it, or raise `text.instances`"
            )
        chosen.append(found[: control.examples_per_task])
    rows = np.concatenate(chosen)
    inputs = _whitened(states.numpy()[rows], control.features)
    return HeadTasks(inputs, np.searchsorted(outputs, labels[rows]), groups[rows], control.ridge)


def _frequent(labels: Ints, groups: Ints, num_tasks: int, count: int) -> Ints:
    """The most frequent pieces of every task, ascending, each once."""
    found: set[int] = set()
    for task in range(num_tasks):
        values, counts = np.unique(labels[groups == task], return_counts=True)
        found.update(values[np.argsort(-counts, kind="stable")[:count]].tolist())
    return np.array(sorted(found))


def _whitened(states: Floats, count: int) -> Floats:
    """Principal components of variance 1 ``[n, count]`` and a constant."""
    centred = states - states.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int((values > 1e-10 * values[0]).sum())
    if rank < count:
        raise ConfigurationError(
            f"`control.features` should be at most {rank}, the rank of the encoder's states; found "
            f"{count}"
        )
    scores = left[:, :count] * math.sqrt(len(states))
    return np.hstack([scores, np.ones((len(states), 1))])
