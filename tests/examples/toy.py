"""What the examples train: a small network on three tasks, one hard and one rare."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

TASKS = ("common", "noisy", "rare")
FEATURES, CLASSES = 6, 4


class Examples(Dataset):
    """Classification examples, each of one task; a third of the noisy task's labels are wrong."""

    def __init__(self, size: int = 512, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        shares = torch.tensor([0.7, 0.26, 0.04])
        self.task = torch.multinomial(shares, size, replacement=True, generator=generator)
        features = torch.randn(size, FEATURES, generator=generator)
        self.features = features.to(dtype)
        scorers = torch.randn(len(TASKS), FEATURES, CLASSES, generator=generator)
        label = torch.einsum("nf,nfc->nc", features, scorers[self.task]).argmax(dim=1)
        random = torch.randint(CLASSES, (size,), generator=generator)
        wrong = (self.task == 1) & (torch.rand(size, generator=generator) < 1 / 3)
        self.label = torch.where(wrong, random, label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int | Tensor) -> dict[str, Tensor]:
        """One example, or a batch for a tensor of indices."""
        columns = {"features": self.features, "labels": self.label, "tasks": self.task}
        return {name: column[index] for name, column in columns.items()}


def network(dropout: float = 0.0) -> nn.Module:
    """Logits ``[N, CLASSES]`` from features ``[N, FEATURES]``."""
    return nn.Sequential(
        nn.Linear(FEATURES, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, CLASSES)
    )
