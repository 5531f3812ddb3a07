"""What a table is made of, as data; presets are in ``experiments/presets/table1``, ``table2``."""

from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from experiments.configuration import ConfigurationError, load, preset_path, strict

__all__ = [
    "DataSet",
    "Prepared",
    "TablePreset",
    "check_data",
    "load_study",
    "missing_data",
    "preparation_of",
    "with_rows",
]

S = TypeVar("S")
Positive = Annotated[int, Field(ge=1)]


@dataclass(config=strict, kw_only=True)
class DataSet:
    """Something that has to be there before the first run."""

    path: str
    """File or folder below ``--data``."""
    title: str
    licence: str
    source: str
    """Where to get it, and in which form it is read."""
    examples: Positive | None = None
    """Training images, or words of text, so that the cost is known before it is there."""
    classes: Positive | None = None
    """Of images in class folders, for the same purpose."""
    gigabytes: Annotated[float, Field(gt=0)] | None = None
    """About, on disk (10⁹ bytes)."""


@dataclass(config=strict, kw_only=True)
class Prepared:
    """What ``prepare`` makes of the data once, for all runs."""

    path: str = "."
    """What it reads, below ``--data``."""
    preparation: tuple[str, ...] = ()
    """``key=value`` over the study's ``preparation``, or ``={…}`` for all of it; ``{data}`` is the
    folder of ``--data``."""


@dataclass(config=strict, kw_only=True)
class TablePreset:
    """A table: its rows as arms of a study, with seeds, over data."""

    study: str
    """Preset of the study."""
    overrides: tuple[str, ...] = ()
    """``key=value`` over it, as of ``--set``."""
    rows: Annotated[dict[str, str], Field(min_length=1)]
    """Arm of the study by printed name of the row."""
    seeds: Positive = 3
    """Of pre-training: 0, 1, …"""
    data: dict[str, DataSet] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    """By the folder that it is prepared into."""
    reads: dict[str, str] = field(default_factory=dict)
    """What a part of a run reads: a folder of `prepared`, or a name of `data`."""


def load_study(kind: type[S], study: str, preset: TablePreset, more: tuple[str, ...] = ()) -> S:
    """The study of a table.

    Args:
        kind: dataclass of the study.
        study: "bert" or "mae".
        preset: of the table.
        more: ``key=value`` over all else.

    Raises:
        ConfigurationError: a preset or a field that there is not.
    """
    path = preset_path(study, preset.study)
    return load(kind, path, (*preset.overrides, *more), study=study)


def preparation_of(
    kind: type[Any],
    study: str,
    preset: TablePreset,
    name: str,
    data: Path,
    more: tuple[str, ...] = (),
) -> Any:
    """The configuration of one preparation.

    Args:
        kind: dataclass of the study.
        study: "bert" or "mae".
        preset: of the table.
        name: of `TablePreset.prepared`.
        data: the folder of ``--data``.
        more: ``key=value`` over the study, before what the preparation says of itself.
    """
    words = [word.replace("{data}", str(data)) for word in preset.prepared[name].preparation]
    own = tuple(f"preparation{'' if word.startswith('=') else '.'}{word}" for word in words)
    found: Any = load_study(kind, study, preset, (*more, *own))
    return found.preparation


def missing_data(preset: TablePreset, data: Path | None) -> list[DataSet]:
    """Data sets that are not where they should be.

    Args:
        preset: of a table.
        data: the folder of ``--data``.
    """
    return [
        each for each in preset.data.values() if data is None or not (data / each.path).exists()
    ]


def check_data(preset: TablePreset, data: Path | None) -> None:
    """Refuse to start without the data.

    Raises:
        ConfigurationError: names every missing set, where to get it, and under which terms.
    """
    missing = missing_data(preset, data)
    if not missing:
        return
    lines = [f"  {each.path}: {each.title} ({each.licence}); {each.source}" for each in missing]
    if data is not None and not data.is_dir():
        raise ConfigurationError(f"--data {data}: there is no such folder")
    where = "--data DIR is needed, a folder with" if data is None else f"--data {data} should have"
    raise ConfigurationError("\n".join([where, *lines]))


def with_rows(preset: TablePreset, rows: list[str] | None) -> TablePreset:
    """A preset with some of its rows only.

    Args:
        preset: of a table.
        rows: printed names; None: all.

    Raises:
        ConfigurationError: a row that the table does not have.
    """
    if rows is None:
        return preset
    for row in rows:
        if row not in preset.rows:
            raise ConfigurationError(
                f"--rows should name rows of the table; found {row!r} (known: "
                f"{', '.join(preset.rows)})"
            )
    return replace(preset, rows={row: arm for row, arm in preset.rows.items() if row in rows})
