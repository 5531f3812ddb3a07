"""From prepared instances to masked batches, a pure function of (seed, duplicate, instance).

Nothing random is carried along: results do not depend on workers, ranks or restarts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.order import SampleOrder

__all__ = ["InstanceOrder", "MaskingCollator", "TaskOfPiece", "mask_instance"]

Instance = Mapping[str, Any]
"""A row of a prepared data set: input_ids, pos, first_length, next_sentence_label."""


class TaskOfPiece(Protocol):
    """Maps masked pieces to task ids; ids outside the tasks take no part in the loss."""

    def __call__(
        self, pieces: NDArray[np.int64], pos: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Task ids of pieces with given part-of-speech classes."""


class InstanceOrder(SampleOrder):
    """The instances of a whole run in training order, each with its duplicate and index.

    Args:
        instances: the prepared data set.
        length: instances of the whole run.
        duplicates: virtual copies of each instance, with different masks.
        seed: of the order (the masks have their own).

    Raises:
        ValueError: there are no instances.
    """

    def __init__(
        self, instances: Sequence[Instance], length: int, duplicates: int, seed: int
    ) -> None:
        super().__init__(len(instances), length, duplicates, seed)
        self.instances = instances

    def sample(self, duplicate: int, index: int) -> dict[str, Any]:
        """An instance that knows which one it is."""
        return {**self.instances[index], "duplicate": duplicate, "index": index}


@dataclass(frozen=True)
class MaskingCollator:
    """Batches of static shapes: ``[B, S]`` pieces and ``[B, K]`` masked positions.

    Args:
        vocabulary: number of pieces; random replacements are drawn from all of them.
        mask_id: piece of [MASK].
        pad_id: piece of [PAD].
        special_ids: pieces never masked ([CLS], [SEP], [PAD]).
        sequence_length: S.
        max_predictions: K.
        probability: share of positions to be predicted (0.15).
        seed: of the masks.
        task_of_piece: the grouping into tasks.
    """

    vocabulary: int
    mask_id: int
    pad_id: int
    special_ids: tuple[int, ...]
    sequence_length: int
    max_predictions: int
    probability: float
    seed: int
    task_of_piece: TaskOfPiece

    def __call__(self, instances: Sequence[Instance]) -> dict[str, Tensor]:
        """A batch for `PosBertForPreTraining`; instances without a duplicate are duplicate 0."""
        batch = {
            "input_ids": np.full((len(instances), self.sequence_length), self.pad_id, np.int64),
            "attention_mask": np.zeros((len(instances), self.sequence_length), np.int64),
            "token_type_ids": np.zeros((len(instances), self.sequence_length), np.int64),
            "masked_positions": np.zeros((len(instances), self.max_predictions), np.int64),
            "mlm_labels": np.full((len(instances), self.max_predictions), -100, np.int64),
            "task_ids": np.full((len(instances), self.max_predictions), -100, np.int64),
            "next_sentence_label": np.zeros(len(instances), np.int64),
        }
        for row, instance in enumerate(instances):
            self._fill(batch, row, instance)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _fill(self, batch: dict[str, NDArray[np.int64]], row: int, instance: Instance) -> None:
        pieces = np.asarray(instance["input_ids"], np.int64)
        pos = np.asarray(instance["pos"], np.int64)
        length = len(pieces)
        if length > self.sequence_length:
            raise ValueError(
                f"instance {instance['index']} has {length} pieces; `sequence_length` should be at "
                f"least that, found {self.sequence_length}"
            )
        rng = np.random.default_rng([self.seed, instance.get("duplicate", 0), instance["index"]])
        masked, positions = mask_instance(
            pieces,
            rng,
            probability=self.probability,
            max_predictions=self.max_predictions,
            mask_id=self.mask_id,
            special_ids=self.special_ids,
            vocabulary=self.vocabulary,
        )
        count = len(positions)
        batch["input_ids"][row, :length] = masked
        batch["attention_mask"][row, :length] = 1
        batch["token_type_ids"][row, int(instance["first_length"]) : length] = 1
        batch["masked_positions"][row, :count] = positions
        batch["mlm_labels"][row, :count] = pieces[positions]
        batch["task_ids"][row, :count] = self.task_of_piece(pieces[positions], pos[positions], rng)
        batch["next_sentence_label"][row] = int(instance["next_sentence_label"])


def mask_instance(
    pieces: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    probability: float,
    max_predictions: int,
    mask_id: int,
    special_ids: Sequence[int],
    vocabulary: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """BERT's masking of one instance: 80 % [MASK], 10 % kept, 10 % a random piece.

    Args:
        pieces: ``[n]``, special pieces included in the length of which `probability` is taken.
        rng: draws everything.
        probability: share of positions to be predicted, rounded, at least one position.
        max_predictions: cap on their number.
        mask_id: piece of [MASK].
        special_ids: pieces never chosen.
        vocabulary: number of pieces; the random ones are uniform over all, special ones too.

    Returns:
        The pieces with replacements, and the chosen positions in ascending order.
    """
    candidates = np.flatnonzero(~np.isin(pieces, special_ids))
    wanted = max(1, round(probability * len(pieces)))
    count = min(wanted, max_predictions, len(candidates))
    positions = np.sort(rng.choice(candidates, size=count, replace=False))
    draw = rng.random(count)
    random = rng.integers(0, vocabulary, size=count)
    masked = pieces.copy()
    replaced = np.where(draw < 0.8, mask_id, np.where(draw < 0.9, pieces[positions], random))
    masked[positions] = replaced
    return masked, positions
