"""Folders of images: splits, in them modalities, in those class folders or images by stem."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import ModalityFiles

__all__ = ["EXTENSIONS", "modality_folder", "split_names", "stems"]

EXTENSIONS = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Of images, in lower case."""

_NOTES = frozenset({".csv", ".json", ".md", ".tsv", ".txt", ".yaml"})
"""Extensions of files that may lie beside the images."""


def modality_folder(root: Path, split: str, modality: str, by_modality: bool) -> Path:
    """Where the images of a modality are.

    Args:
        root: holds a folder for each split.
        split: its name.
        modality: its name.
        by_modality: whether a split has a folder for each modality, or is that of its only one.
    """
    return root / split / modality if by_modality else root / split


def split_names(
    root: Path,
    modalities: Sequence[ModalityFiles],
    splits: Sequence[str] | None,
    by_modality: bool = True,
) -> list[str]:
    """The folders of splits, each of which has all its modalities.

    Args:
        root: holds a folder for each split.
        modalities: that each should have.
        splits: their names; None: all that have a folder of one of the modalities, or, if not
            `by_modality`, all folders.
        by_modality: see `modality_folder`.

    Raises:
        ConfigurationError: there is none, or a folder is missing.
    """
    wanted = " and ".join(each.name for each in modalities)
    inner = f"/{wanted}" if by_modality else ""
    if not root.is_dir():
        raise ConfigurationError(f"{root}: should be a folder with train{inner}; found none")
    names = splits or sorted(
        folder.name
        for folder in _entries(root)
        if folder.is_dir()
        and (not by_modality or any((folder / each.name).is_dir() for each in modalities))
    )
    if not names:
        folders = f", with folders {wanted} in each" if by_modality else ""
        raise ConfigurationError(
            f"{root}: should hold folders of splits, such as train{folders}; found none"
        )
    for name in names:
        for each in modalities:
            folder = modality_folder(root, name, each.name, by_modality)
            if not folder.is_dir():
                remedy = f"a folder for each modality ({wanted})" if by_modality else "a folder"
                raise ConfigurationError(
                    f"{folder}: is missing; split {name!r} should have {remedy}"
                )
    return list(names)


def stems(folder: Path) -> dict[str, Path]:
    """Images of a modality by stem, in class folders (``class/stem``) or in none.

    Raises:
        ConfigurationError: there are none, or a folder or file that cannot be understood.
    """
    classes = sorted(each for each in _entries(folder) if each.is_dir())
    found = _images(folder)
    if found and classes:
        raise ConfigurationError(
            f"{folder}: should have its images in class folders or directly; found {classes[0]} "
            f"beside {next(iter(found.values()))}; move one of them"
        )
    for each in classes:
        inner = [entry for entry in _entries(each) if entry.is_dir()]
        if inner:
            raise ConfigurationError(
                f"{inner[0]}: should not be in a class folder, which holds images only; move its "
                f"images to {each}"
            )
        images = _images(each)
        if not images:
            raise ConfigurationError(
                f"{each}: a class folder should hold images; found none; remove or fill it"
            )
        found.update({f"{each.name}/{stem}": path for stem, path in images.items()})
    if not found:
        raise ConfigurationError(
            f"{folder}: should hold images ({', '.join(sorted(EXTENSIONS))}); found none"
        )
    return found


def _images(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(each for each in _entries(folder) if not each.is_dir()):
        extension = path.suffix.lower()
        if extension in _NOTES:
            continue
        if extension not in EXTENSIONS:
            raise ConfigurationError(
                f"{path}: should be an image ({', '.join(sorted(EXTENSIONS))}); remove or convert "
                "it"
            )
        other = found.setdefault(path.stem, path)
        if other != path:
            raise ConfigurationError(
                f"{path}: has the stem of {other}; stems tell which files belong together, so "
                "remove one"
            )
    return found


def _entries(folder: Path) -> Iterator[Path]:
    return (each for each in folder.iterdir() if not each.name.startswith("."))
