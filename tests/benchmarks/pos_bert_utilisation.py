"""Tokens a second and model FLOP utilisation of BERT-base on a CUDA device, in bfloat16."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich.console import Console

from tests.benchmarks.matrices import SIDES, matrix_rate
from tests.benchmarks.pos_bert_flops import step_flops
from tests.benchmarks.pos_bert_steps import (
    MINIMAX,
    STOCK,
    Case,
    Step,
    masked_batch,
    models,
    steps,
)
from tests.benchmarks.timing import Spread, interleaved, on_cuda

CASES = (
    Case(12, 256, sequence=128, predictions=20, full=True),
    Case(12, 64, sequence=512, predictions=77, full=True),
)
"""Both of 32,768 tokens."""
STEPS = 5
"""Steps timed at once."""


def utilisation(console: Console, device: torch.device, *, quick: bool) -> dict[str, Any]:
    """Speed of our step and the stock one, compiled and not, and the device's matrix rate."""
    rounds = 5 if quick else 20
    with console.status("bfloat16 matrix products"):
        rates = {str(side): matrix_rate(side, device, rounds) for side in SIDES}
    peak = max(rate["median"] for rate in rates.values())
    found: dict[str, Any] = {"matrix_tflops": rates, "cases": []}
    for case in CASES:
        with console.status(f"utilisation, {case.name}"):
            seconds = _seconds(case, device, rounds)
        tokens, flops = case.batch * case.sequence, step_flops(case)
        variants = {
            name: {
                "ms": asdict(Spread.of(1e3 * times)),
                "tokens_per_second": asdict(Spread.of(tokens / times)),
                # The stock step computes more; only what the loss needs counts as the model's.
                "utilisation": asdict(Spread.of(flops / times / 1e12 / peak)),
            }
            for name, times in seconds.items()
        }
        found["cases"].append({"case": case.name, "tokens": tokens, "flops": flops} | variants)
    return found


def _seconds(case: Case, device: torch.device, rounds: int) -> dict[str, np.ndarray]:
    """Of our step with Minimax and of the stock one, by name, "compiled" in it if so."""
    batch = masked_batch(case, device)
    ours, stock = models(case, device)
    found = {}
    for compiled in (False, True):
        if compiled:
            # In place, so that parameters and optimisers stay what they are.
            ours.compile(dynamic=False)
            stock.compile(dynamic=False)
        variants: dict[str, Step] = steps(ours, stock, batch, precision=torch.bfloat16)
        samples = {}
        for name in (STOCK, MINIMAX):
            for _ in range(3):  # compilation, and the state of the optimiser
                variants[name]()
            samples[f"{name}, compiled" if compiled else name] = on_cuda(variants[name], STEPS)
        found |= interleaved(samples, rounds)
    return found
