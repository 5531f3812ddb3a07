"""``python -m experiments table3``: what a step of each method costs."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from taskrobust._command_line import seed, writable_directory
from taskrobust._files import write_atomically

__all__ = ["add_table3"]


def add_table3(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of Table 3."""
    parser.description = (
        "Measure passes, FLOPs and wall time of one step of each method on models with a shared "
        "trunk, beside the printed T, 2T, 3T, 4T."
    )
    parser.add_argument(
        "--preset",
        metavar="P",
        default="small",
        help="smoke, small, paper, or a YAML file: models, numbers of tasks, rounds, device "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tasks",
        metavar="T",
        nargs="+",
        type=_at_least(2),
        help="numbers of tasks (default: the preset's)",
    )
    parser.add_argument(
        "--repeats",
        metavar="N",
        type=_at_least(1),
        help="rounds in which every method is timed once (default: the preset's)",
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="seed of model and data")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="where to time (default: the preset's)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/table3"),
        help="where to write (default: runs/table3)",
    )
    parser.set_defaults(run=partial(_run, parser))


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, command: str) -> int:
    import torch

    from experiments.configuration import ConfigurationError, load, preset_path
    from experiments.tables import table3, terminal

    try:
        preset = load(table3.Preset, preset_path("table3", options.preset))
    except ConfigurationError as error:
        parser.error(str(error))
    device = options.device or preset.device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: this installation of torch finds no CUDA device")
    out = writable_directory(parser, options.out)
    settings = table3.Settings(
        tasks=tuple(dict.fromkeys(options.tasks or preset.tasks)),
        repeats=options.repeats or preset.repeats,
        seed=options.seed,
        device=device,
        trunks=preset.trunks,
    )
    rounds = len(settings.trunks) * len(settings.tasks) * settings.repeats
    with terminal.measuring("table 3", rounds) as progress:
        result = table3.run(settings, command, progress)
    write_atomically(out / "table3.json", table3.to_json(result))
    write_atomically(out / "table3.md", table3.to_markdown(result))
    terminal.print_table3(result, out)
    return 0


def _at_least(minimum: int) -> Callable[[str], int]:
    """An argparse type: integers from a minimum on."""

    def integer(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"should be at least {minimum}; found {value}")
        return value

    return integer
