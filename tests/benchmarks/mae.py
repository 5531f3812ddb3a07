"""Multi-Modal Mask MAE's training step against a straightforward one: time, memory, loading.

`python -m tests.benchmarks.mae --out tests/benchmarks/results` records them for the device; it
should have the machine for itself. `--full` adds ViT-B at 224². On a GPU it also records images a
second and model FLOP utilisation of ViT-B in bfloat16.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks import mae_tables, reporting
from tests.benchmarks.mae_loading import images_per_second, nyuv2, rendered
from tests.benchmarks.mae_memory import step_memory
from tests.benchmarks.mae_steps import (
    AGAIN,
    AVERAGE,
    MINIMAX,
    Case,
    base,
    check_equal_losses,
    models,
    random_batch,
    small,
    steps,
)
from tests.benchmarks.mae_utilisation import utilisation
from tests.benchmarks.timing import CLOCKS, Spread, clock, interleaved

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "taskrobust")
CASES = {"cpu": (small(16), base(2)), "cuda": (small(256), base(128))}
"""The second only with `--full`."""
SECONDS = {"cpu": (120.0, 420.0), "cuda": (20.0, 40.0)}
"""About how long the steps of each are timed."""
QUICK_SECONDS = 20.0
PRECISION = {"cpu": None, "cuda": torch.bfloat16}
"""Of automatic mixed precision."""
LOADING_ROUNDS = 5
QUICK_LOADING_ROUNDS = 2


def measure(
    console: Console, device_type: str, *, threads: int, quick: bool, full: bool
) -> dict[str, Any]:
    """Time everything on a device, print tables, and return what `mae-<device>.json` holds.

    Args:
        console: where to print.
        device_type: "cpu" or "cuda".
        threads: of torch on the CPU.
        quick: few rounds, about a minute a case.
        full: ViT-B at 224², too.
    """
    began = time.monotonic()
    device = torch.device(device_type)
    torch.set_num_threads(threads)
    results = reporting.setting(device, threads, PACKAGES, quick=quick)
    results["command"] = _command(device, threads, quick=quick, full=full)
    console.print(reporting.heading(results), highlight=False)
    results["clock"] = clock(device.type, threads)
    cases = CASES[device.type] if full else CASES[device.type][:1]
    results["cases"] = [
        _case(console, case, device, results["clock"], QUICK_SECONDS if quick else seconds)
        for case, seconds in zip(cases, SECONDS[device.type], strict=False)
    ]
    results["memory"] = []
    for case in cases:
        with console.status(f"memory, {case.title}"):
            found = step_memory(case, device, PRECISION[device.type])
        results["memory"].append({"case": case.title, "MiB": found})
    results |= _loading(console, cases, results["cases"], quick=quick)
    if device.type == "cuda":
        results["utilisation"] = utilisation(console, device, quick=quick)
    results["seconds"] = time.monotonic() - began
    results["aims"] = mae_tables.judge(results)
    for table in mae_tables.tables(results):
        console.print(reporting.printable(table))
    return results


def write(results: dict[str, Any], out: Path) -> None:
    """Write the results and their tables to `out`, under names with the kind of device."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"mae-{results['device_type']}"
    (out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(mae_tables.markdown(results), encoding="utf-8")


def _case(
    console: Console, case: Case, device: torch.device, clock_name: str, seconds: float
) -> dict[str, Any]:
    """Times and ratios of all variants of one size, in about so many seconds."""
    with console.status(f"training steps, {case.title}"):
        ours, straightforward = models(case, device)
        batch = random_batch(case, device)
        difference = check_equal_losses(ours, straightforward, batch)
        sample, repeats = CLOCKS[clock_name], 5 if device.type == "cuda" else 1
        variants = steps(ours, straightforward, batch, precision=PRECISION[device.type])
        samples = {name: sample(step, repeats) for name, step in variants.items()}
        for run in samples.values():  # warm-up
            run()
        began = time.monotonic()
        for run in samples.values():
            run()
        rough = time.monotonic() - began
        rounds = int(np.clip(seconds / rough, 5, 200))
        found = interleaved(samples, rounds, warm=True)
    pairs = {**mae_tables.RATIOS, "noise": (AGAIN, AVERAGE)}
    return {
        "case": case.title,
        **asdict(case),
        "precision": str(PRECISION[device.type] or torch.float32).removeprefix("torch."),
        "relative_difference_of_losses": difference,
        "ms": {name: asdict(Spread.of(1e3 * times)) for name, times in found.items()},
        "images_per_second": case.batch / float(np.median(found[MINIMAX])),
        "ratio": {
            name: asdict(Spread.of(found[above] / found[below]))
            for name, (above, below) in pairs.items()
        },
    }


def _loading(
    console: Console, cases: tuple[Case, ...], measured: list[dict[str, Any]], *, quick: bool
) -> dict[str, Any]:
    """Rates of loading by case and source, beside those of the steps."""
    cores = os.cpu_count() or 1
    workers = tuple(sorted({0, 1, 2, cores // 2, cores}))
    rounds = QUICK_LOADING_ROUNDS if quick else LOADING_ROUNDS
    found = []
    with TemporaryDirectory() as name:
        real = nyuv2(Path(name))
        for case, steps_of_it in zip(cases, measured, strict=True):
            scenes = rendered(case, Path(name), quick=quick)
            for source in (scenes, *([real] if real else [])):
                with console.status(f"loading, {case.title}, {source.name}"):
                    rates = images_per_second(case, source.manifest, workers, rounds)
                found.append(
                    {
                        "case": case.title,
                        "source": source.name,
                        "rates": rates,
                        "step": steps_of_it["images_per_second"],
                    }
                )
    return {"loading": found, "real_data": real is not None}


def _command(device: torch.device, threads: int, *, quick: bool, full: bool) -> str:
    options = f"--device {device.type} --threads {threads}"
    flags = (" --quick" if quick else "") + (" --full" if full else "")
    return f"python -m tests.benchmarks.mae {options}{flags}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mae")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--full", action="store_true", help="ViT-B at 224², too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    options = parser.parse_args()
    results = measure(
        Console(),
        options.device,
        threads=options.threads,
        quick=options.quick,
        full=options.full,
    )
    write(results, options.out)


if __name__ == "__main__":
    main()
