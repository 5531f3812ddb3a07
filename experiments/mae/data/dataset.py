"""Samples of a manifest, as `experiments.mae.batches.MaskingCollator` takes them."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import ImageModality, LabelModality, ModelSize
from experiments.mae.data.declarations import LabelFiles, ModalityFiles, RgbFiles
from experiments.mae.data.files import decode
from experiments.mae.data.manifest import Manifest

__all__ = ["MultiModalImages", "SampleTransform", "label_strides"]


class SampleTransform(Protocol):
    """Such as `augmentation.RandomCrop` and `augmentation.CentralCrop`."""

    def __call__(
        self, tensors: Mapping[str, Tensor], duplicate: int, index: int
    ) -> dict[str, Tensor]:
        """All modalities of a sample, changed alike."""
        ...


class MultiModalImages(torch.utils.data.Dataset[dict[str, Any]]):
    """The images of a manifest, each modality decoded and all changed by the same transform.

    A sample has a tensor for each modality, ``NAME_valid`` beside depth that may be unknown,
    ``index`` (in the manifest as given), ``duplicate``, and ``label``, the id of its class, if it
    has one. It is a function of (duplicate, index) alone.

    Args:
        manifest: all of it or some splits.
        transform: sees the modalities as `files.as_tensors` gives them, labels repeated to the size
            of the image where they have a stride.
        names: of the modalities that are read; None: all of the manifest.

    Raises:
        ConfigurationError: there is no record or no such modality, or a file is missing.
    """

    def __init__(
        self,
        manifest: Manifest,
        transform: SampleTransform,
        names: tuple[str, ...] | None = None,
    ) -> None:
        known = {each.name: each for each in manifest.header.modalities}
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise ConfigurationError(
                f"{manifest.path}: has no modality {unknown[0]!r}; found {', '.join(known)}"
            )
        if not len(manifest):
            raise ConfigurationError(f"{manifest.path}: should have records; found none")
        manifest.check_files()
        self.manifest = manifest
        self.transform = transform
        self.files: dict[str, ModalityFiles] = {name: known[name] for name in names or known}
        self._classes = {name: id_ for id_, name in enumerate(manifest.header.classes)}

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample(0, index)

    def sample(self, duplicate: int, index: int) -> dict[str, Any]:
        """A sample.

        Args:
            duplicate: which of its windows and masks, such as the epoch.
            index: in the manifest.

        Raises:
            ConfigurationError: a file cannot be read, has not the size the manifest says, or holds
                something that is not declared; it is named.
            IndexError: there is no such index.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"`index` should be 0 to {len(self) - 1}; found {index}")
        record = self.manifest[index]
        tensors: dict[str, Tensor] = {}
        for name, files in self.files.items():
            path = self.manifest.file(record, name)
            for part, values in decode(path, files).items():
                whole = _repeated(values, files)
                if tuple(whole.shape[-2:]) != record.size:
                    raise ConfigurationError(
                        f"{path}: should have the size {record.size} that {self.manifest.path} "
                        f"says; found {tuple(whole.shape[-2:])}; build the manifest again"
                    )
                tensors[part] = whole
        sample: dict[str, Any] = self.transform(tensors, duplicate, index)
        sample |= {"index": index, "duplicate": duplicate}
        if record.label is not None:
            sample["label"] = self._classes[record.label]
        return sample

    def check_model(self, size: ModelSize) -> None:
        """See that a model's modalities are those of the files.

        Raises:
            ConfigurationError: naming the first that differs, and how.
        """
        try:
            for each in size.modalities:
                _check_modality(each, self.files)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error}: {self.manifest.path} does not fit this study; if it was prepared for "
                "another one, give the folder that `mae prepare` made with this preset"
            ) from None


def label_strides(size: ModelSize) -> dict[str, int]:
    """Strides of a model's label modalities, as the transforms take them."""
    return {each.name: each.stride for each in size.modalities if isinstance(each, LabelModality)}


def _repeated(values: Tensor, files: ModalityFiles) -> Tensor:
    """Labels of a stride as large as the image."""
    if not isinstance(files, LabelFiles) or files.stride == 1:
        return values
    large = values.repeat_interleave(files.stride, -2).repeat_interleave(files.stride, -1)
    return type(values)(large)


def _check_modality(
    modality: ImageModality | LabelModality, known: Mapping[str, ModalityFiles]
) -> None:
    name = modality.name
    if name not in known:
        raise ConfigurationError(f"`modalities` should be among {', '.join(known)}; found {name!r}")
    files = known[name]
    if isinstance(modality, LabelModality):
        if not isinstance(files, LabelFiles):
            raise ConfigurationError(
                f"`modalities.{name}.kind` should be image, as the files are {files.kind}; found "
                "labels"
            )
        if modality.classes != files.classes:
            raise ConfigurationError(
                f"`modalities.{name}.classes` should be {files.classes}, as the files have; found "
                f"{modality.classes}"
            )
        if files.ignored and not modality.void:
            raise ConfigurationError(
                f"`modalities.{name}.void` should be true, for the files have unlabelled pixels; "
                "found false"
            )
        return
    wanted = 3 if isinstance(files, RgbFiles) else 1
    if isinstance(files, LabelFiles) or modality.channels != wanted:
        found = "image" if isinstance(files, LabelFiles) else f"{modality.channels} channels"
        right = "labels" if isinstance(files, LabelFiles) else f"{wanted}"
        raise ConfigurationError(
            f"`modalities.{name}` should have {right}, as the files have; found {found}"
        )
