"""Command line of the experiments: ``python -m experiments table3``."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from experiments.bert.command_line import add_bert
from experiments.mae.command_line import add_mae
from experiments.mechanisms.command_line import add_mechanisms
from experiments.report.command_line import add_report
from experiments.tables.command_line import add_table
from taskrobust._command_line import (
    INTERRUPTED,
    printable,
    report_missing_extra,
    seed,
    writable_directory,
)
from taskrobust._files import write_atomically

Run = Callable[[argparse.Namespace, str], int]
"""What a command does: its options and what was typed, to an exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: command-line words; None for those of the process.

    Returns:
        0; 2 for bad arguments; 3 if a package is missing; 130 if interrupted.
    """
    printable()
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    run: Run = options.run
    try:
        return run(options, shlex.join(["python", "-m", "experiments", *words]))
    except ModuleNotFoundError as error:
        return report_missing_extra(
            f"python -m experiments {options.command}", "experiments", error
        )
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    finally:
        _leave_ranks()


def _leave_ranks() -> None:
    """End the process group of torchrun, whose threads may abort a process as it ends."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description="The experiments of arXiv 2306.12070."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_table(commands.add_parser("table1", help="PoS-BERT on GLUE, beside the printed"), "table1")
    add_table(
        commands.add_parser("table2", help="Multi-Modal Mask MAE, beside the printed"), "table2"
    )
    _add_table3(commands.add_parser("table3", help="cost of a step of each method, measured"))
    add_table(commands.add_parser("figure3", help="semantics halfway through"), "figure3")
    add_bert(commands.add_parser("bert", help="PoS-BERT: prepare, pretrain, finetune"))
    add_mae(commands.add_parser("mae", help="Multi-Modal Mask MAE: prepare, pretrain, finetune"))
    add_mechanisms(commands.add_parser("mechanisms", help="mechanisms behind the results"))
    add_report(commands.add_parser("report", help="one page on what was reproduced"))
    return parser


def _add_table3(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure passes, FLOPs and wall time of one step of each method on models with a shared "
        "trunk, beside the printed T, 2T, 3T, 4T."
    )
    parser.add_argument(
        "--tasks",
        metavar="T",
        nargs="+",
        default=[3, 9],
        type=_at_least(2),
        help="numbers of tasks (default: 3 9)",
    )
    parser.add_argument(
        "--repeats",
        metavar="N",
        default=7,
        type=_at_least(1),
        help="rounds in which every method is timed once (default: 7)",
    )
    parser.add_argument("--seed", metavar="N", type=seed, default=0, help="seed of model and data")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="where to time (default: cpu)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/table3"),
        help="where to write (default: runs/table3)",
    )
    parser.set_defaults(run=partial(_table3, parser))


def _table3(parser: argparse.ArgumentParser, options: argparse.Namespace, command: str) -> int:
    import torch

    from experiments.tables import table3, terminal

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: this installation of torch finds no CUDA device")
    out = writable_directory(parser, options.out)
    settings = table3.Settings(
        tasks=tuple(dict.fromkeys(options.tasks)),
        repeats=options.repeats,
        seed=options.seed,
        device=options.device,
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


if __name__ == "__main__":
    sys.exit(main())
