"""Small folders of images of three modalities."""

import io

import numpy as np
from PIL import Image
from rich.console import Console

from experiments.mae.data.build import build_manifest
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.progress import Stages

SIZE = (12, 16)
CLASSES = 5
RGB = RgbFiles()
DEPTH = DepthFiles(scale=0.001, void=0, limits=(0.1, 60.0))
SEMSEG = LabelFiles(classes=CLASSES, ignored=(255,))
MODALITIES = (RGB, DEPTH, SEMSEG)


def pixels(seed=0, size=SIZE):
    """Stored values by modality, with some unknown depth and some unlabelled pixels."""
    rng = np.random.default_rng(seed)
    depth = rng.integers(100, 60_000, size).astype(np.uint16)
    depth[0, :3] = 0
    labels = rng.integers(0, CLASSES, size).astype(np.uint8)
    labels[1, :2] = 255
    return {
        "rgb": rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        "depth": depth,
        "semseg": labels,
    }


def write(root, splits=("train",), stems=("a", "b", "c"), suffix=".png", size=SIZE):
    """Folders of all modalities; different files differ, and modalities agree on their names."""
    for number, (split, stem) in enumerate((s, t) for s in splits for t in stems):
        for name, values in pixels(number, size).items():
            path = root / split / name / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return root


def replace(root, name, values, stem="b", split="train"):
    """Write other values in place of a file."""
    path = root / split / name / f"{stem}.png"
    Image.fromarray(values).save(path)
    return path


def quiet():
    return Stages(Console(file=io.StringIO()))


def build(root, modalities=MODALITIES, out=None, **options):
    return build_manifest(root, modalities, out, **{"stages": quiet(), **options})
