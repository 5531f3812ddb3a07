"""Rendered scenes as folders of files with a manifest, as any other data set has them."""

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.configuration import ConfigurationError
from experiments.mae.data.build import MANIFEST, build_manifest
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.manifest import Manifest, read_manifest
from experiments.mae.data.scenes.drawing import LABELS
from experiments.mae.data.scenes.rendering import FAR, Rendered, render
from experiments.progress import Stages

__all__ = ["MODALITIES", "VERSION", "stored_depth", "write_scenes"]

VERSION = 1
"""Of the scenes: raised whenever the same seed no longer gives the same pixels."""

MODALITIES = (
    RgbFiles(),
    DepthFiles(scale=0.001, void=0, limits=(0.1, FAR)),
    LabelFiles(classes=len(LABELS), class_names=LABELS),
)
"""What the files hold: depth in millimetres, 0 for the sky."""


def write_scenes(
    out: Path,
    splits: Mapping[str, int],
    size: tuple[int, int] = (64, 64),
    *,
    seed: int = 0,
    stages: Stages | None = None,
) -> Manifest:
    """Render scenes to ``{split}/{modality}/{kind}/{number}.png`` with a manifest.

    Everything is done in a hidden folder beside `out`, which appears at once by a rename when it is
    complete. A scene is a function of seed, split and number alone, so that more scenes begin with
    the same ones.

    Args:
        out: folder to be made; finished scenes of the same arguments are left as they are.
        splits: number of scenes by name, at least 1.
        size: height and width in pixels.
        seed: of all scenes.
        stages: shows the progress; on standard error if None.

    Raises:
        ConfigurationError: `out` holds something else, or an argument is out of range; nothing has
            been written then.
    """
    stages = stages or Stages()
    if not splits or min(*splits.values(), *size) < 1:
        raise ConfigurationError(
            f"`splits` and `size` should be positive; found {dict(splits)} and {size}"
        )
    provenance = {
        "source": f"rendered scenes, version {VERSION}",
        "seed": str(seed),
        "splits": ", ".join(f"{name} {count}" for name, count in splits.items()),
        "size": f"{size[0]}×{size[1]}",
        "numpy version": version("numpy"),
    }
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _finished(out, provenance)
    part = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        for split, count in splits.items():
            with stages.stage(f"render {split}", "scenes", count) as advance:
                for number in range(count):
                    key = (seed, *split.encode(), number)
                    _write(part / split, number, render(size, *key))
                    advance(1, False)
        build_manifest(part, MODALITIES, provenance=provenance, stages=stages)
        if out.is_dir():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return read_manifest(out / MANIFEST)


def stored_depth(depth: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Metres to the nearest millimetre, unknown (infinite) ones to 0."""
    return np.where(np.isfinite(depth), np.round(1000 * depth), 0).astype(np.uint16)


def _finished(out: Path, provenance: Mapping[str, str]) -> Manifest:
    if (out / MANIFEST).is_file():
        found = read_manifest(out / MANIFEST)
        if provenance.items() <= found.header.provenance.items():
            found.check_files()
            return found
    raise ConfigurationError(
        f"{out}: should be empty or hold the same scenes; found something else; choose another "
        "folder, or remove it"
    )


def _write(folder: Path, number: int, scene: Rendered) -> None:
    depth = stored_depth(scene.depth)
    values: dict[str, NDArray[np.uint8] | NDArray[np.uint16]] = {
        "rgb": scene.rgb,
        "depth": depth,
        "semseg": scene.labels,
    }
    for name, pixels in values.items():
        path = folder / name / scene.kind / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
