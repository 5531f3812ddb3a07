"""The images of a study, checked, as pre-training and its evaluations read them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.configuration import ConfigurationError
from experiments.mae.batches import MaskingCollator
from experiments.mae.data.augmentation import CentralCrop, RandomCrop
from experiments.mae.data.build import MANIFEST
from experiments.mae.data.dataset import MultiModalImages, label_strides
from experiments.mae.data.manifest import Manifest, read_manifest
from experiments.mae.model.masking import TokenMasking
from experiments.mae.study import MaeStudy
from experiments.order import SampleOrder

__all__ = ["ImageOrder", "Images", "manifest_of"]

HELD_OUT = ("val", "valid", "test")

_OTHER_MASKS = 1_000_003
"""Added to the seed of the masks of held-out images."""


class ImageOrder(SampleOrder):
    """The training images of a whole run; every epoch has windows and masks of its own.

    Args:
        images: of the training split.
        length: images of the whole run.
        seed: of the order.
    """

    def __init__(self, images: MultiModalImages, length: int, seed: int) -> None:
        super().__init__(len(images), length, None, seed)
        self.images = images

    def sample(self, duplicate: int, index: int) -> dict[str, Any]:
        """An image in an epoch."""
        return self.images.sample(duplicate, index)


class Images:
    """Training and held-out images of a study, and how they become batches.

    Args:
        study: the configuration.
        data: a manifest, or the folder of one.

    Raises:
        ConfigurationError: a manifest that cannot be read or lacks a split, a file that is missing,
            or modalities that are not those of the model.
    """

    def __init__(self, study: MaeStudy, data: Path) -> None:
        self.manifest = manifest_of(data)
        size, crop = study.model, study.crop
        strides = label_strides(size)
        random = RandomCrop(
            size=size.image_size,
            strides=strides,
            seed=crop.seed,
            scale=crop.scale,
            ratio=crop.ratio,
            flip=crop.flip,
        )
        self.train = MultiModalImages(self.manifest.split(study.train_split), random, size.names)
        self.train.check_model(size)
        self.held_out_split = _held_out_split(study, self.manifest)
        central = CentralCrop(size=size.image_size, strides=strides)
        self.held_out = MultiModalImages(
            self.manifest.split(self.held_out_split), central, size.names
        )
        self.collator = MaskingCollator(size.names, TokenMasking.of(study.masking, size))
        masking = replace(study.masking, seed=study.masking.seed + _OTHER_MASKS)
        self.held_out_collator = MaskingCollator(size.names, TokenMasking.of(masking, size))

    @property
    def record(self) -> dict[str, Any]:
        """What a run depends on: the files, how they are read, and how they are split."""
        header = self.manifest.header
        return {**header.identity, "splits": dict(header.splits)}


def manifest_of(data: Path) -> Manifest:
    """The manifest of a folder, or the one that is given.

    Raises:
        ConfigurationError: there is none, or it is damaged.
    """
    path = data / MANIFEST if data.is_dir() else data
    if not path.is_file():
        raise ConfigurationError(
            f"--data {data}: has no {MANIFEST}; give a folder that `python -m experiments mae "
            "prepare` has made, or a manifest"
        )
    return read_manifest(path)


def _held_out_split(study: MaeStudy, manifest: Manifest) -> str:
    known = manifest.header.splits
    if study.held_out_split is not None:
        return study.held_out_split
    for name in HELD_OUT:
        if name in known and name != study.train_split:
            return name
    raise ConfigurationError(
        f"{manifest.path}: should have a split {' or '.join(HELD_OUT)}; found {', '.join(known)}; "
        "name one in `held_out_split`"
    )
