"""Images a second that are read, cropped, masked and made batches, without a model."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from experiments.configuration import load, preset_path
from experiments.mae.batches import MaskingCollator
from experiments.mae.configuration import Masking
from experiments.mae.data.augmentation import RandomCrop
from experiments.mae.data.dataset import MultiModalImages, label_strides
from experiments.mae.data.manifest import Manifest
from experiments.mae.data.preparation import prepare
from experiments.mae.data.scenes.folders import write_scenes
from experiments.mae.model.masking import TokenMasking
from experiments.mae.reading import ImageOrder
from experiments.mae.study import MaeStudy
from tests.benchmarks.mae_steps import Case
from tests.benchmarks.timing import Spread, interleaved

SCENES = 48
"""Rendered for a case; each is read several times, in other windows."""
NYUV2 = Path("vision/nyuv2_192x144.zip")
"""In the folder that TASKROBUST_DATA names."""
BATCH = 32
TIMED = 8
"""Batches a worker that are timed at once."""
AHEAD = 2
"""Batches a worker that a `DataLoader` loads ahead."""


@dataclass(frozen=True)
class Source:
    """Training images on disk."""

    name: str
    manifest: Manifest


def rendered(case: Case, folder: Path, *, quick: bool) -> Source:
    """Scenes of 9/8 of the height and 3/2 of the width that the case crops them to."""
    size = (case.size.image_size[0] * 9 // 8, case.size.image_size[1] * 3 // 2)
    count = SCENES // 4 if quick else SCENES
    scenes = write_scenes(folder / "{}x{}".format(*size), {"train": count}, size)
    return Source("rendered scenes, {} × {}".format(*size), scenes)


def nyuv2(folder: Path) -> Source | None:
    """NYUv2's training images if the folder that TASKROBUST_DATA names has them."""
    archive = Path(os.environ.get("TASKROBUST_DATA", "nowhere")) / NYUV2
    if not archive.is_file():
        return None
    study = load(MaeStudy, preset_path("mae", "cpu"), study="mae")
    manifest = prepare(study.preparation, archive, folder / "nyuv2")
    return Source("NYUv2, 144 × 192", manifest.split("train"))


def images_per_second(
    case: Case, manifest: Manifest, workers: tuple[int, ...], rounds: int
) -> dict[str, dict[str, Any]]:
    """Rates with so many worker processes, as spreads by their number.

    Every round times each once, in turn, from when all that was loaded ahead has been taken to
    the last batch; starting the processes is not in it.
    """
    crop = RandomCrop(size=case.size.image_size, strides=label_strides(case.size))
    images = MultiModalImages(manifest, crop, case.size.names)
    masking = TokenMasking.of(Masking(visible=case.visible), case.size)
    collator = MaskingCollator(case.size.names, masking)
    samples = {}
    for count in workers:
        ahead = max(AHEAD * count, 1)
        length = BATCH * (ahead + TIMED * max(count, 1))
        loader = DataLoader(
            ImageOrder(images, length, seed=0),
            BATCH,
            collate_fn=collator,
            num_workers=count,
            persistent_workers=count > 0,
            prefetch_factor=AHEAD if count else None,
        )
        samples[str(count)] = _pass(loader, ahead)
    found = interleaved(samples, rounds)
    return {count: asdict(Spread.of(1 / np.asarray(each))) for count, each in found.items()}


def _pass(loader: DataLoader[dict[str, Any]], ahead: int) -> Callable[[], float]:
    """A sample: seconds an image, after so many batches."""

    def run() -> float:
        batches = iter(loader)
        for _ in range(ahead):
            next(batches)
        started = time.perf_counter()
        count = sum(len(batch["ids_keep"]) for batch in batches)
        return (time.perf_counter() - started) / count

    return run
