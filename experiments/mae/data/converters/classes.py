"""Image classification as ImageNet has it: ``{split}/{class}/*.JPEG``."""

from collections.abc import Sequence
from pathlib import Path

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import RgbFiles
from experiments.mae.data.layout import split_names, stems

__all__ = ["IMAGES", "check_classes"]

IMAGES = (RgbFiles(),)
"""What the files hold: colour alone; grey images become colour where they are read."""


def check_classes(root: Path, splits: Sequence[str] | None) -> None:
    """See that all images are in class folders, and that all splits have the same.

    Args:
        root: holds a folder for each split.
        splits: their names; all folders of `root` if None.

    Raises:
        ConfigurationError: naming the folder that differs, or is empty.
    """
    first: tuple[Path, set[str]] | None = None
    for split in split_names(root, IMAGES, splits, by_modality=False):
        folder = root / split
        classes = {Path(stem).parent.name for stem in stems(folder)}
        if "" in classes:
            raise ConfigurationError(
                f"{folder}: should have its images in class folders; found them directly; leave "
                "the split out with `splits`, or sort its images into folders"
            )
        first = first or (folder, classes)
        differing = sorted(classes ^ first[1])
        if differing:
            one, other = (folder, first[0]) if differing[0] in classes else (first[0], folder)
            raise ConfigurationError(
                f"{other / differing[0]}: is missing, though {one / differing[0]} is there; all "
                "splits should have the same classes; add or remove a folder, or name the `splits`"
            )
