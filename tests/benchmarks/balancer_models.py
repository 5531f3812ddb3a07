"""Models with a trunk that all tasks share and a head for each: what the balancers train."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class MlpSize:
    """Dimensions of a multilayer perceptron and its data."""

    inputs: int = 256
    width: int = 512
    layers: int = 3
    classes: int = 10
    batch: int = 128


@dataclass(frozen=True)
class TransformerSize:
    """Dimensions of a transformer encoder (pre-norm, mean over tokens) and its data."""

    inputs: int = 1_000  # vocabulary
    width: int = 128
    layers: int = 3
    attention_heads: int = 4
    feedforward: int = 512
    sequence: int = 32
    classes: int = 10
    batch: int = 32


Size = MlpSize | TransformerSize
SIZES: dict[str, Size] = {"MLP": MlpSize(), "transformer": TransformerSize()}


class MultiTask(nn.Module):
    """A shared trunk and T linear classifiers, each with labels of its own for every example.

    Attributes:
        trunk: maps inputs to features ``[B, width]``.
        shared: the last linear layer of the trunk.
        norm: its last normalisation, which comes after that; None if there is none.
        heads: T modules, each from features to its logits ``[B, classes]``.
    """

    def __init__(self, size: Size, num_tasks: int) -> None:
        super().__init__()
        self.norm: nn.LayerNorm | None = None
        if isinstance(size, MlpSize):
            self.trunk, self.shared = _mlp(size)
        else:
            self.trunk = _Encoder(size)
            self.shared, self.norm = self.trunk.layers[-1].linear2, self.trunk.norm
        self.heads = nn.ModuleList(nn.Linear(size.width, size.classes) for _ in range(num_tasks))
        self.num_tasks = num_tasks

    def task_losses(
        self, features: Tensor, labels: Tensor, reduction: str = "mean"
    ) -> list[Tensor]:
        """T cross-entropies of features and labels ``[T, B]``, 0-dim; "none" gives ``[B]``."""
        return [
            functional.cross_entropy(head(features), targets, reduction=reduction)
            for head, targets in zip(self.heads, labels, strict=True)
        ]

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Task risks ``[T]``."""
        return torch.stack(self.task_losses(self.trunk(inputs), labels))


class _Encoder(nn.Module):
    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.inputs, size.width)
        self.position = nn.Parameter(torch.zeros(size.sequence, size.width))
        layers = [
            nn.TransformerEncoderLayer(
                size.width,
                size.attention_heads,
                size.feedforward,
                dropout=0.0,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(size.layers)
        ]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(size.width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens) + self.position
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden).mean(1)


def _mlp(size: MlpSize) -> tuple[nn.Sequential, nn.Linear]:
    parts: list[nn.Module] = []
    for i in range(size.layers):
        parts += [nn.Linear(size.width if i else size.inputs, size.width), nn.ReLU()]
    last = parts[-2]
    assert isinstance(last, nn.Linear)
    return nn.Sequential(*parts), last


def random_batch(size: Size, num_tasks: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs, and labels ``[T, B]``, from torch's random state."""
    labels = torch.randint(size.classes, (num_tasks, size.batch), device=device)
    if isinstance(size, MlpSize):
        return torch.randn(size.batch, size.inputs, device=device), labels
    return torch.randint(size.inputs, (size.batch, size.sequence), device=device), labels
