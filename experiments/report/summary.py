"""The verdict in a few sentences, generated from the numbers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from experiments.report.collect import Document, Material, NotRun, TableOf
from experiments.report.pages import page_title
from experiments.report.text import anchor, joined, several
from experiments.report.verdicts import METHOD, Comparison, Verdict, compare
from experiments.tables.cells import difference_text
from experiments.tables.grid import REFERENCE
from experiments.tables.store import PRETRAIN

__all__ = ["SCALE", "headline", "ledger_sentence", "not_run_sentence", "summary", "table_sentences"]

_PRINTED = (Verdict.SUPPORTS, Verdict.CONTRADICTS)
_NOT_PRINTED = (Verdict.BETTER, Verdict.WORSE)
_WORST = {
    Verdict.BETTER: f"is lower than that of {REFERENCE}",
    Verdict.WORSE: f"is higher than that of {REFERENCE}",
    Verdict.CANNOT_TELL: f"cannot be told from that of {REFERENCE}",
    Verdict.ONE_SEED: f"has one seed only, too few to compare it with that of {REFERENCE}",
}
SCALE = """\
Only signs of differences are compared, between models of the sizes and on the data named here; \
the paper's numbers need its data and its scale."""


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
    gains = (
        "No printed gain can be compared yet."
        if not printed
        else (
            f"Of {several(len(printed), 'comparison')} with gains of {METHOD} that the paper "
            f"prints, the runs support the sign of {counts[Verdict.SUPPORTS]}, contradict "
            f"{counts[Verdict.CONTRADICTS]} and cannot tell {counts[Verdict.CANNOT_TELL]}"
            f"{_of_one_seed(counts[Verdict.ONE_SEED])}, at the scale that was run."
        )
    )
    return " ".join([gains, *(_worst(made) for made in tables)])


def _of_one_seed(count: int) -> str:
    return f"; {count} {'has' if count == 1 else 'have'} one seed only" if count else ""


def _worst(made: TableOf) -> str:
    """What became of the risk that the method minimises."""
    for each in compare(made):
        if (each.column.title, each.other) == ("worst", REFERENCE):
            return f"{made.label}: the worst held-out upstream risk {_WORST[each.verdict]}."
    return f"{made.label}: {METHOD} and {REFERENCE} have no seed in common yet."


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
            first, *others = table_sentences(made)
            yield "\n".join([f"**{made.label}.** {first}", *(f"  - {each}" for each in others)])
    if any(made.evidence for made in material.tables):
        yield f"**What this is not.** {SCALE}"
    smoke = [made.label for made in material.tables if not made.evidence]
    if smoke:
        yield (
            f"**No evidence.** {joined(smoke)} {'is' if len(smoke) == 1 else 'are'} of generated "
            "data, and shown for their form only."
        )
    if material.table3 is not None:
        yield f"**Table 3.** {_table3(material.table3)}"
    if material.pages:
        titles = (page_title(path) for path in material.pages)
        listed = [f"[{title}](#{anchor(title)})" for title in titles]
        yield f"**Studies and mechanisms**, each with its own verdict: {joined(listed)}."
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
    """What one table says: its scale, then a sentence a comparison and kind of column.

    Args:
        made: a table that is evidence.
    """
    found = compare(made)
    yield f"{_scale(made)}; {_seeds(made)}."
    if not any(each.other == REFERENCE for each in found):
        yield f"{METHOD} and {REFERENCE} have no seed in common yet: they cannot be compared."
    for other in dict.fromkeys(each.other for each in found):
        pairs = [each for each in found if each.other == other]
        printed = [each for each in pairs if each.printed is not None]
        rest = [each for each in pairs if each.printed is None and not each.column.upstream]
        upstream = [each for each in pairs if each.column.upstream]
        for kind, of_it, decided in (
            (several(len(printed), "printed gain"), printed, _PRINTED),
            ("downstream without a printed gain", rest, _NOT_PRINTED),
            ("held-out risks of pre-training", upstream, _NOT_PRINTED),
        ):
            if of_it:
                said = _by_verdict(of_it, decided).removesuffix(".")  # of "Avg."
                yield f"{_against(of_it[0])} ({_common(of_it)}), {kind}: {said}."


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


def _seeds(made: TableOf) -> str:
    """How many seeds the rows have."""
    counts = sorted({max(map(len, row.values.values()), default=0) for row in made.grid.rows})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds a row"
    return several(counts[0] if counts else 0, "seed")


def _common(found: Sequence[Comparison]) -> str:
    """How many seeds differences rest on."""
    counts = sorted({each.difference.count for each in found})
    shown = "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{shown} common {'seed' if counts[-1] == 1 else 'seeds'}"


def _against(first: Comparison) -> str:
    beside = first.printed is not None and first.other != first.printed_other
    of_paper = f" beside the printed {first.printed_other}" if beside else ""
    return f"{METHOD} less {first.other}{of_paper}"


def _by_verdict(found: Sequence[Comparison], decided: Sequence[Verdict]) -> str:
    """Columns by verdict: decided ones with their differences, the others by name."""
    parts = []
    for verdict in (*decided, Verdict.CANNOT_TELL, Verdict.ONE_SEED):
        of_it = [each for each in found if each.verdict is verdict]
        if verdict is Verdict.ONE_SEED and not of_it:
            continue
        named = ", ".join(_named(each) for each in of_it)
        parts.append(f"{verdict} {named or 'none'}")
    return "; ".join(parts)


def _named(each: Comparison) -> str:
    if not each.verdict.decided:
        return each.column.title
    return f"{each.column.title} {difference_text(each.column, each.difference)}"


def _table3(document: Document) -> str:
    entries = document.content["printed"]["entries"]
    listed = joined([f"{each['method']} {each['printed']}: {each['summary']}" for each in entries])
    return f"Printed costs of a step, measured: {listed}."
