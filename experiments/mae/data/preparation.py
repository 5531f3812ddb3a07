"""``mae prepare``: images from wherever they come, as a folder with one checked manifest.

A finished folder is read back; work is done in a hidden folder beside it, which a further call
goes on with, and which takes the place of the folder when all is checked.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from experiments.configuration import ConfigurationError
from experiments.mae.data.archives import unpack
from experiments.mae.data.build import MANIFEST, build_manifest
from experiments.mae.data.converters.classes import IMAGES, check_classes
from experiments.mae.data.converters.imagenet_s import convert_imagenet_s
from experiments.mae.data.converters.nyuv2 import convert_nyuv2, nyuv2_files
from experiments.mae.data.declarations import ModalityFiles
from experiments.mae.data.layout import EXTENSIONS
from experiments.mae.data.manifest import Manifest, read_manifest
from experiments.mae.data.scenes.folders import write_scenes
from experiments.mae.data.sources import Classes, Folders, ImageNetS, NYUv2, Preparation, Scenes
from experiments.progress import Stages
from taskrobust._files import write_atomically

__all__ = ["VERSION", "Preparation", "prepare"]

VERSION = 1
"""Of the files that are written: raised whenever the same source gives other ones."""

_RECORD = "identity.json"
"""In the folder of the work: what it is for."""

_BLOCK = 1 << 24
_SHOWN = 1 << 28
"""Bytes of a file whose hashing takes long enough to be shown."""


_PREPARATION: TypeAdapter[Preparation] = TypeAdapter(Preparation)


def prepare(
    how: Preparation, data: Path | None, out: Path, *, stages: Stages | None = None
) -> Manifest:
    """Make a folder of images with a manifest, every file of which has been read and checked.

    Args:
        how: the source, and what there is to be said of it.
        data: its files; None for scenes, and to read back a finished `out`.
        out: folder to be made. Images in a folder are not copied: the manifest in `out` points to
            them. Its header has the configuration, the SHA-256 of the source's files, and versions.
        stages: shows the progress; on standard error if None.

    Returns:
        The manifest `out`/manifest.jsonl.

    Raises:
        ConfigurationError: `out` holds something else, or the first thing in `data` that is missing
            or wrong; `out` is as it was then.
    """
    stages = stages or Stages()
    if isinstance(how, Scenes):
        if data is not None:
            raise ConfigurationError(
                f"--data should be left out for `source` scenes, which are rendered; found {data}"
            )
        return write_scenes(out, how.splits, how.size, seed=how.seed, stages=stages)
    out = out.resolve()
    found = _identity(how, data, out, stages)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _finished(out, found)
    if data is None:
        raise ConfigurationError(
            f"--data should be given for `source` {how.source}; found none, and no finished "
            f"preparation in {out}"
        )
    work = _work_folder(out, found)
    try:
        _make(how, data, work, found, stages)
    except ConfigurationError:
        if [path.name for path in work.iterdir()] == [_RECORD]:  # nothing to go on with
            shutil.rmtree(work)
        raise
    (work / _RECORD).unlink()
    try:
        work.rename(out)
    except OSError as error:
        raise ConfigurationError(
            f"--out: {work} cannot become {out} ({error.strerror}); choose another folder"
        ) from error
    return read_manifest(out / MANIFEST)


def _make(
    how: Folders | Classes | NYUv2 | ImageNetS,
    data: Path,
    work: Path,
    found: Mapping[str, str],
    stages: Stages,
) -> None:
    """Fill the folder of the work, and write its manifest."""
    modalities = _modalities(how, data, work, stages)
    root, splits = work, None
    if isinstance(how, Folders | Classes):
        if data.is_file():
            unpack(data, work, stages)
        root, splits = _root(how, work if data.is_file() else data), how.splits
    if isinstance(how, Classes):
        check_classes(root, splits)
    packages = ("h5py", "scipy") if isinstance(how, NYUv2) else ()
    build_manifest(
        root,
        modalities,
        work / MANIFEST,
        splits=splits,
        by_modality=not isinstance(how, Classes),
        provenance={**found, **{f"{name} version": version(name) for name in packages}},
        stages=stages,
    )


def _modalities(
    how: Folders | Classes | NYUv2 | ImageNetS, data: Path, work: Path, stages: Stages
) -> tuple[ModalityFiles, ...]:
    """What the files hold; those that are to be converted are written to the folder of the work."""
    if isinstance(how, Folders):
        return how.modalities
    if isinstance(how, NYUv2):
        return convert_nyuv2(data, work, how.classes, stages)
    if isinstance(how, ImageNetS):
        return convert_imagenet_s(data, work, how.other == "class", stages)
    return IMAGES


def _identity(
    how: Folders | Classes | NYUv2 | ImageNetS, data: Path | None, out: Path, stages: Stages
) -> dict[str, str]:
    """What tells a preparation from others: configuration and, if given, the data."""
    text = json.dumps(_PREPARATION.dump_python(how, mode="json"), sort_keys=True)
    found = {"preparation": text, "files": f"version {VERSION}"}
    if data is None:
        return found
    if out.is_relative_to(data.resolve()):
        raise ConfigurationError(f"--out should not be in --data {data}; found {out}")
    in_place = isinstance(how, Folders | Classes) and data.is_dir()
    # As the manifest's own paths: the data and `out` may be moved together.
    found["source"] = os.path.relpath(data.resolve(), out) if in_place else data.resolve().name
    for path in _files(how, data):
        found[f"{path.name} SHA-256"] = _digest(path, stages)
    return found


def _files(how: Folders | Classes | NYUv2 | ImageNetS, data: Path) -> list[Path]:
    """The large files that a preparation is made of, which are there.

    Images in folders are known by the digest in the manifest.
    """
    if not data.exists():
        raise ConfigurationError(
            f"--data: {data} is missing; give the data of `source` {how.source}"
        )
    if data.is_dir():
        files = [data / name for name in nyuv2_files(how.classes)] if isinstance(how, NYUv2) else []
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise ConfigurationError(
                f"{missing[0]}: is missing; --data should be a folder with the official files "
                f"{', '.join(path.name for path in files)}"
            )
        return files
    if isinstance(how, NYUv2 | ImageNetS):
        raise ConfigurationError(
            f"--data should be a folder for `source` {how.source}; found the file {data}"
        )
    return [data]


def _digest(path: Path, stages: Stages) -> str:
    size, found = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as stream:
        if size < _SHOWN:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        with stages.stage(f"hash {path.name}", "MiB", size >> 20) as advance:
            while block := stream.read(_BLOCK):
                found.update(block)
                advance(len(block) >> 20, False)
    return found.hexdigest()


def _finished(out: Path, found: Mapping[str, str]) -> Manifest:
    if not (out / MANIFEST).is_file():
        raise ConfigurationError(f"--out: {out} holds something else; choose another folder")
    manifest = read_manifest(out / MANIFEST)
    recorded = manifest.header.provenance
    for name, value in found.items():
        if recorded.get(name) != value:
            raise ConfigurationError(
                f"--out: {out} should be of {name} {value}; found {recorded.get(name, 'another')}; "
                "choose another folder, or remove this one"
            )
    manifest.check_files()
    return manifest


def _work_folder(out: Path, found: Mapping[str, str]) -> Path:
    """The hidden folder beside `out`, with what an interrupted call of the same has left there.

    It lies as deep as `out`, so that relative paths in it stay right.
    """
    work = out.with_name(f".{out.name}.partial")
    record, text = work / _RECORD, json.dumps(found)
    try:
        if not record.is_file() or record.read_text(encoding="utf-8") != text:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            write_atomically(record, text)
    except OSError as error:
        raise ConfigurationError(
            f"--out: cannot write beside {out} ({error.strerror}); choose another folder"
        ) from error
    return work


def _root(how: Folders | Classes, folder: Path) -> Path:
    """The folder that holds the splits: this one, or the single one in it."""
    inner = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    return inner[0] if len(inner) == 1 and not _is_split(how, inner[0]) else folder


def _is_split(how: Folders | Classes, folder: Path) -> bool:
    if how.splits is not None:
        return folder.name in how.splits
    if isinstance(how, Folders):
        return any((folder / each.name).is_dir() for each in how.modalities)
    return any(path.suffix.lower() in EXTENSIONS for path in folder.glob("*/*"))
