"""What the command lines of the upper floors share: names, directories, missing packages.

Nothing but the standard library is imported here, so that a missing extra can be reported.
"""

import argparse
import difflib
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

MISSING_EXTRA = 3
"""Exit status when the packages of an extra are not installed."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def printable() -> None:
    """Let a terminal without Unicode show question marks where it would otherwise end the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def report_missing_extra(command: str, extra: str, error: ModuleNotFoundError) -> int:
    """Say which package is missing and which extra brings it.

    Args:
        command: what was run, as typed.
        extra: name of the extra that has the packages of this command.
        error: what importing raised.

    Returns:
        The exit status to return.
    """
    print(
        f"{command} needs the package {error.name!r}; "
        f"install the {extra} extra: pip install 'taskrobust[{extra}]'",
        file=sys.stderr,
    )
    return MISSING_EXTRA


def named(kind: str, valid: Sequence[str], fold: Callable[[str], str]) -> Callable[[str], str]:
    """An argparse type that accepts the valid names, however written, and suggests the nearest.

    Args:
        kind: what the names are of, for the error.
        valid: the names.
        fold: maps what was typed to the spelling of the valid names.

    Returns:
        A function that returns the valid name or raises `argparse.ArgumentTypeError`.
    """

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


def writable_directory(parser: argparse.ArgumentParser, path: Path) -> Path:
    """Create the directory of ``--out`` and prove that it can be written, before any work.

    Args:
        parser: exits with status 2 and the reason if it cannot.
        path: the directory.

    Returns:
        The same path.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        parser.error(
            f"argument --out: cannot write to {path}: {error.strerror}; "
            "choose a directory that can be created or written to"
        )
    return path


def seed(text: str) -> int:
    """An argparse type for seeds: integers of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"should be at least 0; found {value}")
    return value
