"""``python -m experiments mechanisms MECHANISM``: a registry with a line for each mechanism."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

__all__ = ["MECHANISMS", "Mechanism", "add_mechanisms"]


@dataclass(frozen=True)
class Mechanism:
    """A command.

    Args:
        name: as it is typed.
        help: what it measures.
        add: gives a parser the options; imports nothing heavy.
        run: does it, given the options and what was typed; returns the exit status.
    """

    name: str
    help: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, str], int]


MECHANISMS: tuple[Mechanism, ...] = ()


def add_mechanisms(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of all mechanisms."""
    parser.description = "Measure mechanisms behind the results."
    commands = parser.add_subparsers(dest="mechanism", required=True, metavar="MECHANISM")
    for mechanism in MECHANISMS:
        command = commands.add_parser(mechanism.name, help=mechanism.help)
        mechanism.add(command)
        command.set_defaults(run=partial(_run, command, mechanism))


def _run(
    parser: argparse.ArgumentParser,
    mechanism: Mechanism,
    options: argparse.Namespace,
    command: str,
) -> int:
    """Run a mechanism; what is wrong with its input ends in one line."""
    from experiments.configuration import ConfigurationError, message
    from experiments.records import RecordError

    try:
        return mechanism.run(options, command)
    except (ConfigurationError, RecordError) as error:
        parser.error(message(error))
    except OSError as error:  # a full disk, say
        parser.error(f"{error.filename or 'output'}: {error.strerror or error}")
