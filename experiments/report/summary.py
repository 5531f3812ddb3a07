"""The verdict in a few sentences, generated from the numbers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from experiments.report.collect import Document, Material, NotRun, TableOf
from experiments.report.text import joined, several
from experiments.report.verdicts import METHOD, Comparison, Verdict, compare, difference_text
from experiments.tables.grid import REFERENCE
from experiments.tables.store import PRETRAIN

__all__ = ["headline", "ledger_sentence", "not_run_sentence", "summary", "table_sentences"]

_SCALE = """\
What is compared is the sign of a difference on a small model; the paper's numbers need its data \
and its scale."""


def headline(material: Material) -> str:
    """One sentence over everything that is evidence."""
    tables = [made for made in material.tables if made.evidence]
    if not tables:
        return (
            "No run of these stores is evidence for or against Tables 1 and 2: there are only runs "
            "on generated data."
            if material.tables
            else "Tables 1 and 2 have not been run: the stores are empty."
        )
    found = [each for made in tables for each in compare(made)]
    printed = [each for each in found if each.printed is not None]
    counts = Counter(each.verdict for each in printed)
    return (
        f"At the scale that was run, the signs of {several(len(printed), 'printed gain')} of "
        f"{METHOD}: {counts[Verdict.SUPPORTS]} supported, {counts[Verdict.CONTRADICTS]} "
        f"contradicted, {counts[Verdict.CANNOT_TELL]} not to be told from chance."
    )


def summary(material: Material) -> Iterator[str]:
    """A bullet a subject: theory, each table, what was not run.

    Args:
        material: of the report.

    Yields:
        Markdown without the bullet.
    """
    if material.ledger is not None:
        yield f"**Theory.** {ledger_sentence(material.ledger)}"
    else:
        yield "**Theory.** No ledger was given: `python -m theory` makes it."
    for made in material.tables:
        if made.evidence:
            yield f"**{made.label}.** {' '.join(table_sentences(made))}"
    smoke = [made.label for made in material.tables if not made.evidence]
    if smoke:
        yield (
            f"**No evidence.** {joined(smoke)} {'is' if len(smoke) == 1 else 'are'} of generated "
            "data and shown only because every cell of them was run."
        )
    if material.table3 is not None:
        yield f"**Table 3.** {_table3(material.table3)}"
    if material.not_run:
        yield f"**Not run.** {not_run_sentence(material.not_run)}"


def ledger_sentence(ledger: Document) -> str:
    """Counts of the ledger, in words."""
    counts = {str(name): int(count) for name, count in ledger.content["counts"].items()}
    shown = ", ".join(f"{count} {name.replace('holds', 'hold')}" for name, count in counts.items())
    lines, claims = len(ledger.content["lines"]), len(ledger.content["claims"])
    good = "Every corrected claim holds and every misprint is refuted."
    bad = "Not every line came out as it should."
    return (
        f"{several(lines, 'line')} of {several(claims, 'claim')}: {shown}. "
        f"{good if ledger.content['verified'] else bad}"
    )


def table_sentences(made: TableOf) -> Iterator[str]:
    """What one table says: scale, printed gains, upstream risks.

    Args:
        made: a table that is evidence.
    """
    found = compare(made)
    yield f"{_scale(made)}; {several(made.grid.seeds, 'seed')}."
    if not found:
        yield f"{METHOD} and {REFERENCE} have no seed in common yet: nothing can be compared."
    for other in dict.fromkeys(each.other for each in found):
        pairs = [each for each in found if each.other == other]
        printed = [each for each in pairs if each.printed is not None]
        if printed:
            yield f"{_against(printed[0])}: {_printed_gains(printed)}."
        downstream = [each for each in pairs if each.printed is None and not each.column.upstream]
        if downstream:
            yield f"{METHOD} less {other} elsewhere downstream: {_directions(downstream)}."
        upstream = [each for each in pairs if each.column.upstream]
        if upstream and other == REFERENCE:
            yield f"Held-out risks of pre-training, {METHOD} less {other}: {_listed(upstream)}."
    if found:
        yield _SCALE


def not_run_sentence(not_run: Sequence[NotRun]) -> str:
    """Which presets have no record."""
    by_table: dict[str, list[str]] = {}
    for each in not_run:
        by_table.setdefault(f"Table {each.table.removeprefix('table')}", []).append(each.name)
    listed = "; ".join(f"{table}: {joined(names)}" for table, names in by_table.items())
    return f"Presets without a record: {listed} ([why](#what-was-not-run))."


def _scale(made: TableOf) -> str:
    runs = [record for key, record in made.grid.records.items() if key.part == PRETRAIN]
    if not runs:
        return "No pre-training is recorded"
    parameters = median(run["parameters"] for run in runs)
    devices = joined(sorted({str(run["device"]) for run in runs}))
    return f"Models of {parameters / 1e6:.1f} million parameters, trained on {devices}"


def _against(first: Comparison) -> str:
    beside = f" beside the printed {first.printed_other}" * (first.other != first.printed_other)
    return f"{METHOD} less {first.other}{beside}"


def _printed_gains(found: Sequence[Comparison]) -> str:
    parts = []
    for verdict in (Verdict.SUPPORTS, Verdict.CONTRADICTS, Verdict.CANNOT_TELL):
        names = [each for each in found if each.verdict is verdict]
        if verdict.decided:
            named = f" ({_listed(names, verdict=False)})" if names else ""
        else:
            named = f" ({', '.join(each.column.title for each in names)})" if names else ""
        parts.append(f"{verdict} {len(names)}{named}")
    return f"of {several(len(found), 'printed gain')}, {', '.join(parts)}"


def _directions(found: Sequence[Comparison]) -> str:
    return ", ".join(f"{each.column.title} {each.verdict}" for each in found)


def _listed(found: Sequence[Comparison], *, verdict: bool = True) -> str:
    return ", ".join(
        f"{each.column.title} {difference_text(each.column, each.difference)}"
        + (f" {each.verdict}" if verdict else "")
        for each in found
    )


def _table3(document: Document) -> str:
    entries = document.content["printed"]["entries"]
    listed = joined([f"{each['method']} {each['printed']}: {each['summary']}" for each in entries])
    return f"Printed costs of a step, measured: {listed}."
