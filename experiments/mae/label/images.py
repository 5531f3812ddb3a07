"""The images that are to be labelled, linked or copied to where their labels go."""

import filecmp
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.configuration import ConfigurationError
from experiments.mae.data.build import build_manifest
from experiments.mae.data.declarations import RgbFiles
from experiments.mae.data.files import stored_values
from experiments.mae.data.manifest import Header, Manifest, read_manifest
from experiments.progress import Stages

__all__ = ["RgbImage", "checked_images", "place"]


@dataclass(frozen=True)
class RgbImage:
    """An image without labels."""

    path: Path
    files: RgbFiles
    split: str
    stem: str
    """Of its labels' files, too, with the folder of its class."""
    size: tuple[int, int]
    """Height and width."""


def checked_images(data: Path, threads: int, stages: Stages) -> tuple[list[RgbImage], Header]:
    """The images of a manifest or of folders, each read to its last byte.

    Args:
        data: a manifest, of which only the colour images are used, or a folder with
            ``{split}/rgb/[class/]{stem}.ext``.
        threads: that read.
        stages: shows the progress.

    Returns:
        The images, and the header of their manifest.

    Raises:
        ConfigurationError: there are no images, or one of them cannot be read; it is named.
    """
    if data.is_dir():
        with TemporaryDirectory() as folder:
            path = Path(folder) / "images.jsonl"
            found = build_manifest(data, [RgbFiles()], path, threads=threads, stages=stages)
        return _images(found), found.header
    found = read_manifest(data)
    images = _images(found)
    with (
        stages.stage("check files", "images", len(images)) as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        for _ in pool.map(partial(_check, manifest=data), images):
            advance(1, False)
    return images, found.header


def _images(manifest: Manifest) -> list[RgbImage]:
    rgb = _colour(manifest)
    return [
        RgbImage(
            # The way to the file need not be there any more where a manifest was a passing one.
            path=Path(os.path.normpath(manifest.file(each, rgb.name))),
            files=rgb,
            split=each.split,
            stem=each.stem,
            size=each.size,
        )
        for each in manifest
    ]


def _colour(manifest: Manifest) -> RgbFiles:
    for each in manifest.header.modalities:
        if isinstance(each, RgbFiles):
            return each
    raise ConfigurationError(
        f"{manifest.path}: should have a modality of kind rgb; found "
        f"{', '.join(manifest.header.names)}"
    )


def _check(image: RgbImage, manifest: Path) -> None:
    try:
        content = image.path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{image.path}: cannot be read ({error.strerror}), though {manifest} lists it; put it "
            "back, or build the manifest again"
        ) from error
    size = stored_values(image.path, image.files, content).shape[:2]
    if size != image.size:
        raise ConfigurationError(
            f"{image.path}: should have the size {image.size} that {manifest} says; found {size}; "
            "build the manifest again"
        )


def place(images: Iterable[RgbImage], out: Path, *, copy: bool) -> None:
    """Put the images to ``out/{split}/{name}/{stem}.ext``.

    Args:
        images: where they are now.
        out: the folder; where it is the images' own, they stay as they are.
        copy: their bytes; else relative links, as far as the file system has them.

    Raises:
        ConfigurationError: another image is in the place of one.
    """
    for each in images:
        source = each.path
        target = out / each.split / each.files.name / f"{each.stem}{source.suffix}"
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(source, target, copy=copy)
        elif not _same(source, target):
            raise ConfigurationError(
                f"{target}: should be the image {source}; found another one; remove it with its "
                "labels, or choose another --out"
            )


def _put(source: Path, target: Path, *, copy: bool) -> None:
    if not copy:
        try:
            target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
        except OSError:  # a file system without links
            pass
        else:
            return
    part = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.copyfile(source, part)
    part.replace(target)


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and (
        target.samefile(source) or filecmp.cmp(source, target, shallow=False)
    )
