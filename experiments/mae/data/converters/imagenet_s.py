"""ImageNet-S (50, 300 or 919 classes): the images that have masks, and the masks as labels.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022. A mask is an RGB image of
the ids R + 256·G: 0 other, 1 to the number of classes in the order of their sorted WordNet ids,
1000 ignored.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.configuration import ConfigurationError
from experiments.mae.data.converters.images import write_png
from experiments.mae.data.declarations import LabelFiles, ModalityFiles, RgbFiles
from experiments.mae.data.files import stored_values
from experiments.mae.data.layout import stems
from experiments.progress import Stages
from taskrobust._files import write_atomically

__all__ = ["IGNORED", "OTHER", "convert_imagenet_s", "decode_mask"]

OTHER, IGNORED = 0, 1000
"""Ids of pixels of no class, and of pixels that are left out of losses and scores."""

_SPLITS = {
    "train": ("train-semi-segmentation", ("train-semi", "train")),
    "val": ("validation-segmentation", ("validation",)),
}
"""By split: the folder of masks, and those that may have their images, the first that exists."""

_WITHOUT_MASKS = "train"
"""The folder in which most images have none."""


def convert_imagenet_s(
    data: Path, folder: Path, other_is_class: bool, stages: Stages
) -> tuple[ModalityFiles, ...]:
    """Write ``{train,val}/{rgb,semseg}/WNID/STEM.*``: copies of the images, and labels of 16 bits.

    What an interrupted call has written is not written again.

    Args:
        data: with ``train-semi-segmentation/WNID/*.png``, the images in ``train-semi`` or
            ``train``, ``validation-segmentation`` and ``validation``.
        folder: to be filled.
        other_is_class: whether the pixels of no class are a class of their own, called other, the
            first one; if not, they are ignored, as those of id 1000 always are.
        stages: shows the progress.

    Returns:
        What the files hold.

    Raises:
        ConfigurationError: a folder or an image is missing, or a mask is damaged, of another size
            than its image or holds an id that is no class; it is named.
    """
    masks = {split: stems(_existing(data, (name,))) for split, (name, _) in _SPLITS.items()}
    classes = _classes(data, masks)
    for split, (_, names) in _SPLITS.items():
        images = _images(_existing(data, names), masks[split])
        with stages.stage(f"convert {split}", "images", len(images)) as advance:
            for stem, image in images.items():
                rgb = folder / split / "rgb" / f"{stem}{image.suffix}"
                labels = folder / split / "semseg" / f"{stem}.png"
                there = rgb.is_file() and labels.is_file()
                if not there:
                    write_png(labels, _labels(masks[split][stem], image, len(classes)))
                    rgb.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(rgb, image.read_bytes())
                advance(1, there)
    if other_is_class:
        whole = ("other", *classes)
        return RgbFiles(), LabelFiles(classes=len(whole), ignored=(IGNORED,), class_names=whole)
    ignored = (OTHER, IGNORED)
    return RgbFiles(), LabelFiles(
        classes=len(classes), first=1, ignored=ignored, class_names=classes
    )


def decode_mask(path: Path, classes: int) -> NDArray[np.uint16]:
    """Ids of a mask ``[H, W]``: R + 256·G.

    Args:
        path: of the mask.
        classes: ids above this are refused, but for `IGNORED`.

    Raises:
        ConfigurationError: it cannot be read, is no RGB image without blue, or an id is no class.
    """
    content = path.read_bytes()
    values = stored_values(path, RgbFiles(name="masks"), content)
    with Image.open(io.BytesIO(content)) as image:
        mode = image.mode
    if mode != "RGB" or values[..., 2].any():
        raise ConfigurationError(
            f"{path}: should be an RGB image of the ids R + 256·G, with no blue; found mode {mode}"
            f"{'' if mode != 'RGB' else ' with blue'}; fetch the mask again"
        )
    ids: NDArray[np.uint16] = values[..., 0] + np.uint16(256) * values[..., 1]
    wrong = (ids > classes) & (ids != IGNORED)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise ConfigurationError(
            f"{path}: ids should be 0 to {classes}, or {IGNORED}; found {ids[row, column]} in row "
            f"{row}, column {column}; fetch the mask again, and take masks and images of the same "
            "number of classes"
        )
    return ids


def _existing(data: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (data / name).is_dir():
            return data / name
    raise ConfigurationError(
        f"{data / names[0]}: is missing; {data} should be a folder of ImageNet-S, such as "
        "ImageNetS50, with the annotations"
    )


def _classes(data: Path, masks: dict[str, dict[str, Path]]) -> tuple[str, ...]:
    """The WordNet ids, sorted; all splits have the same."""
    found = {split: {Path(stem).parent.name for stem in files} for split, files in masks.items()}
    differing = sorted(found["train"] ^ found["val"])
    if differing or "" in found["train"]:
        raise ConfigurationError(
            f"{data}: {' and '.join(name for name, _ in _SPLITS.values())} should have folders of "
            f"the same classes; found {differing[0] if differing else 'none'} in one of them only; "
            "fetch the annotations again"
        )
    return tuple(sorted(found["train"]))


def _images(folder: Path, masks: dict[str, Path]) -> dict[str, Path]:
    """The image of each mask, by stem."""
    images = stems(folder)
    for stem, mask in masks.items():
        if stem not in images:
            raise ConfigurationError(
                f"{folder / stem}.*: is missing, though there is a mask {mask}; add the image"
            )
    if folder.name != _WITHOUT_MASKS:
        for stem, image in images.items():
            if stem not in masks:
                raise ConfigurationError(
                    f"{image}: has no mask {stem}.png; fetch the annotations again"
                )
    return {stem: images[stem] for stem in sorted(masks)}


def _labels(mask: Path, image: Path, classes: int) -> NDArray[np.uint16]:
    ids = decode_mask(mask, classes)
    try:
        with Image.open(image) as opened:
            size = (opened.height, opened.width)
    except OSError as error:
        raise ConfigurationError(
            f"{image}: cannot be read as an image ({error}); fetch it again"
        ) from error
    if ids.shape != size:
        raise ConfigurationError(
            f"{mask}: should have the size {size[0]}×{size[1]} (height × width) of {image}; found "
            f"{ids.shape[0]}×{ids.shape[1]}; take image and mask of the same release"
        )
    return ids
