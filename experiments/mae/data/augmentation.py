"""One window of the image for all modalities: random in training, central in evaluation.

The draw is our own and not that of ``torchvision.transforms.v2``, which takes it from torch's
global generator: here it is a function of (seed, duplicate, index) alone, whatever the worker, the
rank, the restart or the version of torchvision. What is drawn is the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode, functional

__all__ = [
    "IMAGENET_DEVIATION",
    "IMAGENET_MEAN",
    "CentralCrop",
    "RandomCrop",
    "Window",
    "central_window",
    "cut",
    "random_window",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue over the training images of ImageNet, white being 1."""

IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviations that go with `IMAGENET_MEAN`."""

_STREAM = 1
"""Tells the windows of a sample from whatever else is drawn by its (seed, duplicate, index)."""

_ATTEMPTS = 10


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool = False
    """Whether left and right change places after it is cut."""


def random_window(
    rng: np.random.Generator,
    size: tuple[int, int],
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
) -> Window:
    """A window of random area, shape and place, as of ``RandomResizedCrop`` and a flip.

    Area and logarithm of the shape are uniform, drawn again up to ten times while the window does
    not fit into the image; then it is the largest central one of an allowed shape.

    Args:
        rng: draws everything.
        size: height and width of the image.
        scale: range of the window's share of the area.
        ratio: range of width / height.
        flip: probability of a flip.
    """
    height, width = size
    flipped = bool(rng.random() < flip)
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        shape = math.exp(rng.uniform(*np.log(ratio)))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return Window(top, left, h, w, flipped)
    shape = min(max(width / height, ratio[0]), ratio[1])
    return central_window(size, shape)._replace(flipped=flipped)


def central_window(size: tuple[int, int], ratio: float) -> Window:
    """The largest window of a ratio (width / height) in the middle of an image."""
    height, width = size
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    w, h = max(w, 1), max(h, 1)
    return Window((height - h) // 2, (width - w) // 2, h, w)


def cut(
    tensors: Mapping[str, Tensor],
    window: Window,
    size: tuple[int, int],
    strides: Mapping[str, int] | None = None,
) -> dict[str, Tensor]:
    """Cut the same window out of all modalities and resize it.

    `Image` is resized bicubically with antialiasing and standardised as ImageNet is; `Mask`
    (labels, depth, valid pixels) takes the pixel nearest to the centre of each cell, so that no
    value is invented.

    Args:
        tensors: of one image size: `Image` uint8 ``[3, H, W]`` or `Mask` ``[..., H, W]`` by name.
        window: within the image.
        size: height and width of the result.
        strides: by name, how many pixels of the result a cell stands for in height and width; 1 if
            not named.

    Returns:
        Plain tensors: float32 ``[3, h, w]``, or the same dtype ``[..., h / stride, w / stride]``.

    Raises:
        TypeError: a tensor of another kind, whose values might be invented.
    """
    strides = strides or {}
    return {
        name: _cut(name, values, window, size, strides.get(name, 1))
        for name, values in tensors.items()
    }


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """`random_window` for training, drawn for each sample by its own generator.

    Args:
        size: height and width of the result.
        strides: see `cut`.
        seed: of all windows.
        scale: see `random_window`.
        ratio: see `random_window`.
        flip: see `random_window`.

    Raises:
        ValueError: a value out of range.
    """

    size: tuple[int, int]
    strides: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        _check_strides(self.size, self.strides)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"`scale` should ascend within (0, 1]; found {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"`ratio` should ascend from above 0; found {self.ratio}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"`flip` should be a probability; found {self.flip}")

    def window(self, duplicate: int, index: int, size: tuple[int, int]) -> Window:
        """The window of a sample.

        Args:
            duplicate: which of the sample's windows, such as the epoch.
            index: of the sample in its data set.
            size: height and width of the image.
        """
        seeds = np.random.SeedSequence([self.seed, duplicate, index], spawn_key=(_STREAM,))
        rng = np.random.default_rng(seeds)
        return random_window(rng, size, self.scale, self.ratio, self.flip)

    def __call__(
        self, tensors: Mapping[str, Tensor], duplicate: int, index: int
    ) -> dict[str, Tensor]:
        """The modalities of a sample, cut to its window."""
        window = self.window(duplicate, index, _image_size(tensors))
        return cut(tensors, window, self.size, self.strides)


@dataclass(frozen=True, kw_only=True)
class CentralCrop:
    """`central_window` for evaluation: the largest of the shape of the result.

    Args:
        size: height and width of the result.
        strides: see `cut`.

    Raises:
        ValueError: a stride that does not divide `size`.
    """

    size: tuple[int, int]
    strides: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_strides(self.size, self.strides)

    def __call__(
        self,
        tensors: Mapping[str, Tensor],
        duplicate: int = 0,  # noqa: ARG002
        index: int = 0,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """The modalities of a sample, cut to the middle."""
        window = central_window(_image_size(tensors), self.size[1] / self.size[0])
        return cut(tensors, window, self.size, self.strides)


def _image_size(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    height, width = next(iter(tensors.values())).shape[-2:]
    return int(height), int(width)


def _cut(name: str, values: Tensor, window: Window, size: tuple[int, int], stride: int) -> Tensor:
    if isinstance(values, tv_tensors.Image):
        part = _resized(values, window, size, InterpolationMode.BICUBIC)
        scaled: Tensor = functional.to_dtype_image(part, torch.float32, scale=True)
        result: Tensor = functional.normalize_image(
            scaled, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION)
        )
        return result
    if isinstance(values, tv_tensors.Mask):
        cells = (size[0] // stride, size[1] // stride)
        flat = values.reshape(-1, *values.shape[-2:])  # torchvision wants channels
        part = _resized(flat, window, cells, InterpolationMode.NEAREST_EXACT)
        return part.reshape(*values.shape[:-2], *cells)
    raise TypeError(f"`{name}` should be an `Image` or a `Mask`; found {type(values).__name__}")


def _resized(values: Tensor, window: Window, size: tuple[int, int], mode: Any) -> Tensor:
    place = (window.top, window.left, window.height, window.width)
    part: Tensor = functional.resized_crop_image(
        values.as_subclass(Tensor), *place, list(size), interpolation=mode, antialias=True
    )
    return functional.horizontal_flip_image(part) if window.flipped else part


def _check_strides(size: tuple[int, int], strides: Mapping[str, int]) -> None:
    for name, stride in strides.items():
        if stride < 1 or any(side % stride for side in size):
            raise ValueError(f"`strides.{name}` should divide `size` {size}; found {stride}")
