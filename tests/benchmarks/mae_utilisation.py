"""Images a second and model FLOP utilisation of ViT-B at 224² on a CUDA device, in bfloat16."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks.mae_flops import step_flops
from tests.benchmarks.mae_steps import (
    MINIMAX,
    STRAIGHTFORWARD,
    Case,
    base,
    models,
    random_batch,
    steps,
)
from tests.benchmarks.matrices import SIDES, matrix_rate
from tests.benchmarks.timing import Spread, interleaved, on_cuda

BATCHES = (1024, 512, 256, 128, 64, 32)
"""The first of which both models can take a step is measured, and half of it."""
STEPS = 5
"""Steps timed at once."""
COMPILED = ", compiled"


def utilisation(console: Console, device: torch.device, *, quick: bool) -> dict[str, Any]:
    """Speed of our step and the straightforward one, compiled and not, and the matrix rate."""
    rounds = 5 if quick else 20
    with console.status("bfloat16 matrix products"):
        rates = {str(side): matrix_rate(side, device, rounds) for side in SIDES}
    peak = max(rate["median"] for rate in rates.values())
    found: dict[str, Any] = {"matrix_tflops": rates, "cases": []}
    with console.status("largest batch"):
        largest = largest_batch(device)
    for case in (base(largest), base(largest // 2)):
        with console.status(f"utilisation, {case.title}"):
            seconds = _seconds(case, device, rounds)
        flops = step_flops(case)
        variants = {
            name: {
                "ms": asdict(Spread.of(1e3 * times)),
                "images_per_second": asdict(Spread.of(case.batch / times)),
                "utilisation": asdict(Spread.of(flops / times / 1e12 / peak)),
            }
            for name, times in seconds.items()
        }
        found["cases"].append({"case": case.title, "flops": flops, "variants": variants})
    return found


def largest_batch(device: torch.device) -> int:
    """The first of `BATCHES` whose steps fit into the memory of the device.

    Raises:
        RuntimeError: none does.
    """
    for batch in BATCHES:
        if _fits(base(batch), device):
            return batch
        torch.cuda.empty_cache()
    raise RuntimeError(f"ViT-B should fit into the device with {BATCHES[-1]} images; it does not")


def _fits(case: Case, device: torch.device) -> bool:
    try:
        variants = steps(
            *models(case, device), random_batch(case, device), precision=torch.bfloat16
        )
        for name in (STRAIGHTFORWARD, MINIMAX):
            variants[name]()
    except torch.OutOfMemoryError:
        return False
    return True


def _seconds(case: Case, device: torch.device, rounds: int) -> dict[str, np.ndarray]:
    """Of a step of ours with Minimax and of the straightforward one, by name."""
    batch = random_batch(case, device)
    ours, straightforward = models(case, device)
    found = {}
    for suffix in ("", COMPILED):
        if suffix:
            # In place, so that parameters and optimisers stay what they are.
            ours.compile(dynamic=False)
            straightforward.compile(dynamic=False)
        variants = steps(ours, straightforward, batch, precision=torch.bfloat16)
        samples = {}
        for name in (STRAIGHTFORWARD, MINIMAX):
            for _ in range(3):  # compilation, and the state of the optimiser
                variants[name]()
            samples[name + suffix] = on_cuda(variants[name], STEPS)
        found |= interleaved(samples, rounds)
    return found
