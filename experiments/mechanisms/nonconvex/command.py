"""``python -m experiments mechanisms nonconvex``; what it needs is imported when it is run."""

import argparse
import json
from pathlib import Path

from taskrobust._command_line import writable_directory
from taskrobust._files import write_atomically

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options."""
    parser.description = (
        "Softmax weighting of a small network's tasks, and of a convex control whose minimax value "
        "is certified: gaps and stationarity of constant sharpness, schedules and hard maximum."
    )
    parser.add_argument("--preset", required=True, metavar="P", help="smoke, cpu, or a YAML file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("runs/mechanisms/nonconvex"),
        help="where runs and results go (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", default=3, help="seeds 0 … N−1 (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="key=value",
        help="override a field of the preset, such as network.steps=100; may be repeated",
    )
    parser.set_defaults(parser=parser)


def run(options: argparse.Namespace, command: str) -> int:
    """Run the study, or go on with it; print, write and draw it.

    Args:
        options: of `add_options`.
        command: what was typed.

    Returns:
        0.

    Raises:
        ConfigurationError: the preset cannot be used, or the folder holds another study.
        RecordError: a finished run is damaged.
    """
    from rich.console import Console

    from experiments.configuration import ConfigurationError, load, preset_path
    from experiments.mechanisms.nonconvex import page, picture, study
    from experiments.mechanisms.nonconvex.configuration import NonconvexStudy

    if options.seeds < 1:
        raise ConfigurationError(f"--seeds should be at least 1; found {options.seeds}")
    path = preset_path("nonconvex", options.preset)
    configuration = load(NonconvexStudy, path, options.overrides, study="nonconvex")
    out = writable_directory(options.parser, options.out)
    console = Console()
    if console.width < page.WIDTH:
        console = Console(width=page.WIDTH)

    def note(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    content = study.run(configuration, out, options.seeds, command, note)
    write_atomically(out / "nonconvex.json", json.dumps(content, allow_nan=False) + "\n")
    write_atomically(out / "nonconvex.md", page.to_markdown(content))
    write_atomically(out / "nonconvex.png", picture.png(picture.draw(content)))
    for table in page.tables(content):
        console.print(table)
    note(f"results in {out / 'nonconvex.md'}, nonconvex.json and nonconvex.png")
    return 0
