"""What was not run and why, the data sets and their terms, how to run it, and where from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.configuration import PRESETS, load, presets
from experiments.report.collect import Document, Material, NotRun, TableOf
from experiments.report.text import Links, joined, plain, prose, several, table
from experiments.tables.cells import seeds_text
from experiments.tables.preset import DataSet, TablePreset
from experiments.tables.store import Key

__all__ = ["data_section", "how_section", "not_run_section", "provenance_section"]

_COMMANDS = """\
    pip install -c constraints.txt -e '.[experiments]'
    python -m theory
    python -m experiments table1 --preset smoke
    python -m experiments table2 --preset smoke
    python -m experiments report

`--preset cpu`, `small` or `paper` with `--data DIR` instead of `smoke` runs the same on real data.
A run that was stopped goes on where it was, and a finished one is never run again. `--shard i/n`
shares the runs of a table among machines.
"""
_HOURS = """\
GPU-hours are what all rows and seeds take at this share of the GPU's dense peak, from counted \
FLOPs; small models and batches reach less, so that they take longer.
"""
_GPUS = ("A100", "H100")


def not_run_section(material: Material, links: Links) -> str:
    """Presets without records and tables with holes, each with the reason and what it would cost.

    Args:
        material: of the report.
        links: from the report to files.
    """
    rows = [
        [
            made.label,
            _missing(made),
            _reason(made.failures),
            "",
        ]
        for made in material.tables
        if _missing(made)
    ]
    rows += [
        [f"`{each.table} --preset {each.name}`", "all", _why(each), _cost(each.cost, links)]
        for each in material.not_run
    ]
    if not rows:
        return "Every preset has records, and every cell of every table its seeds.\n"
    lines = [*table(["table", "not run", "why", "GPU-hours on A100 / H100"], rows, left=3), ""]
    return "\n".join([*lines, _HOURS]) + "\n"


def data_section() -> str:
    """Data sets of all presets of Tables 1 and 2, with licences and sources."""
    used: dict[tuple[str, str, str], list[str]] = {}
    for name in ("table1", "table2"):
        for preset in presets(name):
            read = load(TablePreset, PRESETS / name / f"{preset}.yaml")
            for each in read.data.values():
                used.setdefault(_terms(each), []).append(f"{name} {preset}")
    rows = ([prose(cell) for cell in (*each, ", ".join(by))] for each, by in used.items())
    head = ["data set", "licence", "where to get it, and its form", "used by"]
    lines = [
        "None of these is shipped. The presets named `smoke` read generated data only.",
        "",
        *table(head, rows, left=4),
    ]
    return "\n".join(lines) + "\n"


def how_section() -> str:
    """Commands from a clone to this report."""
    return _COMMANDS


def provenance_section(tables: Sequence[TableOf], links: Links) -> str:
    """Commits, versions, devices, dates and commands of all records.

    Args:
        tables: of the stores.
        links: from the report to files.
    """
    if not tables:
        return "No records.\n"
    lines = []
    for made in tables:
        lines += [f"### {made.label}, provenance", "", *_provenance(made, made.folder, links), ""]
    return "\n".join(lines)


def _missing(made: TableOf) -> str:
    """Cells without a number, rows with too few seeds, or else runs that failed."""
    grid, found = made.grid, []
    if grid.missing():
        found.append(f"{len(grid.missing())} of {len(grid.rows) * len(grid.columns)} cells")
    wanted = 0 if made.preset is None else made.preset.seeds
    few = [
        f"{row.name} {seeds_text(row)}"
        for row in grid.rows
        if 0 < min(map(len, row.values.values()), default=0) < wanted
    ]
    if few:
        found.append(f"some of {wanted} seeds (there are: {', '.join(few)})")
    if made.failures and not found:
        found.append(several(len(made.failures), "run"))
    return plain("; ".join(found))


def _why(each: NotRun) -> str:
    failed = f"{_failed(each.failures)}; " if each.failures else ""
    if not each.preset.data:
        return plain(f"{failed}no record in the store; it needs no data")
    needs = [f"{one.title} ({one.licence})" for one in each.preset.data.values()]
    return plain(f"{failed}no record in the store; it needs {joined(needs)} and the time to train")


def _reason(failures: Mapping[Key, str]) -> str:
    """What is known of the missing cells of a table."""
    if not failures:
        return "no record of them in the store: the runs are not finished, or were not started"
    what = "What else has no record is not finished, or was not started"
    return plain(f"{_failed(failures)}. {what}")


def _failed(failures: Mapping[Key, str]) -> str:
    return "; ".join(f"{key.title} failed: {reason}" for key, reason in sorted(failures.items()))


def _cost(found: Document | None, links: Links) -> str:
    """GPU-hours, linked to the dry run that reckoned them."""
    if found is None:
        return "`--dry-run` says"
    hours = found.content["gpu_hours"]
    shown = " / ".join(f"{hours[gpu]:,.{0 if hours[gpu] >= 10 else 1}f}" for gpu in _GPUS)
    return f"{links.link(shown, found.path)} at {100 * found.content['utilisation']:g} %"


def _terms(each: DataSet) -> tuple[str, str, str]:
    return each.title, each.licence, each.source


def _provenance(made: TableOf, folder: Path, links: Links) -> Iterator[str]:
    records = list(made.grid.records.values())
    yield f"Source: {links.link(several(len(records), 'record'), folder)}."
    yield ""
    dates = sorted(str(record.get("date", "")) for record in records)
    hours = sum(float(record.get("seconds", 0.0)) for record in records) / 3600
    devices = sorted({str(record.get("device", "unknown")) for record in records})
    rows = [
        ["dates", f"{dates[0]} to {dates[-1]}" if dates else "none"],
        ["devices", joined(devices)],
        ["time of the runs, of each the last attempt", f"{hours:.1f} h"],
        ["commits", joined(list(dict.fromkeys(_commit(record) for record in records)))],
        ["versions", "; ".join(plain(each) for each in _distinct_versions(records))],
    ]
    yield from table(["", "of these records"], rows, left=2)
    yield ""
    for command in dict.fromkeys(str(record.get("command", "")) for record in records):
        yield f"    {command}"


def _commit(record: Mapping[str, Any]) -> str:
    state = record.get("git")
    if not state:
        return "not recorded"
    return f"`{state['commit'][:12]}`" + (" with changes" if state.get("modified") else "")


def _distinct_versions(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every package with the versions that it had."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.get("versions", {}).items():
            found.setdefault(name, {})[str(version)] = None
    return [f"{name} {' and '.join(versions)}" for name, versions in found.items()]
