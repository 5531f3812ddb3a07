"""Which tokens are visible: a pure function of (seed, duplicate, index).

Nothing random is carried along: masks do not depend on workers, ranks or restarts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.mae.configuration import Masking, ModelSize

__all__ = ["TokenMasking", "hidden_tokens", "sample_visible"]


@dataclass(frozen=True)
class TokenMasking:
    """Draws the visible tokens of samples, each by its own generator.

    Args:
        tokens: number of tokens of each modality, in the order of the model.
        visible: tokens the encoder sees, of all modalities together.
        concentration: α of the Dirichlet distribution of the modalities' shares.
        seed: of all masks.

    Raises:
        ValueError: more visible tokens than there are.
    """

    tokens: tuple[int, ...]
    visible: int
    concentration: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.visible <= sum(self.tokens):
            raise ValueError(
                f"`visible` should be from 1 to {sum(self.tokens)}, the number of tokens; "
                f"found {self.visible}"
            )
        if self.concentration <= 0:
            raise ValueError(f"`concentration` should be positive; found {self.concentration}")

    @classmethod
    def of(cls, masking: Masking, size: ModelSize) -> "TokenMasking":
        """The masking of a configuration, for a model of a size."""
        tokens = (size.patches,) * len(size.modalities)
        return cls(tokens, masking.visible, masking.concentration, masking.seed)

    def sample(self, duplicate: int, index: int) -> NDArray[np.int64]:
        """Visible tokens ``[visible]`` of a sample, in ascending order.

        Args:
            duplicate: which of the sample's masks, such as the epoch.
            index: of the sample in its data set.
        """
        rng = np.random.default_rng([self.seed, duplicate, index])
        return sample_visible(rng, self.tokens, self.visible, self.concentration)

    def batch(self, samples: Iterable[tuple[int, int]]) -> dict[str, Tensor]:
        """Masks of a batch, as the model takes them.

        Args:
            samples: (duplicate, index) of each.

        Returns:
            ``ids_keep``, int64 ``[B, visible]``, and ``mask``, bool ``[B, N]``, True where hidden.
        """
        drawn = np.stack([self.sample(duplicate, index) for duplicate, index in samples])
        ids_keep = torch.from_numpy(drawn)
        return {"ids_keep": ids_keep, "mask": hidden_tokens(ids_keep, sum(self.tokens))}


def hidden_tokens(ids_keep: Tensor, total: int) -> Tensor:
    """Bool ``[B, total]``, False at `ids_keep` ``[B, visible]`` and True elsewhere."""
    mask = torch.ones(len(ids_keep), total, dtype=torch.bool, device=ids_keep.device)
    return mask.scatter(1, ids_keep, False)


def sample_visible(
    rng: np.random.Generator, tokens: tuple[int, ...], visible: int, concentration: float
) -> NDArray[np.int64]:
    """Visible tokens of one sample (MultiMAE's sampling).

    Shares of the modalities are drawn from a symmetric Dirichlet distribution; each modality has
    its rounded share of uniformly random candidates. If rounding leaves a candidate too many, a
    random one is dropped; if one is missing, a random other token is taken.

    Args:
        rng: draws everything.
        tokens: number of tokens of each modality.
        visible: tokens to be chosen, exactly.
        concentration: α of the Dirichlet distribution.

    Returns:
        ``[visible]`` ids into the concatenated tokens, in ascending order.
    """
    shares = rng.dirichlet(np.full(len(tokens), concentration))
    noise = rng.random(sum(tokens))
    priority = rng.random(sum(tokens))
    start = 0
    for count, wanted in zip(tokens, np.round(visible * shares), strict=True):
        candidates = start + np.argsort(noise[start : start + count])[: int(wanted)]
        priority[candidates] -= 1.0  # before all others
        start += count
    chosen: NDArray[np.int64] = np.sort(np.argsort(priority)[:visible])
    return chosen
