"""Command line of the figures: ``python -m figures``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from taskrobust._command_line import named, report_missing_extra, seed, writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from figures.data import FigureData
    from figures.registry import FigureEntry
    from figures.terminal import Watch
    from theory.testbed import Context


def main(arguments: Sequence[str] | None = None) -> int:
    """Make figures.

    Args:
        arguments: command-line words; None for those of the process.

    Returns:
        0 if all were made; 2 for bad arguments or unusable data; 3 if a package is missing.
    """
    try:
        from figures import style, terminal
        from figures.data import DataError, NothingToDrawError
        from figures.registry import EFFORT, FIGURES, RunsFigure
        from theory.testbed import Context
    except ModuleNotFoundError as error:
        return report_missing_extra("python -m figures", "theory", error)
    parser = _parser(list(FIGURES), list(style.FORMATS))
    options = parser.parse_args(arguments)
    if options.list:
        terminal.print_figures(FIGURES.values())
        return 0
    entries = [FIGURES[name] for name in dict.fromkeys(options.figure or FIGURES)]
    writable_directory(parser, options.out)
    with terminal.watching(len(entries)) as watch:
        context = Context(EFFORT, options.seed, watch.note)
        for entry in entries:
            try:
                _make(entry, options, context, watch)
            except DataError as error:
                of_runs = isinstance(entry, RunsFigure)
                if isinstance(error, NothingToDrawError) and of_runs and not options.figure:
                    watch.left_out(str(error))
                    continue
                argument = "--runs" if of_runs and options.from_data is None else "--from-data"
                parser.error(f"argument {argument}: {error}")
            except ModuleNotFoundError as error:  # of what reads runs, the rest is there
                return report_missing_extra("python -m figures", "experiments", error)
    return 0


def _make(
    entry: "FigureEntry", options: argparse.Namespace, context: "Context", watch: "Watch"
) -> None:
    """Compute or read and save the data, unless there are saved ones; draw and save the picture."""
    from figures import data, style

    watch.figure(entry.name)
    source = options.from_data
    written = []
    if source is None:
        source = options.out
        data.save(_obtained(entry, options.runs, context), source)
        written = [source / f"{entry.name}.{suffix}" for suffix in ("csv", "json")]
    watch.note("drawing")
    # Always from the files, so that the picture shows what was saved.
    figure = entry.draw(data.load(entry.name, source))
    path = options.out / f"{entry.name}.{options.format}"
    write_atomically(path, style.picture(figure, options.format))
    watch.written([path, *written])


def _obtained(entry: "FigureEntry", runs: Path | None, context: "Context") -> "FigureData":
    """The figure's data, with how they came about."""
    import matplotlib as mpl

    from theory.ledger import versions

    found = entry.obtain(context, runs)
    used = {**versions(), "matplotlib": mpl.__version__}
    return replace(found, provenance={**found.provenance, "versions": used})


def _parser(figures: list[str], formats: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description="Compute figures or read them from finished runs, save their numbers, and draw "
        "them from the saved numbers.",
    )

    parser.add_argument(
        "figure",
        metavar="NAME",
        nargs="*",
        type=named("figure", figures, lambda text: text.lower().replace("-", "_")),
        help=f"only these figures: {', '.join(figures)} (default: all that have data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/figures"),
        help="where to write pictures and numbers (default: %(default)s)",
    )
    parser.add_argument("--format", choices=formats, default="png", help="of the pictures")
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random choices")
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="finished pre-training runs, for the pos_bert figures or mae_curves, or a folder with "
        "bert/pretrained and mae/pretrained in it (default: runs)",
    )
    parser.add_argument(
        "--from-data",
        type=Path,
        metavar="DIR",
        help="draw the numbers saved in DIR; compute and read nothing",
    )
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
