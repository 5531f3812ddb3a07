"""What a report is made of: tables of stores, the ledger, Table 3, pages of results, pictures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
        recipes = {r["recipe"] for key, r in self.grid.records.items() if key.part == PRETRAIN}
        sources = {source for recipe in recipes for source in _sources(yaml.safe_load(recipe))}
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
    failures: Mapping[Key, str] = field(default_factory=dict)
    """Why runs failed."""


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
    found = [each for each in found if not _is_copied(each, found)]
    names = [(study, preset) for _, study, preset in found]
    places = _places(stores)
    for name, study in STUDIES.items():
        for store, of, preset in found:
            if of == study:
                several = names.count((study, preset)) > 1
                yield _table(name, preset, store, places[store.root] if several else "")


def _is_copied(one: tuple[Store, str, str], all_: Sequence[tuple[Store, str, str]]) -> bool:
    """Whether another store has all runs of a table's records, the same runs, and more or first."""
    ours = _runs(one)
    for number, other in enumerate(all_):
        if other is one or other[1:] != one[1:]:
            continue
        theirs = _runs(other)
        if ours < theirs or (ours == theirs and number < all_.index(one)):
            return True
    return False


def _runs(one: tuple[Store, str, str]) -> set[tuple[Key, str, float]]:
    """What tells runs apart that are recorded in two stores."""
    store, study, preset = one
    records = store.records(study, preset).items()
    return {(key, str(r.get("date")), float(r.get("seconds", 0.0))) for key, r in records}


def _table(name: str, preset: str, store: Store, place: str) -> TableOf:
    path = PRESETS / name / f"{preset}.yaml"
    configured = load(TablePreset, path) if path.is_file() else None
    rows = _rows_of(store, STUDIES[name], preset) if configured is None else configured.rows
    return TableOf(made_grid(name, preset, rows, store), store, configured, place)


def _rows_of(store: Store, study: str, preset: str) -> dict[str, str]:
    """Arms of the records, those with a printed name first."""
    known = _printed_names(study)
    order = list(known)
    arms = sorted(
        {key.arm for key in store.records(study, preset)},
        key=lambda arm: (order.index(arm) if arm in known else len(order), arm),
    )
    return {known.get(arm, arm): arm for arm in arms}


def _printed_names(study: str) -> dict[str, str]:
    """Rows of the presets of a study by arm, those that are compared first."""
    of_presets = {
        arm: row
        for table, of in STUDIES.items()
        for name in presets(table)
        for row, arm in load(TablePreset, PRESETS / table / f"{name}.yaml").rows.items()
        if of == study
    }
    return {"average": "None", "minimax": "Minimax"} | of_presets


def _sources(recipe: Mapping[str, Any]) -> Iterator[Any]:
    """Sources of everything that is prepared for a run, by its recipe."""
    own = (recipe.get("preparation") or {}).get("source")
    for each in (recipe.get("prepared") or {"": {}}).values():
        source = own
        for word in each.get("preparation") or ():
            field_, _, value = word.partition("=")
            content = yaml.safe_load(value)
            if field_ == "source" or (field_ == "" and isinstance(content, dict)):
                source = content["source"] if field_ == "" else content
        yield source


def _places(roots: Sequence[Path]) -> dict[Path, str]:
    """The last parts of each store's path that say something, or all of it to tell them apart."""
    short = {
        root: "/".join(part for part in root.parts[-3:] if part not in {"store", "/", ".", ".."})
        for root in roots
    }
    several = Counter(short.values())
    return {root: str(root) if several[name] > 1 else name for root, name in short.items()}


def _all_presets(sources: Sources) -> Iterator[NotRun]:
    for table in STUDIES:
        for name in presets(table):
            preset = load(TablePreset, PRESETS / table / f"{name}.yaml")
            failures = {
                key: reason
                for root in sources.stores
                for key, reason in Store(root).failures(STUDIES[table], name).items()
            }
            cost = _cost(sources, f"{table}-{name}-cost.json")
            yield NotRun(table, name, preset, cost, failures)


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
