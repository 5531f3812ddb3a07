"""Memory of the pre-training heads alone: forward and backward from given hidden states."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tests.benchmarks.pos_bert_steps import (
    Case,
    masked_batch,
    models,
    plain_loss,
    stock_batch,
    stock_loss,
)

MiB = 2**20


class _Encoded(nn.Module):
    """In the place of the encoder: hidden states that are there already."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
        return BaseModelOutputWithPoolingAndCrossAttentions(self.hidden, self.hidden[:, 0])


def head_memory(case: Case, device: torch.device) -> dict[str, dict[str, float]]:
    """MiB that the heads of the stock model and of ours hold, above what was there before.

    Returns:
        By model ("stock", "ours"): "saved" for the backward pass; "peak" of both passes, the
        gradients made by then included; and "gradients", which are the same for both.
    """
    ours, stock = models(Case(1, case.batch), device)
    batch = masked_batch(case, device)
    shape = (case.batch, case.sequence, ours.config.hidden_size)
    hidden = torch.randn(shape, device=device, requires_grad=True)
    found = {}
    for name, model, loss, given in (
        ("stock", stock, stock_loss, stock_batch(batch)),
        ("ours", ours, plain_loss, batch),
    ):
        model.bert = _Encoded(hidden)
        measure = _on_cuda if device.type == "cuda" else _on_cpu
        saved, peak = measure(
            lambda m=model, f=loss, b=given: f(m, b), [hidden, *model.parameters()]
        )
        gradients = [p.grad for p in model.parameters()] + [hidden.grad]
        found[name] = {
            "saved": saved / MiB,
            "peak": peak / MiB,
            "gradients": sum(g.numel() * g.element_size() for g in gradients) / MiB,
        }
        hidden.grad = None
    return found


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
