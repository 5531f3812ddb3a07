"""Modalities as colours that a person can look at."""

import colorsys

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.mae.data.augmentation import IMAGENET_DEVIATION, IMAGENET_MEAN

__all__ = ["DEPTH_MAP", "UNKNOWN", "depth_colours", "label_colours", "palette", "rgb_colours"]

Colours = NDArray[np.float64]
"""``[H, W, 3]``, from 0 to 1."""

DEPTH_MAP = "viridis_r"
"""Matplotlib's map of depth: near is bright."""

UNKNOWN = 0.0
"""Grey value of pixels whose depth or class is not known: black."""

_GOLDEN = 0.618033988749895
"""Turns of the hue between classes, which keeps any number of them apart."""


def rgb_colours(image: Tensor) -> Colours:
    """Colours of an image ``[3, H, W]`` that was standardised as ImageNet is."""
    values = image.detach().double().cpu().permute(1, 2, 0).numpy()
    found: Colours = (values * np.array(IMAGENET_DEVIATION) + np.array(IMAGENET_MEAN)).clip(0, 1)
    return found


def depth_colours(
    depth: Tensor, limits: tuple[float, float], valid: Tensor | None = None
) -> Colours:
    """Colours of depth ``[H, W]``.

    Args:
        depth: in any unit.
        limits: values of the two ends of the colour map.
        valid: bool ``[H, W]``, False where depth is unknown.
    """
    least, most = limits
    share = (depth.detach().double().cpu().numpy() - least) / max(most - least, 1e-12)
    found: Colours = mpl.colormaps[DEPTH_MAP](share.clip(0, 1))[..., :3]
    if valid is not None:
        found[~valid.cpu().numpy()] = UNKNOWN
    return found


def label_colours(ids: Tensor, classes: int) -> Colours:
    """Colours of class ids ``[H, W]``; the id `classes`, unlabelled, is black."""
    table = np.vstack([palette(classes), np.full((1, 3), UNKNOWN)])
    found: Colours = table[ids.detach().cpu().numpy()]
    return found


def palette(classes: int) -> Colours:
    """Colours ``[classes, 3]`` that differ, neighbours most."""
    hues = (np.arange(classes) * _GOLDEN + 0.58) % 1
    bright = (0.95, 0.75, 0.55)
    strong = (0.65, 0.85)
    return np.array(
        [
            colorsys.hsv_to_rgb(hue, strong[number // 3 % 2], bright[number % 3])
            for number, hue in enumerate(hues)
        ]
    ).reshape(classes, 3)
