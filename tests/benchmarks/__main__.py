"""`make bench`: times as ratios, all variants side by side in one run.

Every repeat times each variant once, in turn, so that a drift of the machine's speed hits all
alike; medians over the repeats are reported, and ratios pair by pair. The balancers alone:
``python -m tests.benchmarks.balancers``; PoS-BERT alone: ``python -m tests.benchmarks.pos_bert``;
Multi-Modal Mask MAE alone: ``python -m tests.benchmarks.mae``.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.benchmarks import balancers, descent_steps, ledger_efforts, mae, pos_bert, solver_table
from tests.benchmarks.timing import interleaved


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--quick", action="store_true", help="leave out the cases and efforts that take long"
    )
    balancers.add_arguments(parser)
    options = parser.parse_args()
    console = Console()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"
    console.print(machine, highlight=False)
    results = {"machine": machine, "date": time.strftime("%Y-%m-%d")}
    results["descent"] = _descent(console, options.repeats)
    results["solver"] = solver_table.report(console, quick=options.quick)
    results["ledger"] = ledger_efforts.report(console, quick=options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "theory.json").write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"written to {options.out / 'theory.json'}", highlight=False)
    balancers.write(
        balancers.measure(console, options.device, threads=options.threads, quick=options.quick),
        options.out,
    )
    pos_bert.write(
        pos_bert.measure(console, options.device, threads=options.threads, quick=options.quick),
        options.out,
    )
    mae.write(
        mae.measure(
            console,
            options.device,
            threads=options.threads,
            quick=options.quick,
            full=not options.quick,
        ),
        options.out,
    )


def _descent(console: Console, repeats: int) -> list[dict]:
    table = Table(title="Algorithm 1, max-linear: µs per step and instance (ratio to single)")
    table.add_column("T × d")
    for count in descent_steps.BATCHES:
        table.add_column("single" if count == 1 else f"batch of {count}", justify="right")
    rows = []
    for size in descent_steps.SIZES:
        batches = [n for n in descent_steps.BATCHES if n * size * size <= descent_steps.LARGEST]
        seconds = interleaved({str(n): descent_steps.stepper(size, n) for n in batches}, repeats)
        micro = {n: seconds[str(n)] / (n * descent_steps.steps(size)) * 1e6 for n in batches}
        cells = []
        for n in descent_steps.BATCHES:
            if n not in micro:
                cells.append("–")
                continue
            ratio = micro[n] / micro[1]
            note = (
                "" if n == 1 else f" ({np.median(ratio):.2f}, {ratio.min():.2f}–{ratio.max():.2f})"
            )
            cells.append(f"{np.median(micro[n]):.3g}{note}")
            rows.append(
                {
                    "size": size,
                    "instances": n,
                    "us_per_step_and_instance": float(np.median(micro[n])),
                    "ratio_to_single": [float(np.median(ratio)), ratio.min(), ratio.max()],
                }
            )
        table.add_row(f"{size} × {size}", *cells)
    console.print(table)
    return rows


if __name__ == "__main__":
    main()
