"""Tables from a store."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.comparable import check_comparable, check_recipes
from experiments.tables import table1, table2
from experiments.tables.grid import Grid
from experiments.tables.store import PRETRAIN, Key, Store

__all__ = ["STUDIES", "made_grid"]

STUDIES = {"table1": "bert", "table2": "mae"}
"""What a table is made of."""

Make = Callable[[str, Mapping[str, str], Mapping[Key, Mapping[str, Any]]], Grid]
_GRIDS: dict[str, Make] = {"table1": table1.grid, "table2": table2.grid}


def made_grid(name: str, preset: str, rows: Mapping[str, str], store: Store) -> Grid:
    """A table of what a store has.

    Args:
        name: "table1" or "table2".
        preset: its name.
        rows: arm by printed name.
        store: of the records.

    Raises:
        RecordError: a record is damaged, or runs are of different studies or data.
    """
    records = store.records(STUDIES[name], preset)
    check_comparable([dict(r) for key, r in records.items() if key.part == PRETRAIN])
    by_task: dict[str, list[dict[str, Any]]] = {}
    for key, record in records.items():
        if key.part != PRETRAIN:
            by_task.setdefault(key.part.rpartition("-")[0], []).append(dict(record))
    for of_task in by_task.values():
        check_recipes(of_task)
    return _GRIDS[name](preset, rows, records)
