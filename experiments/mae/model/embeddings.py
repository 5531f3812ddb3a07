"""From modalities to tokens: a linear projection of every patch, and its place."""

from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from experiments.mae.configuration import ImageModality, LabelModality, ModelSize
from experiments.mae.model.positions import Positions

__all__ = ["ImageEmbedding", "LabelEmbedding", "embedding"]


class ImageEmbedding(nn.Module):
    """Tokens of an image: a convolution that is a linear map of patches, plus positions.

    Args:
        modality: channels.
        size: patches and width.
    """

    def __init__(self, modality: ImageModality, size: ModelSize) -> None:
        super().__init__()
        self.patches = PatchEmbed(
            size.image_size,
            size.patch_size,
            modality.channels,
            size.width,
            flatten=False,
            strict_img_size=False,
        )
        self.positions = Positions(size.grid, size.width, "bicubic")

    def forward(self, image: Tensor) -> Tensor:
        """Tokens ``[B, h·w, width]`` of ``[B, C, H, W]``; other sizes get resized positions."""
        return _tokens(self.patches(image), self.positions)


class LabelEmbedding(nn.Module):
    """Tokens of a map of class ids: learned classes, a convolution over patches, plus positions.

    Args:
        modality: classes and stride.
        size: patches and width.
    """

    def __init__(self, modality: LabelModality, size: ModelSize) -> None:
        super().__init__()
        self.classes = nn.Embedding(
            modality.classes + modality.void,
            modality.class_width,
            padding_idx=modality.classes if modality.void else None,
        )
        side = size.patch_size // modality.stride
        self.patches = nn.Conv2d(modality.class_width, size.width, side, stride=side)
        self.positions = Positions(size.grid, size.width, "bilinear")

    def init_classes(self) -> None:
        """Draw the class table; that of void stays 0."""
        trunc_normal_(self.classes.weight, std=0.02)
        if self.classes.padding_idx is not None:
            nn.init.zeros_(self.classes.weight[self.classes.padding_idx])

    def forward(self, labels: Tensor) -> Tensor:
        """Tokens ``[B, h·w, width]`` of ids ``[B, H / stride, W / stride]``."""
        return _tokens(self.patches(self.classes(labels).permute(0, 3, 1, 2)), self.positions)


def embedding(modality: ImageModality | LabelModality, size: ModelSize) -> nn.Module:
    """The embedding of a modality."""
    if isinstance(modality, ImageModality):
        return ImageEmbedding(modality, size)
    return LabelEmbedding(modality, size)


def _tokens(projected: Tensor, positions: Positions) -> Tensor:
    grid = (projected.shape[2], projected.shape[3])
    tokens: Tensor = projected.flatten(2).transpose(1, 2) + positions(grid)
    return tokens
