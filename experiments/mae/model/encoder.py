"""The encoder that all modalities and tasks share: a ViT on tokens of several modalities."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from experiments.mae.configuration import ModelSize
from experiments.mae.model.embeddings import embedding
from experiments.mae.model.inputs import grid_of

__all__ = ["LAYER_NORM", "MultiModalEncoder", "blocks"]

LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


class MultiModalEncoder(nn.Module):
    """Embeddings of the modalities, a learned global token and pre-norm blocks.

    Nothing but its projection tells the encoder which modality a token is of. The global token has
    no position and comes first, as the class token of timm's and transformers' ViTs (where it is
    makes no difference to self-attention). There is no final LayerNorm.

    Args:
        size: modalities, widths, layers.
        drop_path: rate of stochastic depth in the last block, rising linearly from 0 in the first;
            for fine-tuning.
    """

    def __init__(self, size: ModelSize, drop_path: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.embeddings = nn.ModuleDict({m.name: embedding(m, size) for m in size.modalities})
        self.global_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.blocks = blocks(size.width, size.heads, size.layers, size.mlp_ratio, drop_path)

    @property
    def last_linear(self) -> nn.Linear:
        """The last linear map that all tasks share."""
        last: Any = self.blocks[-1]
        found: nn.Linear = last.mlp.fc2
        return found

    def init_tokens(self) -> None:
        """Draw the global token."""
        trunc_normal_(self.global_token, std=0.02)

    def embed(self, modalities: Mapping[str, Tensor]) -> Tensor:
        """Tokens ``[B, N, width]`` of the given modalities, in the order of the configuration.

        Args:
            modalities: any of those of the configuration, by name, as
                `experiments.mae.model.inputs.prepare` returns them.

        Raises:
            ValueError: as `experiments.mae.model.inputs.grid_of`.
        """
        grid_of(self.size, modalities)
        given = [name for name in self.size.names if name in modalities]
        return torch.cat([self.embeddings[name](modalities[name]) for name in given], dim=1)

    def forward(self, modalities: Mapping[str, Tensor], ids_keep: Tensor | None = None) -> Tensor:
        """Encode all tokens, or the visible ones.

        Args:
            modalities: as in `embed`.
            ids_keep: ``[B, K]`` visible tokens; None: all.

        Returns:
            ``[B, 1 + K, width]``, the global token first, then tokens in the order of `ids_keep`.
        """
        tokens = self.embed(modalities)
        if ids_keep is not None:
            tokens = tokens.gather(1, ids_keep[..., None].expand(-1, -1, tokens.shape[-1]))
        encoded: Tensor = self.blocks(self._started(tokens))
        return encoded

    def states(self, modalities: Mapping[str, Tensor]) -> list[Tensor]:
        """Outputs ``[B, 1 + N, width]`` of all blocks on all tokens, the global token first.

        Args:
            modalities: as in `embed`.
        """
        states = [self._started(self.embed(modalities))]
        for block in self.blocks:
            states.append(block(states[-1]))
        return states[1:]

    def _started(self, tokens: Tensor) -> Tensor:
        """Tokens with the global one before them."""
        start = self.global_token.to(tokens.dtype).expand(len(tokens), -1, -1)
        return torch.cat([start, tokens], dim=1)


def blocks(
    width: int, heads: int, layers: int, mlp_ratio: float, drop_path: float = 0.0
) -> nn.Sequential:
    """Pre-norm transformer blocks: biases everywhere, GELU, LayerNorm ε 1e-6.

    Args:
        width: of tokens.
        heads: of attention.
        layers: number of blocks.
        mlp_ratio: hidden width of the MLPs over `width`.
        drop_path: rate of stochastic depth in the last block.
    """
    rates = torch.linspace(0, drop_path, layers, device="cpu").tolist()
    return nn.Sequential(
        *(
            Block(width, heads, mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=LAYER_NORM)
            for rate in rates
        )
    )
