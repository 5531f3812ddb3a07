"""Command line of the ledger: ``python -m theory``."""

import argparse
import difflib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

MISSING_EXTRA = 3
"""Exit status when the packages of the theory extra are not installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the paper.

    Args:
        arguments: command-line words; None for those of the process.

    Returns:
        0 iff every corrected claim holds and every misprint is refuted; 1 if not; 2 for bad
        arguments; 3 if a package is missing.
    """
    try:
        from theory import ledger, terminal
        from theory.claims import CLAIMS, EFFORTS, Context
    except ModuleNotFoundError as error:
        print(
            f"python -m theory needs the package {error.name!r}; "
            "install the theory extra: pip install 'taskrobust[theory]'",
            file=sys.stderr,
        )
        return MISSING_EXTRA
    parser = _parser(list(CLAIMS), list(EFFORTS))
    options = parser.parse_args(arguments)
    if options.list:
        terminal.print_claims(CLAIMS.values())
        return 0
    claims = [CLAIMS[key] for key in options.claim] if options.claim else list(CLAIMS.values())
    out = _writable_directory(parser, options.out)
    context = Context(EFFORTS[options.effort], options.seed)
    result = terminal.watch(claims, context)
    write_atomically(out / "ledger.json", ledger.to_json(result))
    write_atomically(out / "ledger.md", ledger.to_markdown(result))
    terminal.print_summary(result, out)
    return 0 if result.verified else 1


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part.

    Args:
        path: target in an existing directory.
        text: contents.

    Raises:
        OSError: the file cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
        type=_named("claim", claims, str.upper),
        help=f"only these claims: {', '.join(claims)}",
    )
    parser.add_argument(
        "--effort",
        metavar="NAME",
        default="default",
        type=_named("effort", efforts, str.lower),
        help=f"how much to measure: {', '.join(efforts)} (default: default)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    parser.add_argument("--out", type=Path, default=Path("runs/theory"), help="where to write")
    parser.add_argument("--list", action="store_true", help="list the claims and stop")
    return parser


def _named(kind: str, valid: list[str], fold: Callable[[str], str]) -> Callable[[str], str]:
    """An argparse type that accepts the valid names in any case and suggests the nearest."""

    def parse(text: str) -> str:
        name = fold(text)
        if name in valid:
            return name
        near = difflib.get_close_matches(name, valid, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(
            f"unknown {kind} {text!r}{hint} (known: {', '.join(valid)})"
        )

    return parse


def _writable_directory(parser: argparse.ArgumentParser, path: Path) -> Path:
    """Create the directory and prove that it can be written, before any work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        parser.error(f"argument --out: cannot write to {path}: {error.strerror}")
    return path


if __name__ == "__main__":
    sys.exit(main())
