"""Images that a tiny model learns in seconds: cells whose colour tells class, label and depth."""

import io

import numpy as np
from PIL import Image
from rich.console import Console

from experiments.mae.configuration import DEPTH, RGB, LabelModality, ModelSize
from experiments.mae.data.build import build_manifest
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.downstream.configuration import (
    Classification,
    ColourJitter,
    Depth,
    Segmentation,
)
from experiments.progress import Stages

CELL, SIDE = 8, 32
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
NAMES = ("blue", "green", "red")[::-1]
SEMSEG = LabelFiles(classes=3, ignored=(255,), class_names=NAMES)
MODALITIES = (RgbFiles(), DepthFiles(scale=0.001, void=0, limits=(0.5, 10.0)), SEMSEG)
SIZE = ModelSize(
    modalities=(RGB, DEPTH, LabelModality(name="semseg", classes=3, stride=4, class_width=4)),
    image_size=(SIDE, SIDE),
    patch_size=CELL,
    width=24,
    layers=2,
    heads=2,
    decoder_width=8,
    decoder_layers=1,
    decoder_heads=2,
)
STILL = ColourJitter(probability=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
COMMON = {
    "image_size": (SIDE, SIDE),
    "batch_size": 8,
    "epochs": 6.0,
    "warmup_epochs": 1.0,
    "learning_rate": 3e-3,
    "drop_path": 0.1,
    "pictures": 3,
}


def mosaic(number, classes=3):
    """Class, colours, stored depth and labels of an image; two in three cells have its colour."""
    rng = np.random.default_rng(number)
    kind = number % classes
    cells = rng.integers(0, classes, (SIDE // CELL, SIDE // CELL))
    cells[rng.random(cells.shape) < 0.6] = kind
    ids = cells.repeat(CELL, 0).repeat(CELL, 1)
    noise = rng.integers(-20, 21, (*ids.shape, 3))
    labels, depth = ids.astype(np.uint8), (1000 * (1 + 2 * ids)).astype(np.uint16)
    labels[:2, :3], depth[-2:, -3:] = 255, 0
    return kind, (COLOURS[ids] + noise).astype(np.uint8), depth, labels


def write(root, splits):
    """Folders of all modalities with a manifest, in folders of classes."""
    number = 0
    for split, count in splits.items():
        for _ in range(count):
            kind, *values = mosaic(number)
            for name, pixels in zip(("rgb", "depth", "semseg"), values, strict=True):
                path = root / split / name / NAMES[kind] / f"{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
            number += 1
    return build_manifest(root, MODALITIES, stages=Stages(Console(file=io.StringIO())))


def recipe(task, **fields):
    """A recipe for mosaics, whose colours are left alone."""
    if task == "cls":
        plain = {"rand_augment": None, "colour_jitter": 0.0, "mixup": 0.0, "cutmix": 0.0}
        plain |= {"learning_rate_batch": None, "central_share": 1.0}
        return Classification(**{**COMMON, **plain, **fields})
    if task == "semseg":
        return Segmentation(**{**COMMON, "scale": (0.5, 1.5), "colours": STILL, **fields})
    return Depth(**{**COMMON, "colours": STILL, **fields})
