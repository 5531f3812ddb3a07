"""What a model takes: the modalities of a batch, checked, and standardised where wanted."""

from collections.abc import Mapping

from torch import Tensor

from experiments.mae.configuration import ImageModality, LabelModality, ModelSize
from experiments.mae.model.depth import standardise_depth

__all__ = ["grid_of", "prepare"]


def grid_of(size: ModelSize, modalities: Mapping[str, Tensor]) -> tuple[int, int]:
    """Patches in height and in width of the images of a batch.

    Args:
        size: the model's.
        modalities: some of those of the model, by name.

    Raises:
        ValueError: no modality or one that the model does not have; a shape that cannot be cut into
            patches, or modalities of different sizes.
    """
    unknown = [name for name in modalities if name not in size.names]
    if unknown or not modalities:
        raise ValueError(
            f"`modalities` should be some of {', '.join(size.names)}; "
            f"found {', '.join(unknown) or 'none'}"
        )
    grids = {name: _grid(size, name, values) for name, values in modalities.items()}
    if len(set(grids.values())) != 1:
        raise ValueError(f"`modalities` should have the same grid of patches; found {grids}")
    return next(iter(grids.values()))


def prepare(
    size: ModelSize, modalities: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The modalities as they are embedded and as they are reconstructed.

    Args:
        size: the model's.
        modalities: images ``[B, C, H, W]`` and labels ``[B, H / stride, W / stride]``, by name.
        valid: bool ``[B, 1, H, W]`` for images with pixels of unknown value, by name.

    Raises:
        ValueError: `valid` has something that is no image of the batch, or another shape.
    """
    valid = valid or {}
    for name, known in valid.items():
        if name not in modalities or isinstance(size.modality(name), LabelModality):
            raise ValueError(f"`valid` should name images of the batch; found {name!r}")
        wanted = tuple(modalities[name][:, :1].shape)
        if tuple(known.shape) != wanted:
            raise ValueError(
                f"`valid.{name}` should have shape {wanted}; found {tuple(known.shape)}"
            )
    return {
        name: standardise_depth(values, valid.get(name)) if _standardised(size, name) else values
        for name, values in modalities.items()
    }


def _standardised(size: ModelSize, name: str) -> bool:
    modality = size.modality(name)
    return isinstance(modality, ImageModality) and modality.standardised


def _grid(size: ModelSize, name: str, values: Tensor) -> tuple[int, int]:
    modality = size.modality(name)
    shape = tuple(values.shape)
    if isinstance(modality, LabelModality):
        side, wanted = size.patch_size // modality.stride, "[B, H, W]"
        right = len(shape) == 3
    else:
        side, wanted = size.patch_size, f"[B, {modality.channels}, H, W]"
        right = len(shape) == 4 and shape[1] == modality.channels
    if not right or any(not length or length % side for length in shape[-2:]):
        raise ValueError(
            f"`{name}` should have shape {wanted}, H and W multiples of {side}; found {shape}"
        )
    return shape[-2] // side, shape[-1] // side
