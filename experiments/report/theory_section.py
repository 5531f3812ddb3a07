"""The ledger's verdicts and the figures of the theory, read from their files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.report.collect import Document
from experiments.report.summary import ledger_sentence
from experiments.report.text import Links, plain, table

__all__ = ["figures_section", "ledger_section"]

_GOOD = ("holds", "holds as corrected", "refuted as printed")
"""Verdicts of lines that came out as they should."""


def ledger_section(document: Document | None, links: Links) -> str:
    """Counts, a line a claim, and what was printed beside what is right.

    Args:
        document: the ledger; None if there is none.
        links: from the report to files.
    """
    if document is None:
        return "No ledger was found: `python -m theory` makes it, `--ledger` says where it is.\n"
    content = document.content
    lines = [f"Source: {_sources(document, links)}, effort `{content['effort']}`, seed ",
             f"{content['seed']}."]  # fmt: skip
    claims = {claim["key"]: claim for claim in content["claims"]}
    counts = {key: Counter[str]() for key in claims}
    for line in content["lines"]:
        counts[line["claim"]][line["verdict"]] += 1
    return "\n".join([
        "".join(lines),
        "",
        ledger_sentence(document),
        "",
        *table(
            ["claim", "subject", "source", *_GOOD, "other", "status"],
            (_claim(claims[key], found) for key, found in counts.items()),
            left=3,
        ),
        "",
        "### Misprints and corrections",
        "",
        *table(
            ["claim", "printed", "right"],
            (
                [key, plain(claims[key]["printed"]), plain(claims[key]["corrected"])]
                for key, found in counts.items()
                if found["refuted as printed"]
            ),
            left=3,
        ),
        "",
    ])  # fmt: skip


def figures_section(paths: Sequence[Path], addresses: Mapping[Path, str], links: Links) -> str:
    """Figures of ``python -m figures``, each with its numbers.

    Args:
        paths: pictures.
        addresses: of the pictures in the report.
        links: from the report to files.
    """
    lines = ["Drawn by `python -m figures`; the numbers of each lie beside it.", ""]
    for path in paths:
        lines += [*_figure(path, addresses[path], links), ""]
    return "\n".join(lines) + "\n"


def _figure(path: Path, address: str, links: Links) -> Iterator[str]:
    name = path.stem.replace("_", " ")
    yield f"![{plain(name)}]({address})"
    yield ""
    yield f"Numbers: {links.link(path.with_suffix('.csv').name, path.with_suffix('.csv'))}."


def _sources(document: Document, links: Links) -> str:
    page = document.path.with_suffix(".md")
    both = [document.path, *([page] if page.is_file() else [])]
    return " and ".join(links.link(path.name, path) for path in both)


def _claim(claim: Mapping[str, str], found: Counter[str]) -> list[str]:
    other = sum(found.values()) - sum(found[verdict] for verdict in _GOOD)
    if other:
        status = "open"
    elif found["refuted as printed"]:
        status = "refuted and corrected"
    else:
        status = "holds as corrected" if found["holds as corrected"] else "holds"
    cells = [claim["key"], claim["title"], claim["source"]]
    numbers = [found[verdict] for verdict in _GOOD]
    return [*map(plain, cells), *(str(n) if n else "" for n in (*numbers, other)), status]
