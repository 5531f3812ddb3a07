"""``python -m experiments table1|table2|figure3``: a table of the paper, run and shown."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.tables.bert_runs import BertRuns
    from experiments.tables.jobs import Shard
    from experiments.tables.mae_runs import MaeRuns
    from experiments.tables.preset import TablePreset
    from experiments.tables.store import Store

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
        "--seeds",
        type=_count,
        metavar="N",
        help="number of seeds of pre-training, 0 to N − 1 (default: the preset's)",
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
        help="override a field of the study; records are filed by the name of the preset: with "
        "overrides, copy it to a file of another name and give that",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what it would cost: steps, FLOPs, GPU-hours, disk, data sets",
    )
    parser.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="of the GPU's dense peak that --dry-run reckons with (default: %(default)s)",
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
    from experiments.tables.preset import TablePreset, with_rows
    from experiments.tables.store import Store

    path = preset_path(_presets_of(name), options.preset)
    whole = load(TablePreset, path)
    table = with_rows(whole, options.rows)
    out = writable_directory(parser, options.out)
    store = Store(out / "store")
    maker = _maker(name, path.stem, table, options, out / "work", console, command)
    shard = options.shard or jobs.Shard()
    share = shard.of(jobs.chains(list(table.rows.values()), options.seeds or table.seeds))
    if options.dry_run:
        from experiments.tables.cost.page import report

        part = bool(options.rows or options.seeds or options.shard)
        how = {"command": command, "utilisation": options.utilisation, "part": part}
        report(name, maker, share, options.data, console, out / "tables", **how)
        return 0
    outcome = jobs.run_all(maker, jobs.plan(maker, share, store), store, console)
    if not console.quiet:
        console.print(f"{outcome.made} runs made, {outcome.known} done before", highlight=False)
        if name == "figure3":
            _draw(maker, path.stem, options.seeds or table.seeds, out / "tables", console)
        else:
            _show(name, path.stem, whole, store, out / "tables", console)
        for line in outcome.failed:
            print(f"failed: {line}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _draw(maker: Any, preset: str, seeds: int, out: Path, console: "Console") -> None:
    from experiments.tables.figure3 import draw_figure3

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"figure3-{preset}.png"
    missing = draw_figure3(maker, seeds, path)
    if missing:
        console.print(f"not run yet: {', '.join(missing)}", highlight=False, soft_wrap=True)
    if len(missing) < len(maker.table.rows):
        console.print(f"figure in {path}", highlight=False, soft_wrap=True)


def _show(
    name: str, preset: str, table: "TablePreset", store: "Store", out: Path, console: "Console"
) -> None:
    """Print a table and write it in all its forms."""
    from experiments.tables import render
    from experiments.tables.made import made_grid

    grid = made_grid(name, preset, table.rows, store)
    console.print(render.to_terminal(grid))
    differences = render.differences_table(grid)
    if differences is not None:
        console.print(differences)
    out.mkdir(parents=True, exist_ok=True)
    for note in render.notes(grid, generated=not table.data):
        console.print(note, markup=False, highlight=False, style="dim")
    forms = {"md": render.to_markdown, "csv": render.to_csv, "tex": render.to_latex}
    for suffix, form in forms.items():
        write_atomically(out / f"{name}-{preset}.{suffix}", form(grid))
    missing = grid.missing()
    if missing:
        console.print(f"not run yet: {', '.join(missing)}", highlight=False, soft_wrap=True)
    files = out / f"{name}-{preset}.md"
    console.print(f"table in {files}, .csv, .tex", highlight=False, soft_wrap=True)


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
) -> "BertRuns | MaeRuns":
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

    return MaeRuns(**common | ({"tasks": ("semseg-half",)} if name == "figure3" else {}))


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
