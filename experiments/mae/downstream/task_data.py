"""A manifest as the data of a downstream task, checked before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.batches import VALID
from experiments.mae.data.dataset import MultiModalImages
from experiments.mae.data.declarations import DepthFiles, LabelFiles
from experiments.mae.data.manifest import Manifest
from experiments.mae.downstream.configuration import (
    Classification,
    Depth,
    FineTuning,
    Segmentation,
)

__all__ = ["TaskData", "depth_statistics"]

USUAL = ("test", "val", "valid")
"""Splits that are evaluated, the first that there is."""

_SAMPLED = 256
"""Images that the statistics of depth are measured on, at most."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """A manifest, checked for a task.

    Args:
        how: the recipe.
        manifest: of all splits.

    Raises:
        ConfigurationError: it lacks an input, what is to be predicted, or a split.
    """

    how: FineTuning
    manifest: Manifest
    train: Manifest = field(init=False)
    test: Manifest = field(init=False)

    def __post_init__(self) -> None:
        header, path = self.manifest.header, self.manifest.path
        for name in self.names:
            if name not in header.names:
                role = "predict" if name == self.how.task else "take as input"
                raise ConfigurationError(
                    f"{path}: has no {name} to {role}; found {', '.join(header.names)}"
                )
        object.__setattr__(self, "train", self.manifest.split(self.how.train_split))
        object.__setattr__(self, "test", self.manifest.split(self.test_split))
        if isinstance(self.how, Classification):
            self._check_labels()
        if isinstance(self.how, Segmentation):
            self._check_kind(LabelFiles)
        if isinstance(self.how, Depth) and self._check_kind(DepthFiles).unit != "metres":
            raise ConfigurationError(
                f"{path}: depth should be in metres to be predicted; found `unit` "
                f"{self._check_kind(DepthFiles).unit}; take measured depth"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities that are read."""
        target = () if isinstance(self.how, Classification) else (self.how.task,)
        return (*self.how.inputs, *target)

    @property
    def test_split(self) -> str:
        """Name of the split that is evaluated."""
        splits, trained = self.manifest.header.splits, self.how.train_split
        usual = [name for name in USUAL if name in splits and name != trained]
        if self.how.test_split is None and not usual:
            raise ConfigurationError(
                f"{self.manifest.path}: should have a split {' or '.join(USUAL)} beside "
                f"{trained!r}, which is trained on; found {', '.join(splits)}; name one in "
                f"`{self.how.task}.test_split`"
            )
        return self.how.test_split or usual[0]

    @property
    def classes(self) -> int:
        """Of images or pixels; 0 for depth."""
        if isinstance(self.how, Classification):
            return len(self.manifest.header.classes)
        return self._check_kind(LabelFiles).classes if self.how.task == "semseg" else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of images or pixels, numbers where the manifest has no names; none for depth."""
        if isinstance(self.how, Classification):
            return self.manifest.header.classes
        if self.how.task == "depth":
            return ()
        return self._check_kind(LabelFiles).class_names or tuple(map(str, range(self.classes)))

    @property
    def train_images(self) -> int:
        """How many are trained on."""
        return min(len(self.train), self.how.max_train_images or len(self.train))

    def describe(self) -> dict[str, Any]:
        """What the numbers are of, for records."""
        return {
            "manifest": str(self.manifest.path),
            "digest": self.manifest.header.digest,
            "train": {"split": self.how.train_split, "images": self.train_images},
            "test": {"split": self.test_split, "images": len(self.test)},
        }

    def _check_kind(self, kind: type[Any]) -> Any:
        """The declaration of what is to be predicted."""
        header = self.manifest.header
        (files,) = (each for each in header.modalities if each.name == self.how.task)
        if not isinstance(files, kind):
            raise ConfigurationError(
                f"{self.manifest.path}: {self.how.task} cannot be predicted from files of kind "
                f"{files.kind}"
            )
        return files

    def _check_labels(self) -> None:
        path, classes = self.manifest.path, self.manifest.header.classes
        if len(classes) < 2:
            raise ConfigurationError(
                f"{path}: should have at least 2 classes of images (folders of that name); found "
                f"{len(classes)}"
            )
        for split in (self.train, self.test):
            for record in split:
                if record.label is None:
                    raise ConfigurationError(
                        f"{path}: {record.stem} of split {record.split} should have a class; put "
                        "it into a class folder"
                    )


def depth_statistics(data: TaskData) -> tuple[float, float]:
    """Mean and standard deviation of the depth of the training split in metres.

    Over the known pixels of up to 256 images, spread evenly.

    Raises:
        ConfigurationError: no depth is known, or all of it is the same.
    """
    images = MultiModalImages(data.train, _untouched, ("depth",))
    count = min(len(images), _SAMPLED)
    sums = np.zeros(3)
    for index in np.linspace(0, len(images) - 1, count).round().astype(int):
        sample = images.sample(0, int(index))
        depth = sample["depth"].double()
        if "depth" + VALID in sample:
            depth = depth[sample["depth" + VALID]]
        sums += [depth.numel(), depth.sum().item(), depth.square().sum().item()]
    mean = sums[1] / max(sums[0], 1)
    variance = sums[2] / max(sums[0], 1) - mean**2
    if variance <= 0:
        raise ConfigurationError(
            f"{data.manifest.path}: depth of the training split should vary; found "
            f"{sums[0]:.0f} known pixels, variance {variance:g}"
        )
    return float(mean), float(np.sqrt(variance))


def _untouched(
    tensors: Mapping[str, Tensor],
    duplicate: int,  # noqa: ARG001
    index: int,  # noqa: ARG001
) -> dict[str, Tensor]:
    return {name: values.as_subclass(Tensor) for name, values in tensors.items()}
