"""Command line of the experiments: ``python -m experiments table3``."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

from experiments.bert.command_line import add_bert
from experiments.mae.command_line import add_mae
from experiments.mechanisms.command_line import add_mechanisms
from experiments.report.command_line import add_report
from experiments.tables.command_line import add_table
from experiments.tables.table3_command import add_table3
from taskrobust._command_line import INTERRUPTED, printable, report_missing_extra

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
    add_table3(commands.add_parser("table3", help="cost of a step of each method, measured"))
    add_table(
        commands.add_parser(
            "figure3", help="semantics predicted after half of table2's pre-training"
        ),
        "figure3",
    )
    add_bert(commands.add_parser("bert", help="PoS-BERT: prepare, pretrain, finetune, summary"))
    add_mae(
        commands.add_parser(
            "mae", help="Multi-Modal Mask MAE: prepare, label, pretrain, finetune, summary"
        )
    )
    add_mechanisms(commands.add_parser("mechanisms", help="mechanisms behind the results"))
    add_report(commands.add_parser("report", help="one page on what was reproduced"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
