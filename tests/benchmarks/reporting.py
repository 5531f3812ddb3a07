"""What all benchmarks report beside their numbers, and how tables are shown and written."""

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table as RichTable

Results = dict[str, Any]


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]]


def setting(
    device: torch.device, threads: int, packages: Iterable[str], *, quick: bool
) -> dict[str, Any]:
    """Date, device, threads, load and versions; call it before anything is timed."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device_type": device.type,
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "quick": quick,
        "versions": {"python": platform.python_version(), **versions(packages)},
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def device_name(device: torch.device) -> str:
    """What was measured on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def heading(results: Results) -> str:
    """Where and with what it was measured, in one line."""
    found = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    load = "" if results["load"] is None else f", load {results['load']:.1f} before"
    return f"{results['date']}: {results['device']}, {results['threads']} thread(s){load}, {found}"


def shown(spread: dict[str, Any]) -> str:
    """Median and quartiles of a `timing.Spread` as data."""
    digits = 3 if spread["median"] < 10 else 1
    low, high = spread["quartiles"]
    return f"{spread['median']:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def printable(table: Table) -> RichTable:
    """A table for the terminal."""
    found = RichTable(title=table.title)
    for i, column in enumerate(table.columns):
        found.add_column(column, justify="right" if i else "left")
    for row in table.rows:
        found.add_row(*row)
    return found


def section(table: Table) -> str:
    """A table in Markdown under its title."""
    lines = [f"## {table.title}", "", _line(table.columns)]
    lines.append("|" + "|".join([" --- ", *(" ---: " for _ in table.columns[1:])]) + "|")
    return "\n".join(lines + [_line(row) for row in table.rows])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
