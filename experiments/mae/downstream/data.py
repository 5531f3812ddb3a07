"""The images of fine-tuning: in which order, changed how, and in which batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from timm.data import Mixup
from timm.data.mixup import mixup_target
from torch import Tensor

from experiments.mae.batches import VALID
from experiments.mae.configuration import ModelSize
from experiments.mae.data.dataset import MultiModalImages, SampleTransform, label_strides
from experiments.mae.data.declarations import LabelFiles
from experiments.mae.downstream.augmentation import (
    CentralView,
    JointCrop,
    RandAugmentedCrop,
    RandomView,
    Result,
    seeded,
)
from experiments.mae.downstream.configuration import (
    Classification,
    Depth,
    FineTuning,
    Segmentation,
)
from experiments.mae.downstream.task_data import TaskData
from experiments.order import SampleOrder

__all__ = [
    "Collator",
    "TrainingOrder",
    "evaluation_images",
    "training_images",
]

_MIXING = 5
"""Tells the draws of a batch from those of samples (`augmentation`)."""


class TrainingOrder(SampleOrder):
    """The samples of a whole run in training order, each epoch changed and ordered anew.

    Args:
        images: with the transform of training.
        length: samples of the whole run.
        seed: of the order.
        limit: only so many images, the first of a fixed random order; None: all.
    """

    def __init__(
        self, images: MultiModalImages, length: int, seed: int, limit: int | None = None
    ) -> None:
        self.images = images
        self.kept = np.sort(np.random.default_rng(0).permutation(len(images))[:limit])
        super().__init__(len(self.kept), length, None, seed)

    def sample(self, duplicate: int, index: int) -> dict[str, Any]:
        """A sample as it is in epoch `duplicate`."""
        return self.images.sample(duplicate, int(self.kept[index]))

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {**super().__getitem__(position), "position": position}


@dataclass(frozen=True, kw_only=True)
class Collator:
    """Batches for `experiments.mae.downstream.model.DownstreamModel`.

    Args:
        how: the recipe.
        classes: of images, for classification.
        seed: None: for evaluation, where labels are ids and nothing is mixed. Else of the mixing,
            together with the position of the first sample.
    """

    how: FineTuning
    classes: int = 0
    seed: int | None = None

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Arguments of the model.

        Raises:
            ValueError: images are mixed in pairs, and their number is odd.
        """
        inputs = {name: _stacked(samples, name) for name in self.how.inputs}
        valid = {
            name: _stacked(samples, name + VALID)
            for name in self.how.inputs
            if name + VALID in samples[0]
        }
        batch: dict[str, Any] = {"modalities": inputs}
        if valid:
            batch["valid"] = valid
        if not isinstance(self.how, Classification):
            for name in (self.how.task, self.how.task + VALID):
                if name in samples[0]:
                    batch[name] = _stacked(samples, name)
            return batch
        batch["label"] = torch.tensor([each["label"] for each in samples])
        if self.seed is not None:
            self._soften(self.how, batch, samples[0]["position"])
        return batch

    def _soften(self, how: Classification, batch: dict[str, Any], position: int) -> None:
        """Mix images and labels in pairs, and smooth labels."""
        if how.mixes:
            mix = Mixup(
                mixup_alpha=how.mixup,
                cutmix_alpha=how.cutmix,
                switch_prob=how.cutmix_share,
                label_smoothing=how.label_smoothing,
                num_classes=self.classes,
            )
            seeds = np.random.SeedSequence([self.seed or 0, position], spawn_key=(_MIXING,))
            with seeded(seeds):
                images, batch["label"] = mix(batch["modalities"]["rgb"], batch["label"])
            batch["modalities"] = {"rgb": images}
        elif how.label_smoothing:
            batch["label"] = mixup_target(
                batch["label"], self.classes, smoothing=how.label_smoothing
            )


def training_images(data: TaskData, size: ModelSize, seed: int) -> MultiModalImages:
    """The training split with its augmentation.

    Args:
        data: the checked manifest.
        size: of the encoder.
        seed: of the augmentation.

    Raises:
        ConfigurationError: a file is missing.
    """
    return MultiModalImages(data.train, _training_transform(data, size, seed), data.names)


def evaluation_images(data: TaskData, size: ModelSize) -> MultiModalImages:
    """The whole test split, as it is evaluated.

    Args:
        data: the checked manifest.
        size: of the encoder.

    Raises:
        ConfigurationError: a file is missing.
    """
    how, result = data.how, _result(data, size)
    transform = CentralView(result=result, cover=not isinstance(how, Segmentation))
    if isinstance(how, Classification):
        transform = CentralView(result=result, cover=True, share=how.central_share)
    return MultiModalImages(data.test, transform, data.names)


def _training_transform(data: TaskData, size: ModelSize, seed: int) -> SampleTransform:
    how, result = data.how, _result(data, size)
    if isinstance(how, Classification):
        if how.inputs == ("rgb",):
            return RandAugmentedCrop(how, seed)
        return JointCrop(result=result, seed=seed, scale=how.crop_scale)
    if isinstance(how, Segmentation):
        return RandomView(result=result, seed=seed, scale=how.scale, colours=how.colours)
    assert isinstance(how, Depth)
    scale = how.scale or (1.0, 1.0)
    return RandomView(result=result, seed=seed, scale=scale, cover=True, colours=how.colours)


def _result(data: TaskData, size: ModelSize) -> Result:
    files = [each for each in data.manifest.header.modalities if isinstance(each, LabelFiles)]
    strides = {name: s for name, s in label_strides(size).items() if name in data.how.inputs}
    return Result(
        size=data.how.image_size,
        void={each.name: each.classes for each in files},
        strides=strides,
    )


def _stacked(samples: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    return torch.stack([each[name] for each in samples])
