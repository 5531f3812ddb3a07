"""A run's folder: its configuration first, its result last, so that a finished run is read back."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.configuration import ConfigurationError
from experiments.records import RESULT, read
from taskrobust import __version__
from taskrobust._files import write_atomically

__all__ = [
    "CONFIGURATION",
    "BusyError",
    "finished",
    "provenance",
    "record",
    "release",
    "stage",
    "start",
]

CONFIGURATION = "configuration.yaml"

_LOCKS: dict[Path, FileLock] = {}
"""Of the runs that this process is at."""


class BusyError(ConfigurationError):
    """Another process is at a run."""


def finished(folder: Path, configuration: str) -> dict[str, Any] | None:
    """The result of a finished run of this configuration; None if it is to be run.

    Args:
        folder: of the run.
        configuration: all that the run depends on, as text.

    Raises:
        ConfigurationError: the folder holds a run of another configuration.
        RecordError: its result is damaged.
    """
    recorded = folder / CONFIGURATION
    if recorded.is_file() and recorded.read_text(encoding="utf-8") != configuration:
        raise ConfigurationError(
            f"{folder} holds a run of another configuration ({recorded}); choose another --out, or "
            "remove it"
        )
    path = folder / RESULT
    return read(path) if path.is_file() else None


def stage(folder: Path) -> str:
    """How far a run has come, for people: done, at a checkpoint, or nothing."""
    from taskrobust.trainer import last_complete_checkpoint  # records are read without torch

    if (folder / RESULT).is_file():
        return "done before"
    checkpoint = last_complete_checkpoint(folder / "checkpoints")
    return "" if checkpoint is None else f"goes on from {checkpoint.name}"


def start(folder: Path, configuration: str) -> None:
    """Make the folder of a run, say whose it is, and keep other processes out until it is recorded.

    Args:
        folder: of the run.
        configuration: all that it depends on, as text.

    Raises:
        BusyError: another process is at this run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _LOCKS.setdefault(folder.resolve(), FileLock(folder / ".lock", timeout=0))
    try:
        lock.acquire()  # the system releases it if the process is killed
    except Timeout:
        raise BusyError(
            f"{folder}: another process is at this run; wait for it, or choose another --out"
        ) from None
    write_atomically(folder / CONFIGURATION, configuration)


def record(folder: Path, result: dict[str, Any]) -> None:
    """Write the result of a run, which finishes it."""
    write_atomically(folder / RESULT, json.dumps(result, indent=1) + "\n")
    release(folder)


def release(folder: Path) -> None:
    """Let other processes have a run that this one has ended, or given up."""
    lock = _LOCKS.pop(folder.resolve(), None)
    if lock is not None:
        lock.release(force=True)
        Path(lock.lock_file).unlink(missing_ok=True)


def provenance(command: str, packages: Sequence[str]) -> dict[str, Any]:
    """What a number needs beside it: command, date, versions of taskrobust, Python and packages.

    In a git repository also its commit, and whether files differ from it.
    """
    return {
        "command": command,
        "git": _git_state(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "versions": {
            "taskrobust": __version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in packages},
        },
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the repository that this code lies in; None outside one, or without git."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str:
    """What a loaded package says of itself, which for torch names the build, or its metadata."""
    return getattr(sys.modules.get(package), "__version__", None) or version(package)
