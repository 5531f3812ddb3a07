"""What fine-tuning puts on the encoder: a linear classifier, ConvNeXt blocks or a DPT.

A head takes the outputs of all blocks of the encoder, ``[B, 1 + M·N, width]`` each: the global
token, then the N patches of each of M modalities. The heads of dense tasks put the modalities of a
place side by side, along the channels, so that they can tell them apart; with one modality that is
no change. Linear maps start Xavier-uniform with bias 0, convolutions as their libraries draw them.
"""

import math
from collections.abc import Sequence

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn
from transformers.models.dpt.configuration_dpt import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTDepthEstimationHead, DPTNeck

from experiments.mae.model.encoder import LAYER_NORM
from experiments.mae.model.patches import unpatchify

__all__ = ["ClassificationHead", "ConvNextHead", "DptHead", "Head"]

SIDE = 4
"""Of the square of positions that a token becomes in `ConvNextHead`."""


class Head(nn.Module):
    """From the blocks of an encoder to predictions."""

    def forward(self, states: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Predictions of a batch.

        Args:
            states: outputs of the encoder's blocks, first to last, ``[B, 1 + M·N, width]``.
            grid: patches of a modality in height and in width, N in all.

        Returns:
            ``[B, classes]``, or a map ``[B, channels, h, w]`` in a resolution of its own.
        """
        raise NotImplementedError


class ClassificationHead(Head):
    """LayerNorm and a linear map of the mean of all tokens, the global one too (MultiMAE).

    Args:
        width: of the encoder.
        classes: number of logits.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = LAYER_NORM(width)
        self.classifier = nn.Linear(width, classes)
        _xavier(self)

    def forward(self, states: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """Logits ``[B, classes]`` from the last block."""
        logits: Tensor = self.classifier(self.norm(states[-1].mean(1)))
        return logits


class ConvNextHead(Head):
    """Every token becomes 4×4 positions; ConvNeXt blocks mix them (MultiMAE's default).

    The blocks have no layer scale. Positions have width / 2 channels, 384 for ViT-B.

    Args:
        width: of the encoder, even.
        classes: number of logits.
        modalities: that the encoder is given, M.
        blocks: number of ConvNeXt blocks.
    """

    def __init__(self, width: int, classes: int, modalities: int = 1, blocks: int = 4) -> None:
        super().__init__()
        channels = width // 2
        self.modalities = modalities
        self.project = nn.Linear(modalities * width, SIDE**2 * channels)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(channels, ls_init_value=None) for _ in range(blocks))
        )
        self.classifier = nn.Conv2d(channels, classes, 1)
        _xavier(self)

    def forward(self, states: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Logits ``[B, classes, 4·rows, 4·columns]`` from the last block."""
        tokens = self.project(_side_by_side(states[-1], self.modalities)[:, 1:])
        positions = unpatchify(tokens.view(*tokens.shape[:2], SIDE**2, -1), grid)
        logits: Tensor = self.classifier(self.blocks(positions))
        return logits


class DptHead(Head):
    """Dense prediction transformer: neck and depth head, without the ReLU at its end.

    Four evenly spread blocks of the encoder (3, 6, 9 and 12 of 12) are projected to an eighth, a
    quarter, half and all of the width, at 4, 2, 1 and 1/2 times the grid, and fused from the last
    to the first (Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021). There is no
    ReLU because standardised depth can be negative.

    The deepest fusion unit has a convolution pair for a coarser map that there is not. It is kept,
    so that names and shapes are those of transformers' DPT, and is frozen: it would never have a
    gradient, which data-parallel training refuses.

    Args:
        width: of the encoder, a multiple of 8.
        layers: number of blocks of the encoder.
        modalities: that the encoder is given, M.
        fusion: channels of the fused maps; None: a third of the width, 256 for ViT-B.
    """

    def __init__(
        self, width: int, layers: int, modalities: int = 1, fusion: int | None = None
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.layers = tuple(math.ceil(layers * part / 4) for part in (1, 2, 3, 4))
        """Numbers of the blocks, from 1; some come twice if there are fewer than four."""
        configuration = DPTConfig(
            hidden_size=modalities * width,
            neck_hidden_sizes=[width // 8, width // 4, width // 2, width],
            fusion_hidden_size=fusion or width // 3,
            readout_type="ignore",
        )
        self.neck = DPTNeck(configuration)
        self.neck.fusion_stage.layers[0].residual_layer1.requires_grad_(False)
        self.output = DPTDepthEstimationHead(configuration)
        self.output.head[-1] = nn.Identity()

    def forward(self, states: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Map ``[B, 1, h, w]``, 16 times the grid if that is even."""
        chosen = [_side_by_side(states[layer - 1], self.modalities) for layer in self.layers]
        depth: Tensor = self.output(self.neck(chosen, *grid))
        return depth[:, None]


def _side_by_side(tokens: Tensor, modalities: int) -> Tensor:
    """From ``[B, 1 + M·N, width]`` to ``[B, 1 + N, M·width]``; the global token is repeated."""
    if modalities == 1:
        return tokens
    start, patches = tokens[:, :1], tokens[:, 1:]
    places = torch.stack(patches.chunk(modalities, dim=1), dim=2).flatten(2)
    return torch.cat([start.repeat(1, 1, modalities), places], dim=1)


def _xavier(head: nn.Module) -> None:
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
