"""One decoder for each target: its patches ask all visible tokens, then each other."""

import torch
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

from experiments.mae.configuration import ImageModality, LabelModality, ModelSize
from experiments.mae.model.encoder import LAYER_NORM, blocks
from experiments.mae.model.positions import Positions

__all__ = ["CrossAttentionDecoder"]


class CrossAttentionDecoder(nn.Module):
    """Reconstructs the patches of one modality from the visible tokens of all.

    The tokens of the encoder are projected and put back to their places among mask tokens; all get
    the embedding of their modality and of their position. The places of the target, visible ones
    too, attend to the visible tokens and the global token (which has neither embedding), without a
    residual connection from the queries; an MLP and self-attention over the target follow, and a
    linear map to the pixels of a patch, without a LayerNorm before it.

    Args:
        size: modalities and widths.
        target: the modality to be reconstructed.
    """

    def __init__(self, size: ModelSize, target: ImageModality | LabelModality) -> None:
        super().__init__()
        width, hidden = size.decoder_width, int(size.decoder_width * size.mlp_ratio)
        self.place = size.names.index(target.name)
        """Of the target among the modalities."""
        self.outputs = _outputs(target)
        """Channels or classes of a pixel of the target."""
        self.project = nn.Linear(size.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.modalities = nn.Parameter(torch.empty(len(size.modalities), 1, width))
        self.positions = Positions(size.grid, width, "bilinear")
        self.norm_queries = LAYER_NORM(width)
        self.norm_context = LAYER_NORM(width)
        self.attention = nn.MultiheadAttention(width, size.decoder_heads, batch_first=True)
        self.norm = LAYER_NORM(width)
        self.mlp = Mlp(width, hidden)
        self.blocks = blocks(width, size.decoder_heads, size.decoder_layers, size.mlp_ratio)
        self.head = nn.Linear(width, _pixels(size, target) * self.outputs)

    def init_tokens(self) -> None:
        """Draw the embeddings of the modalities; the mask token starts at 0."""
        nn.init.zeros_(self.mask_token)
        trunc_normal_(self.modalities, std=0.02)

    def forward(
        self, encoded: Tensor, ids_keep: Tensor, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """Reconstruct every patch of the target.

        Args:
            encoded: ``[B, 1 + K, encoder width]``, the global token first.
            ids_keep: ``[B, K]``, where the others belong among all tokens.
            grid: patches in height and in width; None: that of the configuration.

        Returns:
            ``[B, N, pixels, outputs]``, N the patches of the target.
        """
        projected = self.project(encoded)
        start, visible = projected[:, :1], projected[:, 1:]
        places = (self.modalities + self.positions(grid)).flatten(0, 1)
        ids = ids_keep[..., None].expand_as(visible)
        tokens = self.mask_token.to(visible.dtype).expand(len(visible), len(places), -1)
        tokens = tokens.scatter(1, ids, visible) + places
        context = torch.cat([start.to(tokens.dtype), tokens.gather(1, ids)], dim=1)
        patches = len(places) // len(self.modalities)
        queries = tokens[:, self.place * patches : (self.place + 1) * patches]
        context = self.norm_context(context)
        found, _ = self.attention(self.norm_queries(queries), context, context, need_weights=False)
        found = found + self.mlp(self.norm(found))
        pixels: Tensor = self.head(self.blocks(found))
        return pixels.view(*pixels.shape[:2], -1, self.outputs)


def _outputs(target: ImageModality | LabelModality) -> int:
    return target.channels if isinstance(target, ImageModality) else target.classes


def _pixels(size: ModelSize, target: ImageModality | LabelModality) -> int:
    """Of a patch, in the resolution of the target."""
    stride = target.stride if isinstance(target, LabelModality) else 1
    return (size.patch_size // stride) ** 2
