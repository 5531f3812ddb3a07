"""Wall time of the ledger at each effort, each in a process of its own."""

import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

from theory.claims import EFFORTS


def report(console: Console, *, quick: bool) -> list[dict]:
    """Run `python -m theory` at every effort, print and return seconds and verdicts."""
    table = Table(title="The ledger, whole process")
    for column in ("effort", "seconds", "ratio to quick", "exit status"):
        table.add_column(column, justify="right")
    rows = []
    for name in EFFORTS:
        if name == "full" and quick:
            continue
        with tempfile.TemporaryDirectory() as out, console.status(f"ledger, {name} effort"):
            started = time.perf_counter()
            command = [sys.executable, "-m", "theory", "--effort", name, "--out", out]
            status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
            seconds = time.perf_counter() - started
        rows.append({"effort": name, "seconds": seconds, "exit_status": status})
        ratio = seconds / rows[0]["seconds"]
        table.add_row(name, f"{seconds:.1f}", f"{ratio:.1f}", str(status))
    console.print(table)
    return rows
