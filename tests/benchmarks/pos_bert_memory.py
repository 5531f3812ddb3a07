"""Memory of the pre-training heads alone: forward and backward from given hidden states."""

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from tests.benchmarks.memory import MiB, passes_memory
from tests.benchmarks.pos_bert_steps import (
    Case,
    masked_batch,
    models,
    plain_loss,
    stock_batch,
    stock_loss,
)


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
        saved, peak = passes_memory(
            lambda m=model, f=loss, b=given: f(m, b), [hidden, *model.parameters()], device
        )
        gradients = [p.grad for p in model.parameters()] + [hidden.grad]
        found[name] = {
            "saved": saved / MiB,
            "peak": peak / MiB,
            "gradients": sum(g.numel() * g.element_size() for g in gradients) / MiB,
        }
        hidden.grad = None
    return found
