"""What a balancer costs a training step: ratios to a plain sum of the losses, interleaved.

`python -m tests.benchmarks.balancers --out tests/benchmarks/results` records them for the device;
it should have the machine for itself. On a GPU the times are those between CUDA events, and every
balancer built with ``nonfinite="ignore"`` runs a step in which a synchronisation is an error.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from taskrobust.balancers import list_balancers
from tests.benchmarks import balancer_parts, balancer_tables, reporting
from tests.benchmarks.balancer_models import SIZES, MultiTask, Size, random_batch
from tests.benchmarks.balancer_steps import (
    BASE,
    SKETCH_SIZE,
    SKETCHED,
    STCH_NAME,
    all_steps,
    balancer_step,
    registered,
)
from tests.benchmarks.timing import CLOCKS, Spread, clock, interleaved

TASKS = (3, 9, 30, 100)
QUICK_TASKS = (9,)
CALL_TASKS = (9, 100)
PACKAGES = ("torch", "torchjd", "numpy", "taskrobust")

SLOW = 1.5
"""Ratio to the plain sum from which a variant takes part in fewer rounds."""


def measure(console: Console, device_type: str, *, threads: int, quick: bool) -> dict[str, Any]:
    """Time everything on a device, print tables, and return what `balancers-<device>.json` holds.

    Args:
        console: where to print.
        device_type: "cpu" or "cuda".
        threads: of torch on the CPU.
        quick: 9 tasks and few rounds, about a minute; all take about a quarter of an hour.
    """
    device = torch.device(device_type)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    results = _setting(device, threads, quick=quick)
    sample = CLOCKS[results["clock"]]
    console.print(reporting.heading(results), highlight=False)
    results["cases"] = [
        _case(console, model, tasks, device, sample, seconds=4 if quick else 40)
        for model in SIZES
        for tasks in (QUICK_TASKS if quick else TASKS)
    ]
    rounds = 15 if quick else 60
    with console.status("calls, accumulation, grouped risks"):
        results["calls"] = {
            str(tasks): _plain(balancer_parts.calls(tasks, device, sample, rounds))
            for tasks in CALL_TASKS
        }
        results["accumulation"] = _plain(balancer_parts.accumulation(device, sample, rounds))
        results["grouping"] = _plain(balancer_parts.grouping(device, sample, rounds))
        sketches = balancer_parts.sketching(device)
        results["sketches"] = {size: _plain(found) for size, found in sketches.items()}
    if device.type == "cuda":
        results["synchronisations"] = synchronisations(device)
    results["aims"] = balancer_tables.judge(results)
    for table in balancer_tables.tables(results):
        console.print(reporting.printable(table))
    return results


def write(results: dict[str, Any], out: Path) -> None:
    """Write the results and their tables to `out`, under names with the kind of device."""
    out.mkdir(parents=True, exist_ok=True)
    name = f"balancers-{results['device_type']}"
    (out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(balancer_tables.markdown(results), encoding="utf-8")


def synchronisations(device: torch.device) -> dict[str, str | None]:
    """For each balancer the synchronisation with the host that a step on a GPU makes, or None.

    Raises:
        RuntimeError: the check passes a balancer that reads its risks back, so it proves nothing.
    """
    size = SIZES["MLP"]
    model, batch = MultiTask(size, 9).to(device), random_batch(size, 9, device)

    def first(name: str, **options: Any) -> str | None:
        step = balancer_step(model, batch, registered(name, model, **options))
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return None

    if first("minimax", nonfinite="raise") is None:
        raise RuntimeError("the synchronisation of nonfinite='raise' has not been noticed")
    found = {name: first(name, nonfinite="ignore") for name in list_balancers()}
    sketched = first("gradnorm", nonfinite="ignore", sketch_size=SKETCH_SIZE)
    return {**found, SKETCHED: sketched}


def _case(
    console: Console,
    name: str,
    tasks: int,
    device: torch.device,
    sample: balancer_parts.Sample,
    *,
    seconds: float,
) -> dict[str, Any]:
    """Ratios of all variants on one model with so many tasks, in about so many seconds a half.

    Half the time is for variants that cost about a plain step, half for the others.
    """
    size: Size = SIZES[name]
    with console.status(f"{name}, T = {tasks}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*batching rule.*")  # vmap of attention
        model = MultiTask(size, tasks).to(device)
        steps = all_steps(model, random_batch(size, tasks, device))
        repeats = 5 if device.type == "cuda" else 1
        variants = {key: sample(step, repeats) for key, step in steps.items()}
        rough = {key: min(run(), run()) for key, run in variants.items()}
        slow = {key: t for key, t in rough.items() if t > SLOW * rough[BASE]}
        fast = sum(t for key, t in rough.items() if key not in slow)
        rounds = int(np.clip(seconds / (fast * repeats), 11, 400))
        share = seconds / max(len(slow), 1) / repeats
        rarely = {key: int(np.clip(share / t, 3, rounds)) for key, t in slow.items()}
        found = interleaved(variants, rounds, rarely=rarely, warm=True)
    return {
        "model": name,
        "tasks": tasks,
        "base_ms": asdict(Spread.of(1e3 * found[BASE])),
        "ratio": _compared(found, lambda seconds: seconds / found[BASE]),
        "extra_us": _compared(found, lambda seconds: 1e6 * (seconds - found[BASE])),
        "to_stch": _compared(found, lambda seconds: seconds / found[STCH_NAME]),
    }


def _compared(
    found: dict[str, np.ndarray], measure: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Spread of a comparison round by round, of every variant but the base."""
    compared = {name: measure(seconds) for name, seconds in found.items() if name != BASE}
    return _plain({name: Spread.of(values) for name, values in compared.items()})


def _plain(spreads: dict[str, Spread]) -> dict[str, Any]:
    return {name: asdict(spread) for name, spread in spreads.items()}


def _setting(device: torch.device, threads: int, *, quick: bool) -> dict[str, Any]:
    """Date, device, versions and dimensions."""
    return {
        **reporting.setting(device, threads, PACKAGES, quick=quick),
        "clock": clock(device.type, threads),
        "sizes": {name: asdict(size) for name, size in SIZES.items()},
        "parts": {
            "micro_batches": balancer_parts.MICRO_BATCHES,
            "tokens": balancer_parts.TOKENS,
            "groups": balancer_parts.GROUPS,
        },
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the balancer benchmark."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.balancers")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--quick", action="store_true", help="T = 9 only, few rounds")
    add_arguments(parser)
    options = parser.parse_args()
    results = measure(Console(), options.device, threads=options.threads, quick=options.quick)
    write(results, options.out)


if __name__ == "__main__":
    main()
