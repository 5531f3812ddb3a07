"""``labels.json``: which models made the labels of a folder, so that none are mixed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import DepthFiles, LabelFiles, ModalityFiles
from experiments.runs import provenance
from taskrobust._files import write_atomically

__all__ = ["NAME", "PACKAGES", "check", "declared", "flat", "read", "record"]

NAME = "labels.json"

PACKAGES = ("numpy", "pillow", "torch", "torchvision", "transformers")
"""Whose versions are kept."""

_FILES: TypeAdapter[ModalityFiles] = TypeAdapter(ModalityFiles)

Entry = dict[str, Any]


def read(out: Path) -> dict[str, Entry]:
    """Entries of the labels in a folder, by modality.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = out / NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, Entry] = content["modalities"]
        for entry in found.values():
            _FILES.validate_python(_tuples(entry["files"]))
            dict(entry["identity"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ConfigurationError(
            f"{path}: should tell the models of the labels; found something that cannot be read "
            f"({type(error).__name__}); remove the labels with it, or choose another --out"
        ) from error
    return found


def check(out: Path, name: str, identity: Mapping[str, Any], found: Mapping[str, Entry]) -> None:
    """See that the labels in a folder, if any, are of a model.

    Args:
        out: the folder.
        name: of the modality.
        identity: all that the labels depend on.
        found: of `read`.

    Raises:
        ConfigurationError: they are of another one, or of unknown origin; it says what differs.
    """
    if name not in found:
        others = sorted(out.glob(f"*/{name}"))
        if others:
            raise ConfigurationError(
                f"{others[0]}: should not be there, for {out / NAME} does not tell what made it; "
                "remove it, or choose another --out"
            )
        return
    before = found[name]["identity"]
    for field in {**identity, **before}:
        old, new = before.get(field), identity.get(field)
        if old != new and field not in _OF_PLACE:
            raise ConfigurationError(
                f"{out / NAME}: the {name} in {out} should be of the same model and settings; "
                f"found `{field}` {_short(old)}, and now {_short(new)}; give the same, or choose "
                "another --out"
            )


_OF_PLACE = frozenset({"model", "commit"})
"""Where a model was found; its digest tells which it is."""


def record(
    out: Path, labels: Mapping[str, tuple[DepthFiles | LabelFiles, Entry]], command: str
) -> dict[str, Entry]:
    """Write, before any label, what is going to make them; entries that are there stay.

    Args:
        out: the folder.
        labels: what is stored and all that it depends on, by modality.
        command: as typed.

    Returns:
        All entries.
    """
    entries = read(out)
    for name, (files, identity) in labels.items():
        origin = provenance(command, PACKAGES)
        entries.setdefault(name, {"identity": identity, "files": asdict(files), **origin})
    content = {"schema_version": 1, "modalities": entries}
    write_atomically(out / NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return read(out)


def declared(entries: Mapping[str, Entry]) -> tuple[ModalityFiles, ...]:
    """What the files of the entries hold."""
    return tuple(_FILES.validate_python(_tuples(entry["files"])) for entry in entries.values())


def flat(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Entries as lines of a manifest's provenance."""
    found: dict[str, str] = {}
    for name, entry in entries.items():
        identity = {key: value for key, value in entry["identity"].items() if value is not None}
        identity.pop("image processor", None)
        versions = {f"{package} version": each for package, each in entry["versions"].items()}
        content = {**identity, "command": entry["command"], "date": entry["date"], **versions}
        found |= {f"{name} {key}": str(value) for key, value in content.items()}
    return found


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in fields.items()}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:157] + "..."
