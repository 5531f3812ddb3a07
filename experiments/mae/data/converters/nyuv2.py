"""NYU Depth v2 (1,449 labelled frames, 795 for training and 654 for testing) as folders of images.

Silberman, Hoiem, Kohli and Fergus, "Indoor Segmentation and Support Inference from RGBD Images",
ECCV 2012; the 40 classes are of Gupta, Arbeláez and Malik, CVPR 2013, the 13 of Couprie et al.,
ICLR 2013.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.configuration import ConfigurationError
from experiments.mae.data.converters.images import write_png
from experiments.mae.data.converters.nyuv2_files import (
    FRAMES,
    MAP_13,
    MAP_40,
    SPLITS,
    Frame,
    Table,
    class_tables,
    open_frames,
    read_splits,
)
from experiments.mae.data.declarations import DepthFiles, LabelFiles, ModalityFiles, RgbFiles
from experiments.progress import Stages

__all__ = ["LIMITS", "convert_nyuv2", "nyuv2_files"]

LIMITS = (0.5, 10.0)
"""Metres that depth must be in; the frames have 0.71 to 9.996."""

_THREADS = 4
"""Frames that are compressed at once, beside the one that is read."""


def nyuv2_files(classes: int) -> tuple[str, ...]:
    """Names of the official files that are needed for 40 or 13 classes."""
    return (FRAMES, SPLITS, MAP_40) if classes == 40 else (FRAMES, SPLITS, MAP_40, MAP_13)


def convert_nyuv2(
    data: Path, folder: Path, classes: int, stages: Stages
) -> tuple[ModalityFiles, ...]:
    """Write ``{train,test}/{rgb,depth,semseg}/NNNN.png``, NNNN being the frame's number from 1.

    Frames are read one at a time, in the order of the file; those that an interrupted call has
    written are not written again. Depth is that of ``depths``, missing values filled in by the
    authors, to the nearest millimetre; the pixels of a frame without a label have 0 in semseg, the
    classes 1 to `classes`.

    Args:
        data: folder of the official files, `nyuv2_files`.
        folder: to be filled.
        classes: 40 or 13.
        stages: shows the progress.

    Returns:
        What the files hold.

    Raises:
        ConfigurationError: a file is missing, damaged or something else; it is named.
    """
    with open_frames(data / FRAMES) as frames:
        splits = read_splits(data / SPLITS, len(frames))
        table, names = class_tables(data, frames.names, classes)
        where = {number: split for split, numbers in splits.items() for number in numbers}
        with (
            stages.stage(f"convert {FRAMES}", "images", len(where)) as advance,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            numbers = sorted(where)
            for begin in range(0, len(numbers), _THREADS):
                files = [
                    _Files(folder / where[number], number)
                    for number in numbers[begin : begin + _THREADS]
                ]
                new = [each for each in files if not each.finished]
                pixels = [
                    _pixels(data / FRAMES, each.number, frames[each.number - 1], table)
                    for each in new
                ]
                list(pool.map(_Files.write, new, pixels))
                for each in files:
                    advance(1, each not in new)
    return (
        RgbFiles(),
        DepthFiles(scale=0.001, void=0, limits=LIMITS),
        LabelFiles(classes=classes, first=1, ignored=(0,), class_names=names),
    )


@dataclass(frozen=True)
class _Pixels:
    rgb: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    semseg: NDArray[np.uint8]


@dataclass(frozen=True)
class _Files:
    """Where a frame goes."""

    folder: Path
    number: int

    @property
    def finished(self) -> bool:
        return all(self._path(name).is_file() for name in ("rgb", "depth", "semseg"))

    def write(self, pixels: _Pixels) -> None:
        for name in ("rgb", "depth", "semseg"):
            write_png(self._path(name), getattr(pixels, name))

    def _path(self, name: str) -> Path:
        return self.folder / name / f"{self.number:04d}.png"


def _pixels(path: Path, number: int, frame: Frame, table: Table) -> _Pixels:
    """A frame as it is stored."""
    if frame.labels.max() >= len(table):
        raise ConfigurationError(
            f"{path}: labels of frame {number} should be 0 to {len(table) - 1}; found "
            f"{frame.labels.max()}; fetch the file again"
        )
    known = np.isfinite(frame.depth) & (frame.depth != 0)
    metres = np.where(known, frame.depth, LIMITS[0])
    wrong = (metres < LIMITS[0]) | (metres > LIMITS[1])
    if wrong.any():
        raise ConfigurationError(
            f"{path}: depths of frame {number} should be {LIMITS[0]:g} to {LIMITS[1]:g} metres; "
            f"found {metres[wrong][0]:g}; fetch the file again"
        )
    millimetres = np.where(known, np.rint(1000 * metres.astype(np.float64)), 0)
    return _Pixels(frame.rgb, millimetres.astype(np.uint16), table[frame.labels])
