"""Where images come from, as data: the field ``preparation`` of a study."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from experiments.configuration import strict
from experiments.mae.data.declarations import ModalityFiles

__all__ = ["Classes", "Folders", "ImageNetS", "NYUv2", "Preparation", "Scenes"]

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Splits = Annotated[tuple[Name, ...], Field(min_length=1)]


@dataclass(config=strict, kw_only=True)
class Scenes:
    """Rendered scenes: colour, exact depth, labels and a class; needs no data."""

    source: Literal["scenes"] = "scenes"
    splits: Annotated[dict[Name, Positive], Field(min_length=1)]
    """Number of scenes by split."""
    size: tuple[Positive, Positive] = (64, 64)
    """Height and width in pixels."""
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(config=strict, kw_only=True)
class Folders:
    """Images of any modalities, ``root/{split}/{modality}/[class/]{stem}.{ext}``.

    A folder is used where it is; a ZIP archive is unpacked.
    """

    source: Literal["folders"] = "folders"
    modalities: Annotated[tuple[ModalityFiles, ...], Field(min_length=1)]
    """What the files hold; the folders are called by their names."""
    splits: Splits | None = None
    """None: all that have a folder of a modality."""


@dataclass(config=strict, kw_only=True)
class Classes:
    """Colour images and their classes as ImageNet has them, ``root/{split}/{class}/*``.

    A folder is used where it is; a ZIP archive is unpacked. The names of the classes are those of
    the folders, sorted; an id is the place.
    """

    source: Literal["classes"] = "classes"
    splits: Splits | None = None
    """None: all folders. ImageNet's own test images, which have no classes, are to be left out."""


@dataclass(config=strict, kw_only=True)
class NYUv2:
    """A folder with the official files of NYU Depth v2: colour, depth in metres, and labels.

    795 frames are to train, 654 to test.
    """

    source: Literal["nyuv2"] = "nyuv2"
    classes: Literal[40, 13] = 40


@dataclass(config=strict, kw_only=True)
class ImageNetS:
    """A folder of ImageNet-S, such as ImageNetS50: the images that have masks, and labels.

    These are 10 a class to train, and all to validate. All images, without masks, are `Classes`
    with the splits train and validation.
    """

    source: Literal["imagenet_s"] = "imagenet_s"
    other: Literal["ignored", "class"] = "ignored"
    """Pixels of no class: left out of losses and scores, as by the paper's authors, or a class."""


Preparation = Annotated[
    Scenes | Folders | Classes | NYUv2 | ImageNetS, Field(discriminator="source")
]
"""One of these, told by `source`; the fields of the others are refused."""
