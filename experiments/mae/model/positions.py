"""Fixed sine-cosine embeddings of the place of a patch."""

from typing import Literal

from timm.layers import build_sincos2d_pos_embed, resample_abs_pos_embed
from torch import Tensor, nn

__all__ = ["Interpolation", "Positions"]

Interpolation = Literal["bicubic", "bilinear"]


class Positions(nn.Module):
    """Embeddings of a grid of patches, not learned and not saved.

    For a patch in row r and column c (whole numbers from 0) the channels are
    [sin(r·ω), cos(r·ω), sin(c·ω), cos(c·ω)], a quarter each, with ω_k = 10000^(-k / (width / 4)),
    as in MoCo v3. Another grid than the own one gets the interpolated table: its patches cover the
    same image.

    Args:
        grid: patches in height and in width.
        width: channels, a multiple of 4.
        interpolation: between the patches of the own grid, for another one.
    """

    table: Tensor

    def __init__(
        self, grid: tuple[int, int], width: int, interpolation: Interpolation = "bilinear"
    ) -> None:
        super().__init__()
        self.grid = grid
        self.interpolation = interpolation
        table = build_sincos2d_pos_embed(list(grid), width, interleave_sin_cos=True)
        # Not persistent: it follows from the configuration.
        self.register_buffer("table", table, persistent=False)

    def forward(self, grid: tuple[int, int] | None = None) -> Tensor:
        """``[h·w, width]``, rows of the grid one after the other.

        Args:
            grid: patches in height and in width; None: the own grid.
        """
        if grid is None or grid == self.grid:
            return self.table
        resized: Tensor = resample_abs_pos_embed(
            self.table[None],
            list(grid),
            list(self.grid),
            num_prefix_tokens=0,
            interpolation=self.interpolation,
            antialias=False,
        )
        return resized[0].to(self.table.dtype)
