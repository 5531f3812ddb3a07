"""``python -m experiments table1|table2|figure3``: a table of the paper, run and shown."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import writable_directory

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.tables.jobs import Maker, Shard
    from experiments.tables.preset import TablePreset

__all__ = ["add_table"]

PRESETS = "smoke, cpu, small, paper"


def add_table(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a parser the options of a table.

    Args:
        parser: of the command.
        name: "table1", "table2" or "figure3".
    """
    parser.add_argument("--preset", required=True, metavar="P", help=f"{PRESETS}, or a YAML file")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("runs/reproduction"),
        help="records go to DIR/store, models to DIR/work, tables to DIR/tables "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=_count, metavar="N", help="seeds of pre-training (default: the preset's)"
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="some rows only (default: all)")
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="i/n",
        help="the i-th of n shares of the runs, for several machines or GPUs on one file system",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="key=value",
        help="override a field of the study; give the preset a name of its own then (a YAML file)",
    )
    parser.set_defaults(run=partial(_run, parser, name))


def _run(
    parser: argparse.ArgumentParser, name: str, options: argparse.Namespace, command: str
) -> int:
    from rich.console import Console

    from experiments.configuration import ConfigurationError, message
    from experiments.records import RecordError

    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    try:
        return _make(parser, name, options, command, console)
    except (ConfigurationError, RecordError) as error:
        parser.error(message(error))
    except OSError as error:  # a full disk, say; what was finished is kept
        parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


def _make(
    parser: argparse.ArgumentParser,
    name: str,
    options: argparse.Namespace,
    command: str,
    console: "Console",
) -> int:
    from experiments.configuration import load, preset_path
    from experiments.tables import jobs
    from experiments.tables.preset import TablePreset, check_data, with_rows
    from experiments.tables.store import Store

    path = preset_path(_presets_of(name), options.preset)
    table = with_rows(load(TablePreset, path), options.rows)
    seeds = options.seeds or table.seeds
    check_data(table, options.data)
    out = writable_directory(parser, options.out)
    store = Store(out / "store")
    maker = _maker(name, path.stem, table, options, out / "work", console, command)
    shard = options.shard or jobs.Shard()
    share = shard.of(jobs.chains(list(table.rows.values()), seeds))
    outcome = jobs.run_all(maker, share, store, console)
    if console.quiet:
        return 1 if outcome.failed else 0
    console.print(f"{outcome.made} runs made, {outcome.known} done before", highlight=False)
    for line in outcome.failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _presets_of(name: str) -> str:
    """Figure 3 looks at the runs of Table 2."""
    return "table2" if name == "figure3" else name


def _maker(
    name: str,
    preset: str,
    table: "TablePreset",
    options: argparse.Namespace,
    work: Path,
    console: "Console",
    command: str,
) -> "Maker":
    common: dict[str, Any] = {
        "preset": preset,
        "table": table,
        "data": options.data,
        "work": work,
        "console": console,
        "command": command,
        "more": tuple(options.overrides),
    }
    if name == "table1":
        from experiments.tables.bert_runs import BertRuns

        return BertRuns(**common)
    from experiments.tables.mae_runs import MaeRuns

    return MaeRuns(**common, **({"tasks": ("semseg-half",)} if name == "figure3" else {}))


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"should be at least 1; found {value}")
    return value


def _shard(text: str) -> "Shard":
    from experiments.tables.jobs import Shard

    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
