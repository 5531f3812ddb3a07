"""Models with one shared trunk and a head a task, on generated data, to measure steps on."""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from experiments.configuration import strict

__all__ = ["Batch", "MLPTrunk", "SharedTrunk", "TransformerTrunk", "TrunkSizes", "generate"]


Positive = Annotated[int, Field(ge=1)]


@dataclass(config=strict, kw_only=True)
class MLPTrunk:
    """A trunk of linear layers and ReLU.

    Attributes:
        kind: tells it from others, in presets and tables.
        batch: examples a step.
        inputs: numbers an example.
        width: outputs of every layer.
        depth: number of layers.
        classes: outputs of every head, a linear layer.
    """

    kind: Literal["MLP"] = "MLP"
    batch: Positive = 128
    inputs: Positive = 256
    width: Positive = 256
    depth: Positive = 4
    classes: Positive = 32

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the targets of one task."""
        return (self.batch,)

    def build(self) -> tuple[nn.Module, nn.Linear, nn.Linear]:
        """The trunk, its first layer and its last."""
        sizes = [self.inputs, *[self.width] * self.depth]
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        parts = [part for layer in layers for part in (layer, nn.ReLU())]
        return nn.Sequential(*parts), layers[0], layers[-1]


@dataclass(config=strict, kw_only=True)
class TransformerTrunk:
    """A trunk of pre-norm transformer blocks; its heads predict at every token.

    Attributes:
        kind: tells it from others, in presets and tables.
        batch: sequences a step.
        length: tokens a sequence.
        inputs: numbers a token, embedded by a linear layer.
        width: numbers a token inside; the feed-forward part has four times as many.
        heads: attention heads.
        depth: number of blocks.
        classes: outputs of every task's head, a linear layer.
    """

    kind: Literal["transformer"] = "transformer"
    batch: Positive = 4
    length: Positive = 32
    inputs: Positive = 64
    width: Positive = 128
    heads: Positive = 4
    depth: Positive = 3
    classes: Positive = 32

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the targets of one task."""
        return (self.batch, self.length)

    def build(self) -> tuple[nn.Module, nn.Linear, nn.Linear]:
        """The trunk, its first layer and its last."""
        embedding = nn.Linear(self.inputs, self.width)
        blocks = [_Block(self.width, self.heads) for _ in range(self.depth)]
        return nn.Sequential(embedding, *blocks), embedding, blocks[-1].down


TrunkSizes = MLPTrunk | TransformerTrunk


class Batch(NamedTuple):
    """What one step sees: every example has a target for every task."""

    inputs: Tensor  # [..., inputs]
    targets: Tensor  # integer [T, ...]
    counts: Tensor  # [T], targets a task


class SharedTrunk(nn.Module):
    """A shared trunk and T linear heads.

    Attributes:
        trunk: maps inputs to the features all heads see.
        heads: one linear layer a task.
        first_layer: linear layer at the bottom of the trunk.
        last_shared: linear layer at its top, where GradNorm measures gradients.
    """

    def __init__(self, sizes: TrunkSizes, num_tasks: int) -> None:
        super().__init__()
        self.trunk, self.first_layer, self.last_shared = sizes.build()
        self.heads = nn.ModuleList(nn.Linear(sizes.width, sizes.classes) for _ in range(num_tasks))

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.heads)

    def head_losses(self, features: Tensor, targets: Tensor) -> list[Tensor]:
        """Mean cross-entropy of every task, in nats, from the features of one forward pass."""
        return [
            functional.cross_entropy(head(features).flatten(0, -2), target.flatten())
            for head, target in zip(self.heads, targets, strict=True)
        ]

    def losses(self, batch: Batch) -> list[Tensor]:
        """Task losses from one forward pass of the trunk; each goes through its own head only."""
        return self.head_losses(self.trunk(batch.inputs), batch.targets)

    def forward(self, batch: Batch) -> Tensor:
        """Task losses ``[T]`` from one forward pass of the trunk."""
        return torch.stack(self.losses(batch))


def generate(
    sizes: TrunkSizes, num_tasks: int, seed: int, device: torch.device
) -> tuple[SharedTrunk, Batch]:
    """A model and a batch; the same for the same arguments.

    Args:
        sizes: of the trunk and the batch.
        num_tasks: number of tasks T.
        seed: of initialisation, inputs and targets.
        device: where both go.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SharedTrunk(sizes, num_tasks)
        inputs = torch.randn(*sizes.shape, sizes.inputs)
        targets = torch.randint(sizes.classes, (num_tasks, *sizes.shape))
    counts = torch.full((num_tasks,), float(targets[0].numel()))
    batch = Batch(inputs.to(device), targets.to(device), counts.to(device))
    return model.to(device), batch


class _Block(nn.Module):
    """Self-attention and feed-forward, each after a layer norm, with residual connections.

    Attention is written out, so that every matrix product is one that the FLOP counter knows.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[batch, length, width]`` to tokens of the same shape."""
        tokens = tokens + self.project(self._attend(self.qkv(self.attention_norm(tokens))))
        mixed: Tensor = self.down(functional.gelu(self.up(self.norm(tokens))))
        return tokens + mixed

    def _attend(self, packed: Tensor) -> Tensor:
        batch, length, _ = packed.shape
        split = packed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind()
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        mixed: Tensor = scores.softmax(-1) @ values
        return mixed.transpose(-2, -3).flatten(-2)
