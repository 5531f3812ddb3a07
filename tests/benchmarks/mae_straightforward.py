"""Multi-Modal Mask MAE as a careful user would write it, of timm's and torch's parts alone.

It is written from the description of the model, without `experiments.mae.model`: colour, depth and
class ids; losses on whole maps of pixels, of which the masked ones count; their sum. The global
token comes last and a patch is predicted channel by channel, as in MultiMAE.
"""

import re
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import Mlp, PatchEmbed, build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from experiments.mae.configuration import ModelSize

MODALITIES = ("rgb", "depth", "semseg")


class StraightforwardMae(nn.Module):
    """The model; its parameters come from `load_ours`.

    Args:
        size: of an rgb, a depth and a semseg modality, read for its numbers.
    """

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        assert size.names == MODALITIES
        assert not size.norm_rgb
        semseg = size.modality("semseg")
        self.void = semseg.classes if semseg.void else None
        height, width = size.image_size
        self.grid = (height // size.patch_size, width // size.patch_size)
        self.rgb = PatchEmbed(size.image_size, size.patch_size, 3, size.width)
        self.depth = PatchEmbed(size.image_size, size.patch_size, 1, size.width)
        # A further row, of zeros, for pixels of no class if there are any.
        rows = semseg.classes + semseg.void
        self.classes = nn.Embedding(rows, semseg.class_width, padding_idx=self.void)
        side = size.patch_size // semseg.stride
        self.semseg = nn.Conv2d(semseg.class_width, size.width, side, side)
        self.register_buffer("positions", positions(self.grid, size.width), persistent=False)
        self.global_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.blocks = blocks(size.layers, size.width, size.heads, size.mlp_ratio)
        shapes = {"rgb": (3, size.patch_size), "depth": (1, size.patch_size)}
        shapes["semseg"] = (semseg.classes, side)
        self.decoders = nn.ModuleDict(
            {name: StraightforwardDecoder(size, i, *shapes[name]) for i, name in enumerate(shapes)}
        )

    def forward(self, rgb: Tensor, depth: Tensor, semseg: Tensor, ids_keep: Tensor) -> Tensor:
        """Losses of rgb, depth and semseg, ``[3]``, of images and ids of visible tokens."""
        depth = standardised(depth)
        classes = self.semseg(self.classes(semseg).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        parts = [part + self.positions for part in (self.rgb(rgb), self.depth(depth), classes)]
        tokens = torch.cat(parts, dim=1)
        visible = tokens.gather(1, ids_keep[..., None].expand(-1, -1, tokens.shape[-1]))
        last = self.global_token.expand(len(visible), -1, -1).to(visible.dtype)
        encoded = self.blocks(torch.cat([visible, last], dim=1))
        mask = rgb.new_ones(tokens.shape[:2]).scatter(1, ids_keep, 0.0)  # 1: masked
        masks = dict(zip(MODALITIES, mask.view(len(mask), 3, *self.grid).unbind(1), strict=True))
        predicted = {
            name: decoder(encoded, ids_keep, self.grid) for name, decoder in self.decoders.items()
        }
        squares = F.mse_loss(predicted["rgb"], rgb, reduction="none").mean(1)
        errors = F.l1_loss(predicted["depth"], depth, reduction="none").mean(1)
        ignored = -100 if self.void is None else self.void
        surprise = F.cross_entropy(
            predicted["semseg"], semseg, reduction="none", ignore_index=ignored
        )
        known = None if self.void is None else semseg != self.void
        return torch.stack(
            [
                masked_mean(squares, masks["rgb"]),
                masked_mean(errors, masks["depth"]),
                masked_mean(surprise, masks["semseg"], known),
            ]
        )


class StraightforwardDecoder(nn.Module):
    """Predicts the pixels ``[B, channels, side · rows, side · columns]`` of one modality."""

    def __init__(self, size: ModelSize, place: int, channels: int, side: int) -> None:
        super().__init__()
        width, heads = size.decoder_width, size.decoder_heads
        grid = (size.image_size[0] // size.patch_size, size.image_size[1] // size.patch_size)
        self.place, self.channels, self.side = place, channels, side
        self.context = nn.Linear(size.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.modalities = nn.Parameter(torch.zeros(3, 1, width))
        self.register_buffer("positions", positions(grid, width), persistent=False)
        self.query_norm, self.context_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(size.mlp_ratio * width))
        self.blocks = blocks(size.decoder_layers, width, heads, size.mlp_ratio)
        self.pixels = nn.Linear(width, channels * side * side)

    def forward(self, encoded: Tensor, ids_keep: Tensor, grid: tuple[int, int]) -> Tensor:
        projected = self.context(encoded)
        visible, last = projected[:, :-1], projected[:, -1:]
        size, _, width = visible.shape
        patches = grid[0] * grid[1]
        ids = ids_keep[..., None].expand(-1, -1, width)
        hidden = self.mask_token.to(visible.dtype).expand(size, 3 * patches, -1)
        tokens = hidden.scatter(1, ids, visible)
        tokens = tokens + (self.modalities + self.positions).view(3 * patches, width)
        queries = tokens[:, self.place * patches : (self.place + 1) * patches]
        context = torch.cat([tokens.gather(1, ids), last.to(tokens.dtype)], dim=1)
        context = self.context_norm(context)
        x, _ = self.attention(self.query_norm(queries), context, context, need_weights=False)
        x = x + self.mlp(self.mlp_norm(x))
        x = self.pixels(self.blocks(x))
        x = x.view(size, *grid, self.channels, self.side, self.side)
        x = x.permute(0, 3, 1, 4, 2, 5)
        return x.reshape(size, self.channels, grid[0] * self.side, grid[1] * self.side)


def blocks(layers: int, width: int, heads: int, ratio: float) -> nn.Sequential:
    """Pre-norm blocks of timm."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    return nn.Sequential(
        *(Block(width, heads, ratio, qkv_bias=True, norm_layer=norm) for _ in range(layers))
    )


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Sines and cosines of rows and columns, ``[rows · columns, width]``."""
    return build_sincos2d_pos_embed(list(grid), width, interleave_sin_cos=True)


def standardised(depth: Tensor) -> Tensor:
    """Depth by mean and deviation of the middle 80 % of each image."""
    flat = depth.flatten(1)
    count = flat.shape[1]
    middle = flat.sort(1).values[:, int(0.1 * count) : int(0.9 * count)]
    mean, variance = middle.mean(1, keepdim=True), middle.var(1, keepdim=True)
    return ((flat - mean) / (variance + 1e-6).sqrt()).view_as(depth)


def masked_mean(loss: Tensor, mask: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean over samples of the mean of ``[B, H, W]`` where the mask of patches is 1.

    Samples in which it is nowhere do not count.
    """
    scored = F.interpolate(mask[:, None], loss.shape[1:], mode="nearest")[:, 0]
    if known is not None:
        scored = scored * known
    count = scored.flatten(1).sum(1)
    means = (loss * scored).flatten(1).sum(1) / count.clamp(min=1)
    return means.sum() / (count > 0).sum().clamp(min=1)


_NAMES = {
    r"^encoder\.embeddings\.(rgb|depth)\.patches\.": r"\1.",
    r"^encoder\.embeddings\.semseg\.patches\.": "semseg.",
    r"^encoder\.embeddings\.semseg\.classes\.": "classes.",
    r"^encoder\.": "",
    r"^(decoders\.\w+)\.project\.": r"\1.context.",
    r"^(decoders\.\w+)\.norm_queries\.": r"\1.query_norm.",
    r"^(decoders\.\w+)\.norm_context\.": r"\1.context_norm.",
    r"^(decoders\.\w+)\.norm\.": r"\1.mlp_norm.",
    r"^(decoders\.\w+)\.head\.": r"\1.pixels.",
}
"""Names of parameters of `MultiModalMaskMae`, and of the same ones here."""


def load_ours(model: StraightforwardMae, state: dict[str, Tensor]) -> None:
    """Give the model the parameters of `MultiModalMaskMae`, all of them."""
    found = {}
    for name, values in state.items():
        for pattern, replacement in _NAMES.items():
            name = re.sub(pattern, replacement, name)
        found[name] = values
    for name, decoder in model.decoders.items():
        for part in ("weight", "bias"):
            key = f"decoders.{name}.pixels.{part}"
            # Ours predicts a patch pixel by pixel, here it is channel by channel.
            rows = found[key].view(decoder.side**2, decoder.channels, *found[key].shape[1:])
            found[key] = rows.transpose(0, 1).reshape(found[key].shape)
    model.load_state_dict(found)
