"""What a report is made of: tables of stores, the ledger, Table 3, pages of results, pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.configuration import PRESETS, ConfigurationError, load, presets
from experiments.records import read, require
from experiments.tables.grid import Grid
from experiments.tables.made import STUDIES, made_grid
from experiments.tables.preset import TablePreset
from experiments.tables.store import PRETRAIN, Key, Store

__all__ = ["Document", "Material", "NotRun", "Sources", "TableOf", "collect"]

SMOKE = "smoke"
"""Name of the presets of which nobody expects evidence."""

_GENERATED = {"generated", "scenes"}
"""Sources of data that nobody has observed."""

COSTS = "costs"
"""Folder of the pages that ``table1 --dry-run`` and ``table2 --dry-run`` write."""

_ROWS = {"average": "None", "minimax": "Minimax"}
"""Printed names of arms, where there is no preset file that has them."""


@dataclass(frozen=True)
class Sources:
    """Where to look."""

    stores: tuple[Path, ...]
    ledger: Path
    """``ledger.json`` of ``python -m theory``."""
    table3: Path
    """``table3.json`` of ``python -m experiments table3``."""
    results: Path
    """A folder with a folder a page, each with a README.md, and `COSTS`."""
    figures: Path
    """Of ``python -m figures``."""


@dataclass(frozen=True)
class Document:
    """A JSON file that another command wrote."""

    path: Path
    content: Mapping[str, Any]


@dataclass(frozen=True)
class TableOf:
    """A table of one preset in one store."""

    grid: Grid
    store: Store
    preset: TablePreset | None
    """None if there is no preset file of this name any more."""
    place: str = ""
    """Tells it from the same table of another store; empty if there is only one."""

    @property
    def label(self) -> str:
        """For headings."""
        number = self.grid.name.removeprefix("table")
        where = f", {self.place}" if self.place else ""
        return f"Table {number} ({self.grid.preset}{where})"

    @property
    def name(self) -> str:
        """For files."""
        place = f"-{self.place}" if self.place else ""
        return f"{self.grid.name}-{self.grid.preset}{place}".replace("/", "-").replace(" ", "-")

    @property
    def folder(self) -> Path:
        """Of its records."""
        return self.store.root / STUDIES[self.grid.name] / self.grid.preset

    @property
    def failures(self) -> dict[Key, str]:
        """Why runs of its rows failed that have not succeeded since."""
        arms = {row.arm for row in self.grid.rows}
        found = self.store.failures(STUDIES[self.grid.name], self.grid.preset)
        return {key: reason for key, reason in found.items() if key.arm in arms}

    @property
    def evidence(self) -> bool:
        """Whether its numbers say anything of the paper: those of generated data do not."""
        recipes = (r["recipe"] for key, r in self.grid.records.items() if key.part == PRETRAIN)
        preparations = (yaml.safe_load(recipe).get("preparation") or {} for recipe in recipes)
        sources = {each.get("source") for each in preparations}
        return not sources & _GENERATED and not self.grid.preset.startswith(SMOKE)


@dataclass(frozen=True)
class NotRun:
    """A preset of which no store has a record."""

    table: str
    """ "table1" or "table2"."""
    name: str
    preset: TablePreset
    cost: Document | None = None
    """Of its dry run."""


@dataclass(frozen=True)
class Material:
    """Everything that a report is made of."""

    tables: tuple[TableOf, ...]
    not_run: tuple[NotRun, ...]
    ledger: Document | None
    table3: Document | None
    pages: tuple[Path, ...]
    """README.md files."""
    figures: tuple[Path, ...]
    """PNG files with their numbers beside them."""
    figure3: tuple[Path, ...] = ()
    """PNG files of ``python -m experiments figure3``."""


def collect(sources: Sources) -> Material:
    """Read everything.

    Args:
        sources: where to look; what is not there is left out, but for a store.

    Raises:
        ConfigurationError: a store is not a folder, or a preset file is damaged.
        RecordError: a record or document is damaged, or records do not belong into one table.
    """
    for store in sources.stores:
        if not store.is_dir():
            raise ConfigurationError(
                f"--store {store}: should be a folder of records, such as runs/reproduction/store "
                "after `python -m experiments table1`; found none"
            )
    tables = tuple(_tables(sources.stores))
    known = {(table.grid.name, table.grid.preset) for table in tables}
    return Material(
        tables,
        tuple(each for each in _all_presets(sources) if (each.table, each.name) not in known),
        _document(sources.ledger, "counts", "claims", "lines", "verified", "effort", "seed"),
        _document(sources.table3, "printed", "provenance"),
        tuple(sorted(sources.results.glob("*/README.md"))),
        tuple(p for p in sorted(sources.figures.glob("*.png")) if p.with_suffix(".csv").is_file()),
        tuple(p for s in sources.stores for p in sorted(s.parent.glob("tables/figure3-*.png"))),
    )


def _tables(stores: Sequence[Path]) -> Iterator[TableOf]:
    found = [(s, *each) for s in map(Store, stores) for each in Store.presets(s)]
    names = [(study, preset) for _, study, preset in found]
    for name, study in STUDIES.items():
        for store, of, preset in found:
            if of == study:
                several = names.count((study, preset)) > 1
                yield _table(name, preset, store, _place(store.root) if several else "")


def _table(name: str, preset: str, store: Store, place: str) -> TableOf:
    path = PRESETS / name / f"{preset}.yaml"
    configured = load(TablePreset, path) if path.is_file() else None
    rows = _rows_of(store, STUDIES[name], preset) if configured is None else configured.rows
    return TableOf(made_grid(name, preset, rows, store), store, configured, place)


def _rows_of(store: Store, study: str, preset: str) -> dict[str, str]:
    """Arms of the records, those with a printed name first."""
    arms = sorted({key.arm for key in store.records(study, preset)}, key=_reference_first)
    return {_ROWS.get(arm, arm): arm for arm in arms}


def _reference_first(arm: str) -> tuple[int, str]:
    return (list(_ROWS).index(arm) if arm in _ROWS else len(_ROWS)), arm


def _place(root: Path) -> str:
    """The last parts of a store's path that say something."""
    return "/".join(part for part in root.parts[-3:] if part not in {"store", "/", ".", ".."})


def _all_presets(sources: Sources) -> Iterator[NotRun]:
    for table in STUDIES:
        for name in presets(table):
            preset = load(TablePreset, PRESETS / table / f"{name}.yaml")
            yield NotRun(table, name, preset, _cost(sources, f"{table}-{name}-cost.json"))


def _cost(sources: Sources, name: str) -> Document | None:
    """What a dry run left beside a store, or else in the results."""
    folders = [*(store.parent / "tables" for store in sources.stores), sources.results / COSTS]
    found = (_document(each / name, "gpu_hours", "utilisation") for each in folders)
    return next((each for each in found if each is not None), None)


def _document(path: Path, *fields: str) -> Document | None:
    if not path.is_file():
        return None
    content = read(path)
    require(content, *fields)
    return Document(path, content)
