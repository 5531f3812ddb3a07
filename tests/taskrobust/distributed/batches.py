"""Batches by rank: which rank has examples of which task."""

import math
from collections.abc import Sequence

import torch

from tests.taskrobust.balancers.cases import Batch, examples

# Task ids of each rank's shard; two ranks take the first two.
SCENARIOS: dict[str, tuple[list[int], ...]] = {
    "balanced": ([0, 1, 2, 3] * 2,) * 3,
    "unbalanced": ([0] * 6 + [1, 2, 3], [0, 1, 1, 1, 2, 2, 3, -1], [3] * 5 + [2, 1, 0, 0]),
    "missing on one rank": ([0, 0, 1, 3], [0, 1, 1, 2, 2, 3], [2, 3, 3, 0]),
    "on one rank only": ([0, 0, 1, 3], [0, 1, 1, 2, 2, 2, 3], [3, 3, 0]),
    "absent everywhere": ([0, 0, 1, 3], [0, 1, 1, 3, 3, 3], [3, 1, 0, 0, 0]),
    "a rank without tasks": ([-1, -1, -1], [0, 1, 1, 2, 3, 3], [2, 2, 3, 0]),
    "a rank without examples": ([], [0, 1, 1, 2, 3, 3], [2, 2, 3, 0]),
    "one task a rank": ([0, 0, 0], [1, 1], [2, 2, 2, 2]),
}
COURSE = tuple(SCENARIOS)
"""One step of each, so that state is carried from any to the next."""

UNEVEN = ("on one rank only", "unbalanced", "missing on one rank")
UNBALANCED = ("unbalanced",) * 3

MICRO_SIZES = {2: [[4, 4], [4, 4]], 3: [[4, 4], [1, 1, 1, 1], [4]]}
"""Micro-batches of each rank that make up a batch of 16."""

STEPS = 3
"""Of trainings whose steps are alike; the first windows of `dwa` have uniform weights."""

SIXTEEN = [0, 2, 1, 0, 2, 1, 1, 1, 1, 1, 0, -1, 1, 0, 3, 3]


def shards(course: Sequence[str], world_size: int, step: int) -> list[Batch]:
    """Batches of one step, by rank."""
    groups = SCENARIOS[course[step]][:world_size]
    return [examples(ids, 100 * step + rank) for rank, ids in enumerate(groups)]


def together(batches: Sequence[Batch]) -> Batch:
    """One batch of all."""
    return Batch(*(torch.cat(fields) for fields in zip(*batches, strict=True)))


def micro_batches(step: int, sizes: Sequence[int], skip: int = 0) -> list[Batch]:
    """A part of the step's batch of 16, in pieces."""
    ends = [skip + sum(sizes[: i + 1]) for i in range(len(sizes))]
    batch = examples(SIXTEEN, step)
    return [batch.take(slice(end - n, end)) for n, end in zip(sizes, ends, strict=True)]


def with_nan(batch: Batch, step: int) -> Batch:
    """In step 1, a target of an example of task 1 is NaN."""
    there = (batch.groups == 1) & (step == 1)
    return batch._replace(y=torch.where(there, math.nan, batch.y))
