"""Command line of the ledger: ``python -m theory``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from taskrobust._command_line import (
    INTERRUPTED,
    named,
    printable,
    report_missing_extra,
    seed,
    writable_directory,
)
from taskrobust._files import write_atomically


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the paper.

    Args:
        arguments: command-line words; None for those of the process.

    Returns:
        0 iff every corrected claim holds and every misprint is refuted; 1 if not; 2 for bad
        arguments; 3 if a package is missing.
    """
    printable()
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:  # at the start, or by a claim that needs one more
        return report_missing_extra("python -m theory", "theory", error)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    from theory import ledger, terminal
    from theory.claims import CLAIMS, EFFORTS, Context

    parser = _parser(list(CLAIMS), list(EFFORTS))
    options = parser.parse_args(arguments)
    if options.list:
        terminal.print_claims(CLAIMS.values())
        return 0
    chosen = dict.fromkeys(options.claim or CLAIMS)  # each once, in the order asked for
    out = writable_directory(parser, options.out)
    context = Context(EFFORTS[options.effort], options.seed)
    result = terminal.watch([CLAIMS[key] for key in chosen], context)
    write_atomically(out / "ledger.json", ledger.to_json(result))
    write_atomically(out / "ledger.md", ledger.to_markdown(result))
    terminal.print_summary(result, out)
    return 0 if result.verified else 1


def _parser(claims: list[str], efforts: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m theory",
        description="Check every mathematical claim of arXiv 2306.12070 against certified optima.",
    )
    parser.add_argument(
        "--claim",
        metavar="NAME",
        nargs="+",
        action="extend",
        type=named("claim", claims, str.upper),
        help=f"only these claims: {', '.join(claims)}",
    )
    parser.add_argument(
        "--effort",
        metavar="NAME",
        default="default",
        type=named("effort", efforts, str.lower),
        help=f"how much to measure: {', '.join(efforts)} (default: default)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of all random choices")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/theory"),
        help="where to write (default: %(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="list the claims and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
