"""Where a preparation goes: what is there already, and the hidden folder beside it."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from experiments.configuration import ConfigurationError

__all__ = ["RECORD", "is_finished", "partial_folder", "resolved", "work_folder"]

RECORD = "preparation.yaml"
"""Name of the file that says what a preparation was made from."""


def resolved(out: Path) -> Path:
    """The folder that is meant: of a link what it points to, for no folder can replace a link.

    Raises:
        ConfigurationError: there is something that is no folder, or links go in a circle.
    """
    try:
        place = out.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"--out: {out} cannot be followed ({error})") from error
    if os.path.lexists(place) and not place.is_dir():
        raise ConfigurationError(f"--out: {out} is no folder; choose another")
    return place


def is_finished(out: Path, found: dict[str, Any]) -> bool:
    """Whether a folder holds a finished preparation of the same.

    Args:
        out: the folder.
        found: from `identity`.

    Raises:
        ConfigurationError: it is something else.
    """
    if not out.exists():
        return False
    if not any(out.iterdir()):
        return False
    record = out / RECORD
    if not record.is_file():
        raise ConfigurationError(f"--out: {out} holds something else; choose another folder")
    recorded = yaml.safe_load(record.read_text(encoding="utf-8"))
    differing = sorted(name for name in found if recorded.get(name) != found[name])
    if differing:
        raise ConfigurationError(
            f"--out: {out} was prepared from something else (see {', '.join(differing)} in "
            f"{RECORD}); choose another folder, or remove this one"
        )
    return True


def partial_folder(place: Path) -> Path:
    """Where the result for a folder is made: beside it, for the rename."""
    return place.parent / f".{place.name}.partial"


def work_folder(place: Path, key: str) -> Path:
    """Make the folder of a preparation; those of other ones for the same place are removed.

    Args:
        place: of the result.
        key: from `cache_key`.

    Raises:
        ConfigurationError: the place cannot be replaced, or not be written beside.
    """
    if place == Path.cwd() or os.path.ismount(place):
        raise ConfigurationError(
            f"--out: {place} is the current folder or where a file system is mounted, which cannot "
            "be replaced; choose a folder in it"
        )
    partial = partial_folder(place)
    for other in partial.glob("*"):
        if other.name != key:
            shutil.rmtree(other)
    work = partial / key
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"--out: cannot write beside {place} ({error.strerror}); choose another folder"
        ) from error
    return work
