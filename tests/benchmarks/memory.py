"""Memory that a forward and a backward pass take."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

MiB = 2**20


def passes_memory(
    forward: Callable[[], Tensor], leaves: list[Tensor], device: torch.device
) -> tuple[float, float]:
    """Bytes above what was there before: after the forward pass, and at most in both.

    Args:
        forward: gives the loss.
        leaves: whose gradients the backward pass makes.
        device: where all is.
    """
    return (_on_cuda if device.type == "cuda" else _on_cpu)(forward, leaves)


def _on_cpu(forward: Callable[[], Tensor], leaves: list[Tensor]) -> tuple[float, float]:  # noqa: ARG001
    """Bytes allocated after the forward pass, and at most, by torch's CPU allocator."""
    saved = _largest(forward, backward=False)[0]
    return saved, _largest(forward, backward=True)[1]


def _largest(forward: Callable[[], Tensor], *, backward: bool) -> tuple[float, float]:
    """Bytes at the end, the loss being held, and at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        loss = forward()
        if backward:
            loss.backward()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    total = peak = 0
    for _, change in changes:
        total += change
        peak = max(peak, total)
    del loss
    return total, peak


def _on_cuda(forward: Callable[[], Tensor], leaves: list[Tensor]) -> tuple[float, float]:
    """The same by the caching allocator."""
    forward().backward()  # workspaces of libraries stay, and are no activations
    for leaf in leaves:
        leaf.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = forward()
    saved = torch.cuda.memory_allocated() - before
    loss.backward()
    torch.cuda.synchronize()
    return saved, torch.cuda.max_memory_allocated() - before
