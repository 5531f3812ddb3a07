"""Prepared folders as training and held-out data of a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from datasets import Dataset, load_from_disk
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from experiments.bert.batches import InstanceOrder, MaskingCollator, TaskOfPiece
from experiments.bert.configuration import BertStudy, Phase
from experiments.bert.groupings import (
    FrequencyGroups,
    PosGroups,
    RandomGroups,
    WithoutOther,
    frequency_table,
)
from experiments.bert.tags import NUM_TASKS, OTHER, table_key
from experiments.configuration import ConfigurationError

__all__ = [
    "HeldOut",
    "PhasedCollator",
    "Prepared",
    "collator",
    "grouping",
    "held_out_batches",
    "phase_folder",
    "training_data",
]


RECORD = "preparation.yaml"
"""File of a prepared folder that says what it was made of."""


@dataclass(frozen=True)
class Prepared:
    """A folder that ``prepare`` wrote.

    Raises:
        ConfigurationError: something is missing, or it was made with another tag table.
    """

    folder: Path

    def __post_init__(self) -> None:
        for name in ("train", "valid", "tokenizer", "report.json", RECORD):
            if not (self.folder / name).exists():
                raise ConfigurationError(
                    f"{self.folder / name} is missing; --data should be a folder that "
                    "`python -m experiments bert prepare` has finished"
                )
        if self._report.get("tag_table") != table_key():
            raise ConfigurationError(
                f"{self.folder} was prepared with tag table {self._report.get('tag_table')!r}, the "
                f"code has {table_key()!r}; prepare it again"
            )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The WordPiece tokenizer."""
        try:
            found = AutoTokenizer.from_pretrained(str(self.folder / "tokenizer"))
        except Exception as error:  # tokenizers raises nothing more special
            raise ConfigurationError(
                f"{self.folder / 'tokenizer'} cannot be loaded ({error}); prepare the text again"
            ) from error
        if len(found) != self._report.get("vocabulary"):
            raise ConfigurationError(
                f"{self.folder / 'tokenizer'} should have the {self._report.get('vocabulary')} "
                f"pieces that the text was prepared with; found {len(found)}; prepare it again"
            )
        return found

    @property
    def record(self) -> dict[str, Any]:
        """What the text was prepared from and how, hashes and versions included."""
        path = self.folder / RECORD
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path}: {error}; prepare the text again") from error
        if not isinstance(content, dict):
            raise ConfigurationError(f"{path} should be a mapping; prepare the text again")
        return content

    def split(self, name: str) -> Dataset:
        """Instances of "train", "valid" or "test", as NumPy arrays."""
        try:
            return load_from_disk(str(self.folder / name)).with_format("numpy")
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"{self.folder / name} cannot be read ({error}); prepare the text again"
            ) from error

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return (self.folder / split).is_dir()

    @cached_property
    def sequence_length(self) -> int:
        """Pieces of the longest instance the preparation allowed."""
        return int(self._report["sequence_length"])

    @cached_property
    def _report(self) -> dict[str, Any]:
        path = self.folder / "report.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{path}: {error}; prepare the text again") from error
        if not isinstance(found, dict) or not isinstance(found.get("sequence_length"), int):
            raise ConfigurationError(
                f"{path} should state `sequence_length`; prepare the text again"
            )
        return found

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Training pieces by class ``[10]`` (special pieces, which are never masked, left out)."""
        return self._counts[0]

    @cached_property
    def piece_counts(self) -> NDArray[np.int64]:
        """Training occurrences within the nine classes, by piece ``[V]``."""
        return self._counts[1]

    @cached_property
    def _counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        special = self.tokenizer.all_special_ids
        classes, pieces = np.zeros(OTHER + 1, np.int64), np.zeros(len(self.tokenizer), np.int64)
        for rows in self.split("train").iter(batch_size=1000):
            ids, pos = np.concatenate(rows["input_ids"]), np.concatenate(rows["pos"])
            kept = ~np.isin(ids, special)
            classes += np.bincount(pos[kept], minlength=OTHER + 1)
            pieces += np.bincount(ids[kept & (pos != OTHER)], minlength=len(pieces))
        return classes, pieces


@dataclass(frozen=True)
class PhasedCollator:
    """The collator of the phase that a batch belongs to; batches never mix phases.

    The last one is that of `HELD_OUT`.
    """

    collators: tuple[MaskingCollator, ...]

    def __call__(self, instances: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A masked batch."""
        batch: dict[str, Tensor] = self.collators[instances[0]["phase"]](instances)
        return batch


HELD_OUT = -1
"""Phase of held-out instances."""


class HeldOut(torch.utils.data.Dataset[dict[str, Any]]):
    """Held-out instances, each with one fixed mask."""

    def __init__(self, instances: Dataset) -> None:
        self.instances = instances

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.instances[index], "duplicate": 0, "index": index, "phase": HELD_OUT}


class _InPhase(InstanceOrder):
    """Instances that know their phase."""

    phase = 0

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {**super().__getitem__(position), "phase": self.phase}


def training_data(
    study: BertStudy, data: Path
) -> tuple[ConcatDataset[dict[str, Any]], PhasedCollator, Prepared]:
    """All instances of a run in order, their collator, and the prepared folder of the first phase.

    Args:
        study: the configuration.
        data: the prepared folder of phases that name none; others are beside it.

    Raises:
        ConfigurationError: a folder that cannot be used, phases of different vocabularies, or
            instances longer than the model.
    """
    folders = [Prepared(phase_folder(phase, data)) for phase in study.phases]
    _check_fitting(study, folders)
    steps = _phase_steps(study)
    parts, collators = [], []
    task_of_piece = grouping(study, folders[0])
    for number, (phase, folder) in enumerate(zip(study.phases, folders, strict=True)):
        part = _InPhase(
            folder.split("train"),
            steps[number] * study.optimisation.batch_size,
            study.masking.duplicates,
            study.seed + number,
        )
        part.phase = number
        parts.append(part)
        collators.append(collator(study, folder, task_of_piece, phase))
    collators.append(_held_out_collator(study, folders[0], task_of_piece))
    return ConcatDataset(parts), PhasedCollator(tuple(collators)), folders[0]


def phase_folder(phase: Phase, data: Path) -> Path:
    """The prepared folder of a phase: the one given, or the one it names, beside it."""
    return data if phase.data is None else data.parent / phase.data


def grouping(study: BertStudy, prepared: Prepared) -> TaskOfPiece:
    """The map from masked pieces to tasks that a study asks for."""
    groups: PosGroups | FrequencyGroups | RandomGroups = PosGroups()
    if study.grouping != "pos":
        counts = prepared.class_counts[:NUM_TASKS]
        shares = tuple(float(share) for share in counts / counts.sum())
        groups = (
            RandomGroups(shares)
            if study.grouping == "random"
            else FrequencyGroups(frequency_table(prepared.piece_counts, shares))
        )
    return groups if study.other_is_task else WithoutOther(groups)


def collator(
    study: BertStudy, prepared: Prepared, task_of_piece: TaskOfPiece, phase: Phase | None = None
) -> MaskingCollator:
    """The masking of a phase; that of the study where the phase says nothing."""
    tokenizer = prepared.tokenizer
    return MaskingCollator(
        vocabulary=len(tokenizer),
        mask_id=tokenizer.mask_token_id,
        pad_id=tokenizer.pad_token_id,
        special_ids=(tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id),
        sequence_length=prepared.sequence_length,
        max_predictions=(phase and phase.max_predictions) or study.masking.max_predictions,
        probability=study.masking.probability,
        seed=study.masking.seed,
        task_of_piece=task_of_piece,
    )


def held_out_batches(
    study: BertStudy, prepared: Prepared, split: str, batch_size: int
) -> DataLoader[dict[str, Tensor]]:
    """Held-out batches by part of speech, whatever grouping is trained with.

    Their masks are those of the evaluations during training.
    """
    masking = _held_out_collator(study, prepared, PosGroups())
    return DataLoader(HeldOut(prepared.split(split)), batch_size=batch_size, collate_fn=masking)


def _check_fitting(study: BertStudy, folders: Sequence[Prepared]) -> None:
    """All phases have one vocabulary, and the model as many positions as instances need."""
    first = folders[0]
    for folder in folders:
        if folder.tokenizer.get_vocab() != first.tokenizer.get_vocab():
            raise ConfigurationError(
                f"{folder.folder} and {first.folder} have different vocabularies; prepare one with "
                f"--set preparation.vocabulary={first.folder / 'tokenizer'}"
            )
        if folder.sequence_length > study.model.positions:
            raise ConfigurationError(
                f"`model.positions` should be at least {folder.sequence_length}, the length of "
                f"instances in {folder.folder}; found {study.model.positions}"
            )


def _held_out_collator(
    study: BertStudy, prepared: Prepared, task_of_piece: TaskOfPiece
) -> MaskingCollator:
    """Masks drawn with another seed than those of training."""
    masking = collator(study, prepared, task_of_piece)
    return replace(masking, seed=study.masking.seed + 1_000_003)


def _phase_steps(study: BertStudy) -> list[int]:
    """Steps of each phase; they add up to those of the study."""
    ends = np.cumsum([phase.share for phase in study.phases]) * study.optimisation.steps
    return [int(n) for n in np.diff(np.rint(ends).astype(int), prepend=0)]
