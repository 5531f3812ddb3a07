"""Memory of a pre-training step beyond parameters and the state of the optimiser."""

import torch

from taskrobust import Average
from tests.benchmarks.mae_steps import (
    AVERAGE,
    MODALITIES,
    STRAIGHTFORWARD,
    Case,
    balanced,
    models,
    random_batch,
    straightforward_loss,
)
from tests.benchmarks.memory import MiB, passes_memory


def step_memory(
    case: Case, device: torch.device, precision: torch.dtype | None
) -> dict[str, dict[str, float]]:
    """MiB that forward and backward pass take above what was there before.

    Returns:
        By model (`STRAIGHTFORWARD`, `AVERAGE`): "saved" for the backward pass; "peak" of both
        passes, the gradients made by then included; and "gradients", the same for both.
    """
    ours, straightforward = models(case, device)
    batch = random_batch(case, device)
    balancer = Average(len(MODALITIES), task_names=MODALITIES).to(device)
    found = {}
    for name, model, loss in (
        (STRAIGHTFORWARD, straightforward, straightforward_loss),
        (AVERAGE, ours, balanced(balancer)),
    ):
        leaves = list(model.parameters())

        def forward(model=model, loss=loss) -> torch.Tensor:
            with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                return loss(model, batch)

        saved, peak = passes_memory(forward, leaves, device)
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        found[name] = {
            "saved": saved / MiB,
            "peak": peak / MiB,
            "gradients": sum(g.numel() * g.element_size() for g in gradients) / MiB,
        }
        model.zero_grad()
    return found
