"""Images as sequences of patches, and back."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["PatchStatistics", "patch_statistics", "patchify", "unpatchify"]


def patchify(image: Tensor, patch: int) -> Tensor:
    """Cut an image into patches.

    Args:
        image: ``[B, C, H, W]``, H and W multiples of `patch`.
        patch: side of a patch.

    Returns:
        ``[B, N, patch², C]``: patches row by row, pixels of a patch row by row.
    """
    size, channels, height, width = image.shape
    rows, columns = height // patch, width // patch
    cut = image.reshape(size, channels, rows, patch, columns, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(size, rows * columns, patch * patch, channels)


def unpatchify(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Inverse of `patchify`.

    Args:
        patches: ``[B, N, patch², C]``.
        grid: patches in height and in width, N in all.

    Returns:
        ``[B, C, H, W]``.
    """
    size, _, area, channels = patches.shape
    side = round(area**0.5)
    cut = patches.reshape(size, *grid, side, side, channels).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(size, channels, grid[0] * side, grid[1] * side)


class PatchStatistics(NamedTuple):
    """What a patch is normalised by, ``[B, N, 1, 1]`` each."""

    mean: Tensor
    deviation: Tensor

    def normalise(self, patches: Tensor) -> Tensor:
        """Patches ``[B, N, patch², C]`` with these means and deviations taken out."""
        return (patches - self.mean) / self.deviation

    def restore(self, normalised: Tensor) -> Tensor:
        """Inverse of `normalise`, to look at what has been predicted."""
        return normalised * self.deviation + self.mean


def patch_statistics(patches: Tensor) -> PatchStatistics:
    """Mean and √(variance + 1e-6) of every patch, over its pixels and channels jointly.

    Args:
        patches: ``[B, N, patch², C]``; the variance is the unbiased one.
    """
    mean = patches.mean((2, 3), keepdim=True)
    variance = patches.var((2, 3), keepdim=True)
    return PatchStatistics(mean, (variance + 1e-6).sqrt())
