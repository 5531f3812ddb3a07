"""Which task a masked piece belongs to: its part of speech, or controls of the same sizes.

The controls separate the effect of a *meaningful* split from that of splitting at all. All three
train on the same pieces (those outside the nine classes are left out of each), and the groups of
the controls have the shares of the nine classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from experiments.bert.tags import CLASSES, NUM_TASKS, OTHER, TASKS

__all__ = [
    "IGNORED",
    "FrequencyGroups",
    "PosGroups",
    "RandomGroups",
    "WithoutOther",
    "frequency_table",
    "task_names",
]

Ints = NDArray[np.int64]
IGNORED = -100
"""Task id of pieces that take no part in the loss."""


@dataclass(frozen=True)
class PosGroups:
    """The task of a piece is its part of speech; `OTHER` is past the nine tasks."""

    def __call__(self, pieces: Ints, pos: Ints, rng: np.random.Generator) -> Ints:  # noqa: ARG002
        """Task ids, the classes themselves."""
        return pos


@dataclass(frozen=True)
class WithoutOther:
    """A grouping whose `OTHER` is no task: such pieces are marked as ignored.

    Args:
        groups: any of the others.
    """

    groups: "PosGroups | FrequencyGroups | RandomGroups"

    def __call__(self, pieces: Ints, pos: Ints, rng: np.random.Generator) -> Ints:
        """Task ids, or `IGNORED`."""
        return np.where(pos == OTHER, IGNORED, self.groups(pieces, pos, rng))


@dataclass(frozen=True)
class FrequencyGroups:
    """The task of a piece is its band of frequency in the training text.

    Args:
        table: band of each piece of the vocabulary (see `frequency_table`).
    """

    table: tuple[int, ...]

    def __call__(self, pieces: Ints, pos: Ints, rng: np.random.Generator) -> Ints:  # noqa: ARG002
        """Bands; pieces outside the nine classes keep `OTHER`."""
        return np.where(pos == OTHER, OTHER, self._bands[pieces])

    @cached_property
    def _bands(self) -> Ints:
        return np.asarray(self.table)


@dataclass(frozen=True)
class RandomGroups:
    """The task of each occurrence is drawn anew, with the shares of the nine classes.

    Args:
        shares: probability of each group; they sum to 1.
    """

    shares: tuple[float, ...]

    def __call__(self, pieces: Ints, pos: Ints, rng: np.random.Generator) -> Ints:
        """Groups drawn from the instance's own generator; `OTHER` stays."""
        drawn = rng.choice(len(self.shares), size=len(pieces), p=self.shares)
        return np.where(pos == OTHER, OTHER, drawn)


def frequency_table(piece_counts: Ints, class_shares: Sequence[float]) -> tuple[int, ...]:
    """Bands of frequency whose shares of the text are as near to given shares as pieces allow.

    Args:
        piece_counts: ``[V]`` occurrences of each piece within the nine classes.
        class_shares: nine shares; the largest gets the most frequent pieces, and so on.

    Returns:
        Band of each piece: an index into `class_shares`.
    """
    order = np.argsort(-piece_counts, kind="stable")
    mass = np.cumsum(piece_counts[order]) - piece_counts[order] / 2
    by_size = np.argsort(-np.asarray(class_shares), kind="stable")
    edges = np.cumsum(np.asarray(class_shares)[by_size]) * piece_counts.sum()
    band = np.minimum(np.searchsorted(edges, mass, side="right"), len(class_shares) - 1)
    table = np.empty(len(piece_counts), np.int64)
    table[order] = by_size[band]
    return tuple(int(b) for b in table)


def task_names(grouping: str, *, other_is_task: bool, next_sentence_is_task: bool) -> list[str]:
    """Names of the tasks of a run, in the order of their ids.

    Args:
        grouping: "pos", "frequency" or "random".
        other_is_task: whether pieces outside the nine classes make a task.
        next_sentence_is_task: whether next-sentence prediction is one.
    """
    names = list(TASKS) if grouping == "pos" else [f"{grouping} {t + 1}" for t in range(NUM_TASKS)]
    if other_is_task:
        names.append(CLASSES[OTHER])
    if next_sentence_is_task:
        names.append("next sentence")
    return names
