"""The sections of Tables 1, 2 and 3, and the numbers behind them seed by seed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.report.cells import differences, main_table, row_heading, seed_by_seed
from experiments.report.collect import Document, TableOf
from experiments.report.text import Links, joined, plain, prose, several, table
from experiments.report.verdicts import METHOD, Comparison, compare
from experiments.tables.cells import difference_text
from experiments.tables.grid import REFERENCE
from experiments.tables.made import STUDIES

__all__ = ["figure3_section", "records_section", "table3_section", "tables_section"]

_RULE = """\
Differences are paired by seed of pre-training, with Student's 95 % interval. *supports*: the \
interval is on the printed gain's side of 0; *contradicts*: on the other side; *cannot tell*: 0 is \
in it, or all seeds agree to the last digit; *one seed*: there is no interval. Without a printed \
gain: *better* or *worse*. Only signs are compared, since sizes depend on scale. Many cells are \
looked at: where there is no difference at all, one interval in twenty leaves 0 out by chance."""
_SEEDS = """\
Seeds are those of pre-training. A number links to its record; a mean over several seeds of \
fine-tuning to the record of each, and an average over tasks to the folder of them all."""
_FIGURE_3 = """\
Semantic predictions of each balancer's model after half of its pre-training, fine-tuned from \
there, beside input and ground truth. A few pictures prove nothing: the mean IoU over all test \
images is in the records of `semseg-half`."""
_SMOKE = """\
**No evidence:** generated data and models trained for seconds, shown for its form only."""


def tables_section(tables: tuple[TableOf, ...], pictures: Mapping[str, str], links: Links) -> str:
    """Tables 1 and 2 of every preset.

    Args:
        tables: of the stores.
        pictures: address of the forest plot by name of the table.
        links: from the report to files.
    """
    if not tables:
        return "No store has a record of Table 1 or 2 yet.\n"
    lines = ["Every mean links to its numbers seed by seed, and each of those to its record.", ""]
    for made in tables:
        lines += [f"### {made.label}: {_subject(made)}", "", *_table(made, pictures, links)]
    return "\n".join(lines) + "\n"


def records_section(tables: tuple[TableOf, ...], links: Links) -> str:
    """All numbers seed by seed, each linked to its records."""
    lines = [_SEEDS, ""] if tables else []
    for made in tables:
        lines += [f"### {made.label}, seed by seed", ""]
        for row in made.grid.rows:
            lines += [f"#### {row_heading(made, row)}", ""]
            if any(key.arm == row.arm for key in made.grid.records):
                lines += [*seed_by_seed(made, row, links), ""]
            else:
                lines += ["Not run yet.", ""]
    return "\n".join(lines) or "No records.\n"


def figure3_section(drawn: Mapping[Path, str], links: Links) -> str:
    """Figure 3 of every preset that was drawn.

    Args:
        drawn: addresses by file.
        links: from the report to files.
    """
    if not drawn:
        return "Not drawn yet: `python -m experiments figure3 --preset P` does it.\n"
    lines = [_FIGURE_3, ""]
    for path, address in drawn.items():
        preset = path.stem.removeprefix("figure3-")
        lines += [f"Preset {plain(preset)} ({links.link(path.name, path)}):", ""]
        lines += [f"![Semantic predictions at half pre-training, {preset}]({address})", ""]
    return "\n".join(lines)


def table3_section(document: Document, links: Links) -> str:
    """The verdicts on Table 3's entries, and what was measured for them."""
    content = document.content
    readings = [each["name"] for each in content["printed"]["readings"]]
    entries = [_entry(each, readings) for each in content["printed"]["entries"]]
    made = content["provenance"]
    told = ", ".join(f"{name} {value}" for name, value in made.items() if name != "command")
    source = f"Source: {links.link(document.path.name, document.path)}, by `{made['command']}`"
    return "\n".join([
        f"{source} ({plain(told)}). Measured multiples of the number T of tasks:",
        "",
        *table(["method", "printed", *readings, "verdict"], entries, left=5),
        "",
        *(f"- {plain(r['name'])}: {prose(r['statement'])}" for r in content["printed"]["readings"]),
        *(f"- {prose(note)}" for note in content.get("notes", ())),
        "",
    ])  # fmt: skip


def _entry(entry: Mapping[str, Any], readings: list[str]) -> list[str]:
    trials = {trial["reading"]: trial for trial in entry["trials"]}
    cells = []
    for name in readings:
        found = trials.get(name)
        multiples = found and found["multiples"]
        low_high = dict.fromkeys(f"{each:.3g}T" for each in multiples or ())
        cells.append(f"{'–'.join(low_high) or '–'}: {found['verdict']}" if found else "–")
    return [plain(entry["method"]), plain(entry["printed"]), *cells, plain(entry["summary"])]


def _subject(made: TableOf) -> str:
    """The part of a table's title that says what was trained and evaluated."""
    return made.grid.title.partition(", ")[2].rpartition(" (")[0]


def _table(made: TableOf, pictures: Mapping[str, str], links: Links) -> Iterator[str]:
    grid = made.grid
    yield f"Source: {links.link(_source(made), made.folder)}; all numbers: [CSV]({made.name}.csv)."
    yield ""
    if not made.evidence:
        yield from (_SMOKE, "")
    yield from (*main_table(made), "", "Mean ± sample standard deviation over seeds.", "")
    found = compare(made)
    for other in dict.fromkeys(each.other for each in found):
        yield from _comparisons([each for each in found if each.other == other])
    rows = [r for r in grid.rows if any(grid.difference(r, c) for c in grid.columns)]
    others = [row for row in rows if row.name != METHOD]
    if others:
        yield from (f"The other rows less {REFERENCE}:", "", *differences(made, others), "")
    if rows:
        yield from (_RULE, "")
    if made.name in pictures:
        yield from (f"![Differences to {REFERENCE}, {made.label}]({pictures[made.name]})", "")
    if grid.missing():
        yield from (f"Not run yet: {plain(joined(grid.missing()))}.", "")
    yield from (*(f"- {_note(note)}" for note in grid.notes), "")


def _source(made: TableOf) -> str:
    study = STUDIES[made.grid.name]
    return f"{several(len(made.grid.records), 'record')} of {study}/{made.grid.preset}"


def _comparisons(found: list[Comparison]) -> Iterator[str]:
    first = found[0]
    beside = f", beside the printed {first.printed_other}" * (first.printed_other != first.other)
    yield f"{METHOD} less {first.other}{beside}:"
    yield ""
    rows = [
        [
            f"{each.column.title} ({each.column.metric})",
            difference_text(each.column, each.difference),
            "·" if each.printed is None else f"{each.printed:+}".replace("-", "−"),
            str(each.difference.count),
            str(each.verdict),
        ]
        for each in found
    ]
    yield from table(["", "difference (95 % interval)", "printed gain", "seeds", "verdict"], rows)
    yield ""


def _note(note: str) -> str:
    """A note that may start with the star that it explains, and names commands."""
    return note.replace("*", r"\*")
