"""``python -m experiments mechanisms MECHANISM``: a registry with a line for each mechanism."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from experiments.mechanisms import attached
from experiments.mechanisms.hull import command_line as hull
from experiments.mechanisms.nonconvex import command as nonconvex

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


MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        "attached",
        "weights that are differentiated through, as in the authors' code, against Eq. (7)",
        attached.add_options,
        attached.run,
    ),
    Mechanism(
        "hull",
        "downstream gradients and risks as convex combinations of upstream ones (Eq. 9)",
        hull.add_options,
        hull.run,
    ),
    Mechanism(
        "nonconvex",
        "softmax weighting outside convexity, beside a certified convex control",
        nonconvex.add_options,
        nonconvex.run,
    ),
)


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
