"""``python -m experiments report``: one page on what was reproduced."""

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from experiments.report.collect import Material

__all__ = ["COMMITTED", "add_report"]

RESULTS = Path(__file__).parents[1] / "results"
COMMITTED = RESULTS / "store"
"""The store of this repository."""
OWN = Path("runs/reproduction/store")
"""Where the tables leave theirs."""


def add_report(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of the report."""
    parser.description = (
        "Write report.html, one page that needs no network, and its Markdown twin report.md: what "
        "was reproduced, what was not, what was not run and why. Every number links to its record."
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        nargs="+",
        help=f"records of Tables 1 and 2 (default: this repository's and {OWN}, where there are)",
    )
    for name, default, what in (
        ("ledger", "runs/theory/ledger.json", "of python -m theory"),
        ("table3", "runs/table3/table3.json", "of python -m experiments table3"),
        ("figures", "runs/figures", "of python -m figures"),
    ):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="DIR" if name == "figures" else "FILE",
            default=Path(default),
            help=f"{what}, left out if it is not there (default: {default})",
        )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        default=RESULTS,
        help="pages of studies and mechanisms, DIR/NAME/README.md (default: this repository's)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("runs/report"),
        help="where to write (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="instead of a report, put the results section of --store (default: this repository's) "
        "between <!-- results --> and <!-- /results --> of FILE",
    )
    parser.set_defaults(run=partial(_run, parser))


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, command: str) -> int:
    from experiments.configuration import ConfigurationError, message
    from experiments.records import RecordError

    try:
        return _readme(options) if options.readme else _report(parser, options, command)
    except (ConfigurationError, RecordError) as error:
        parser.error(message(error))
    except OSError as error:  # a full disk, say
        parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


def _collected(options: argparse.Namespace, defaults: tuple[Path, ...]) -> "Material":
    from experiments.report.collect import Sources, collect

    stores = options.store or [store for store in defaults if store.is_dir()]
    return collect(
        Sources(tuple(stores), options.ledger, options.table3, options.results, options.figures)
    )


def _readme(options: argparse.Namespace) -> int:
    from rich.console import Console

    from experiments.report.readme import update_readme

    changed = update_readme(options.readme, _collected(options, (COMMITTED,)))
    state = "written" if changed else "is up to date"
    Console().print(f"results section of {options.readme} {state}", highlight=False, soft_wrap=True)
    return 0


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace, command: str) -> int:
    from rich.console import Console

    from experiments.report.document import TITLE, cover, make_sections
    from experiments.report.html import to_html
    from experiments.report.summary import headline

    material = _collected(options, (COMMITTED, OWN))
    out = writable_directory(parser, options.out)
    parts = [f"# {TITLE}\n\n{cover(material)}"]
    parts += [f"## {each.title}\n\n{each.text}" for each in make_sections(material, out)]
    markdown = "\n".join(parts)
    write_atomically(out / "report.md", markdown)
    write_atomically(out / "report.html", to_html(markdown, out))
    write_atomically(out / "report.json", _as_json(material, command))
    console = Console()
    console.print(headline(material), highlight=False)
    for table in _tables(material):
        console.print(table)
    console.print(
        f"report in {out / 'report.html'}, report.md, report.json", highlight=False, soft_wrap=True
    )
    return 0


def _as_json(material: "Material", command: str) -> str:
    """Every comparison with its verdict, and how this file was made."""
    from experiments.report.verdicts import compare
    from experiments.runs import provenance

    found: list[dict[str, Any]] = [
        {
            "table": made.grid.name,
            "preset": made.grid.preset,
            "evidence": made.evidence,
            "column": each.column.title,
            "metric": each.column.metric,
            "other": each.other,
            "printed_other": each.printed_other,
            "difference": asdict(each.difference),
            "printed_gain": None if each.printed is None else str(each.printed),
            "verdict": str(each.verdict),
        }
        for made in material.tables
        for each in compare(made)
    ]
    packages = ("scipy", "matplotlib", "markdown-it-py")
    content = {**provenance(command, packages), "comparisons": found}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _tables(material: "Material") -> "Iterator[Table]":
    """For the terminal: Minimax less each row that the paper compares it with."""
    from rich.table import Table

    from experiments.report.verdicts import METHOD, compare
    from experiments.tables.cells import difference_text

    for made in material.tables:
        found = compare(made)
        for other in dict.fromkeys(each.other for each in found):
            note = "" if made.evidence else " (generated data: no evidence)"
            shown = Table(title=f"{made.label}: {METHOD} less {other}{note}")
            for name in ("", "difference (95 % interval)", "printed", "seeds", "verdict"):
                shown.add_column(name, justify="left" if name in {"", "verdict"} else "right")
            for each in found:
                if each.other == other:
                    shown.add_row(
                        each.column.title,
                        difference_text(each.column, each.difference),
                        "·" if each.printed is None else f"{each.printed:+}".replace("-", "−"),
                        str(each.difference.count),
                        str(each.verdict),
                    )
            yield shown
