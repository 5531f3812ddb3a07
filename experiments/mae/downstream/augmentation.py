"""Images for fine-tuning: views that show all modalities alike, and random colours.

Everything random is a function of (seed, epoch, index) alone, whatever the worker, the rank or the
restart. Where a library draws from global generators, these are seeded for it and put back.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment, posterize
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from experiments.mae.batches import VALID
from experiments.mae.data.augmentation import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    RandomCrop,
    Window,
    cut,
)
from experiments.mae.downstream.configuration import Classification, ColourJitter

__all__ = [
    "CentralView",
    "JointCrop",
    "RandAugmentedCrop",
    "RandomView",
    "Result",
    "seeded",
]

GREY = 128
"""Of the padding of images; white is 255."""

_VIEW, _COLOURS, _RAND_AUGMENT = 2, 3, 4
"""Tell the draws of a sample from each other (1 is `experiments.mae.data.augmentation`'s)."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What comes out of a transform.

    Args:
        size: height and width.
        void: id of unlabelled pixels by name of a label modality; padding becomes it.
        strides: by name of a label modality, how many pixels a label stands for in height and
            width; 1 if not named.
    """

    size: tuple[int, int]
    void: Mapping[str, int] = field(default_factory=dict)
    strides: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """A randomly scaled, placed and flipped view, padded below and to the right; random colours.

    The image is scaled so that it fits into the result (or so that it covers it), times a uniform
    factor. Where it is larger, a random part is shown; where it is smaller, the rest is padding:
    grey 128, unlabelled, of unknown depth. Every modality is resampled once. Depth is not divided
    by the factor, though a larger thing would be a nearer one: the recipe does not.

    Args:
        result: size, void ids and strides of the result.
        seed: of all views and colours.
        scale: range of the factor.
        cover: whether a factor of 1 covers the result, and does not fit into it.
        flip: probability of a flip.
        colours: None: as they are.
    """

    result: Result
    seed: int
    scale: tuple[float, float] = (1.0, 1.0)
    cover: bool = False
    flip: float = 0.5
    colours: ColourJitter | None = None

    def __call__(
        self, tensors: Mapping[str, Tensor], duplicate: int, index: int
    ) -> dict[str, Tensor]:
        """The modalities of a sample, as `experiments.mae.data.files.as_tensors` gives them."""
        seeds = _seeds(self.seed, duplicate, index, _VIEW)
        rng = np.random.default_rng(seeds)
        size = _image_size(tensors)
        factor = rng.uniform(*self.scale)
        (height, width), shown = _view(size, self.result.size, factor, self.cover)
        top, left = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
        window = Window(int(top), int(left), height, width, bool(rng.random() < self.flip))
        part = _part(_with_valid(tensors), window)
        if self.colours is not None:
            with seeded(_seeds(self.seed, duplicate, index, _COLOURS)):
                part = _recoloured(part, self.colours)
        whole = window._replace(top=0, left=0)
        return _placed(cut(part, whole, shown), self.result)


@dataclass(frozen=True, kw_only=True)
class CentralView:
    """The view of evaluation: the whole image with padding, or the middle of it without.

    Args:
        result: size, void ids and strides of the result.
        cover: whether the image covers the result, which then shows its middle.
        share: side of the window over that of the largest one that there is, if `cover`.
    """

    result: Result
    cover: bool = False
    share: float = 1.0

    def __call__(
        self,
        tensors: Mapping[str, Tensor],
        duplicate: int = 0,  # noqa: ARG002
        index: int = 0,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """The modalities of a sample."""
        size = _image_size(tensors)
        factor = 1 / self.share if self.cover else 1.0
        (height, width), shown = _view(size, self.result.size, factor, self.cover)
        window = Window((size[0] - height) // 2, (size[1] - width) // 2, height, width)
        return _placed(cut(_with_valid(tensors), window, shown), self.result)


@dataclass(frozen=True, kw_only=True)
class JointCrop:
    """A random resized crop and flip of several modalities: classification of more than rgb."""

    result: Result
    seed: int
    scale: tuple[float, float]

    def __call__(
        self, tensors: Mapping[str, Tensor], duplicate: int, index: int
    ) -> dict[str, Tensor]:
        """The modalities of a sample."""
        crop = RandomCrop(size=self.result.size, seed=self.seed, scale=self.scale)
        return _placed(crop(_with_valid(tensors), duplicate, index), self.result)


class RandAugmentedCrop:
    """timm's training transform of ImageNet, for rgb alone.

    Args:
        how: crop, RandAugment and colour jitter; `image_size`.
        seed: of everything.
    """

    def __init__(self, how: Classification, seed: int) -> None:
        self.seed = seed
        self.transform = create_transform(
            (3, *how.image_size),
            is_training=True,
            scale=how.crop_scale,
            color_jitter=how.colour_jitter or None,
            auto_augment=how.rand_augment,
            interpolation="bicubic",
            mean=IMAGENET_MEAN,
            std=IMAGENET_DEVIATION,
        )
        for part in self.transform.transforms:
            for each in part.ops if isinstance(part, RandAugment) else ():
                if each.name == "PosterizeIncreasing":
                    each.aug_fn = _posterised

    def __call__(
        self, tensors: Mapping[str, Tensor], duplicate: int, index: int
    ) -> dict[str, Tensor]:
        """The image of a sample, ``rgb`` uint8 ``[3, H, W]``; nothing else is kept."""
        image = v2.functional.to_pil_image(tensors["rgb"].as_subclass(Tensor))
        with seeded(_seeds(self.seed, duplicate, index, _RAND_AUGMENT)):
            return {"rgb": self.transform(image)}


@contextmanager
def seeded(seeds: np.random.SeedSequence) -> Iterator[None]:
    """The global generators of Python, NumPy and torch (CPU), seeded within and then put back."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    drawn = seeds.generate_state(3, np.uint64).tolist()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(drawn[0])
            np.random.seed(drawn[1] % 2**32)  # noqa: NPY002
            torch.default_generator.manual_seed(drawn[2])
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def _posterised(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    """At the largest magnitude timm keeps 0 bits, which Pillow 12 refuses; that leaves 1."""
    found: Image.Image = posterize(image, max(1, bits), **options)
    return found


def _seeds(seed: int, duplicate: int, index: int, stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, duplicate, index], spawn_key=(stream,))


def _image_size(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    height, width = next(iter(tensors.values())).shape[-2:]
    return int(height), int(width)


def _view(
    size: tuple[int, int], target: tuple[int, int], factor: float, cover: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the part of an image that is shown, and its size in the result."""
    ratios = [after / before for before, after in zip(size, target, strict=True)]
    ratio = factor * (max(ratios) if cover else min(ratios))
    part, shown = [], []
    for before, after in zip(size, target, strict=True):
        scaled = max(2, round(before * ratio))  # torch 2.15 fails to shrink colours to one pixel
        shown.append(min(scaled, after))
        part.append(min(before, max(1, round(before * shown[-1] / scaled))))
    return (part[0], part[1]), (shown[0], shown[1])


def _part(tensors: Mapping[str, Tensor], window: Window) -> dict[str, Tensor]:
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    return {
        name: tv_tensors.wrap(values[..., rows, columns].contiguous(), like=values)
        for name, values in tensors.items()
    }


def _recoloured(tensors: Mapping[str, Tensor], how: ColourJitter) -> dict[str, Tensor]:
    """Images in other colours; depth and labels as they are."""
    jitter = v2.ColorJitter(how.brightness, how.contrast, how.saturation, how.hue)
    transform = v2.Compose(
        [v2.RandomApply([jitter], p=how.probability), v2.RandomGrayscale(p=how.grey)]
    )
    return {
        name: transform(values) if isinstance(values, tv_tensors.Image) else values
        for name, values in tensors.items()
    }


def _with_valid(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Depth that is all known with its valid pixels, too, for padding to take from."""
    found = dict(tensors)
    for name, values in tensors.items():
        if values.is_floating_point():
            known = tv_tensors.Mask(torch.ones_like(values, dtype=torch.bool))
            found.setdefault(name + VALID, known)
    return found


def _placed(tensors: Mapping[str, Tensor], result: Result) -> dict[str, Tensor]:
    """Plain tensors in the upper left corner of the result, padded; labels at their stride."""
    found = {}
    for name, values in tensors.items():
        below, right = (
            side - own for side, own in zip(result.size, values.shape[-2:], strict=True)
        )
        padding = [0, 0, right, below]
        if values.ndim == 3 and len(values) == 3:
            grey = [
                (GREY / 255 - mean) / deviation
                for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)
            ]
            padded = v2.functional.pad_image(values, padding, fill=grey)
        elif name in result.void:
            padded = v2.functional.pad_mask(values, padding, fill=result.void[name])
        else:
            padded = v2.functional.pad_mask(values, padding, fill=0)
        stride = result.strides.get(name, 1)
        found[name] = padded[..., stride // 2 :: stride, stride // 2 :: stride]
    return found
