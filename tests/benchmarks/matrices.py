"""The rate of a device at products of matrices, which utilisation is a share of."""

from dataclasses import asdict
from typing import Any

import torch

from tests.benchmarks.timing import Spread, interleaved, on_cuda

SIDES = (4096, 8192, 16384)
"""Of the square matrices whose product sets the rate that utilisation is a share of."""


def matrix_rate(side: int, device: torch.device, rounds: int) -> dict[str, Any]:
    """TFLOP/s of products of square bfloat16 matrices."""
    left, right, out = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(3))
    run = on_cuda(lambda: torch.mm(left, right, out=out), 20)
    seconds = interleaved({"product": run}, rounds)["product"]
    return asdict(Spread.of(2 * side**3 / seconds / 1e12))
