"""PoS-BERT's training step against transformers' stock pre-training model: time and memory.

`python -m tests.benchmarks.pos_bert --out tests/benchmarks/results` records both for the device;
it should have the machine for itself. On a GPU it also records tokens a second and model FLOP
utilisation of BERT-base in bfloat16.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks import pos_bert_tables, reporting
from tests.benchmarks.pos_bert_memory import head_memory
from tests.benchmarks.pos_bert_steps import (
    AGAIN,
    MEAN,
    MINIMAX,
    STOCK,
    Case,
    check_equal_losses,
    masked_batch,
    models,
    steps,
)
from tests.benchmarks.pos_bert_utilisation import utilisation
from tests.benchmarks.timing import CLOCKS, Spread, clock, interleaved

PACKAGES = ("torch", "transformers", "numpy", "taskrobust")

"""Clocks by name; on one thread the CPU's own, which other processes hardly disturb."""
CPU_CASES = {Case(2, 4): 120.0, Case(12, 4): 420.0}
"""Sizes of the step and about how many seconds each is measured."""
CUDA_CASES = {Case(2, 32): 20.0, Case(12, 32): 40.0}
QUICK_SECONDS = 25.0
PRECISION = {"cpu": None, "cuda": torch.bfloat16}
"""Of automatic mixed precision."""
MEMORY = Case(1, 32)
"""Instances whose heads are measured; the encoder takes no part."""
QUICK_MEMORY = Case(1, 4)


def measure(console: Console, device_type: str, *, threads: int, quick: bool) -> dict[str, Any]:
    """Time everything on a device, print tables, and return what `pos-bert-<device>.json` holds.

    Args:
        console: where to print.
        device_type: "cpu" or "cuda".
        threads: of torch on the CPU.
        quick: two layers, few rounds and a small batch for the memory, about a minute; all take
            about ten.
    """
    began = time.monotonic()
    device = torch.device(device_type)
    torch.set_num_threads(threads)
    results = reporting.setting(device, threads, PACKAGES, quick=quick)
    results["command"] = f"python -m tests.benchmarks.pos_bert {_options(device, threads, quick)}"
    console.print(reporting.heading(results), highlight=False)
    results["clock"] = clock(device.type, threads)
    cases = CUDA_CASES if device.type == "cuda" else CPU_CASES
    results["cases"] = [
        _case(console, case, device, results["clock"], QUICK_SECONDS if quick else seconds)
        for case, seconds in cases.items()
        if not quick or case.layers == 2
    ]
    memory = QUICK_MEMORY if quick else MEMORY
    with console.status("memory of the heads"):
        results["memory"] = {"case": asdict(memory), "MiB": head_memory(memory, device)}
    if device.type == "cuda":
        results["utilisation"] = utilisation(console, device, quick=quick)
    results["seconds"] = time.monotonic() - began
    results["aims"] = pos_bert_tables.judge(results)
    for table in pos_bert_tables.tables(results):
        console.print(reporting.printable(table))
    return results


def write(results: dict[str, Any], out: Path) -> None:
    """Write the results and their tables to `out`, under names with the kind of device."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"pos-bert-{results['device_type']}"
    (out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(pos_bert_tables.markdown(results), encoding="utf-8")


def _case(
    console: Console, case: Case, device: torch.device, clock_name: str, seconds: float
) -> dict[str, Any]:
    """Times and ratios of all variants of one size, in about so many seconds."""
    with console.status(f"training steps, {case.name}"):
        ours, stock = models(case, device)
        batch = masked_batch(case, device)
        difference = check_equal_losses(ours, stock, batch)
        sample, repeats = CLOCKS[clock_name], 5 if device.type == "cuda" else 1
        variants = steps(ours, stock, batch, precision=PRECISION[device.type])
        samples = {name: sample(step, repeats) for name, step in variants.items()}
        for run in samples.values():  # warm-up
            run()
        began = time.monotonic()
        for run in samples.values():
            run()
        rough = time.monotonic() - began
        rounds = int(np.clip(seconds / rough, 5, 200))
        found = interleaved(samples, rounds, warm=True)
    return {
        "case": case.name,
        **asdict(case),
        "precision": str(PRECISION[device.type] or torch.float32).removeprefix("torch."),
        "relative_difference_of_losses": difference,
        "ms": {name: asdict(Spread.of(1e3 * times)) for name, times in found.items()},
        "ratio": {
            "stock": asdict(Spread.of(found[STOCK] / found[MINIMAX])),
            "balancing": asdict(Spread.of(found[MINIMAX] / found[MEAN])),
            "noise": asdict(Spread.of(found[AGAIN] / found[MEAN])),
        },
    }


def _options(device: torch.device, threads: int, quick: bool) -> str:
    return f"--device {device.type} --threads {threads}" + (" --quick" if quick else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pos_bert")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--quick", action="store_true", help="two layers only, few rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    options = parser.parse_args()
    results = measure(Console(), options.device, threads=options.threads, quick=options.quick)
    write(results, options.out)


if __name__ == "__main__":
    main()
