"""Encoders to be fine-tuned: pre-trained ones from files, or fresh ones to compare with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import LabelModality, ModelSize
from experiments.mae.model.checkpoints import CONFIGURATION, load_model
from experiments.mae.model.encoder import MultiModalEncoder
from experiments.mae.model.initialisation import initialise

__all__ = ["fresh_encoder", "pretrained_encoder"]


def pretrained_encoder(
    folder: Path,
    inputs: Sequence[str],
    *,
    image_size: tuple[int, int] | None = None,
    drop_path: float = 0.0,
) -> MultiModalEncoder:
    """The encoder of a pre-trained model, with the embeddings of some of its modalities.

    Labels may be unlabelled (`LabelModality.void`) even if they were not in pre-training; then they
    are embedded as zero. ``size.image_size`` stays that of pre-training: the embeddings of places
    are interpolated from there to the grid of whatever image is encoded.

    Args:
        folder: written by `experiments.mae.model.checkpoints.save_model`.
        inputs: names of modalities, in any order; the encoder has that of pre-training.
        image_size: height and width of the images to come, to be checked; None: any.
        drop_path: rate of stochastic depth in the last block.

    Raises:
        ConfigurationError: a file is missing, damaged or of another model; the model has no such
            modality, or cannot cut such images into patches.
    """
    model = load_model(folder)
    size = _input_size(model.size, inputs, image_size, folder / CONFIGURATION)
    encoder = MultiModalEncoder(size, drop_path)
    found = model.encoder.state_dict()
    encoder.load_state_dict(
        {name: _with_void(found[name], wanted) for name, wanted in encoder.state_dict().items()}
    )
    return encoder


def fresh_encoder(
    size: ModelSize,
    inputs: Sequence[str],
    *,
    image_size: tuple[int, int] | None = None,
    drop_path: float = 0.0,
) -> MultiModalEncoder:
    """An encoder that has learned nothing, drawn from torch's generator.

    Args:
        size: of the pre-training model that it is compared with.
        inputs: as in `pretrained_encoder`.
        image_size: as in `pretrained_encoder`.
        drop_path: as in `pretrained_encoder`.

    Raises:
        ConfigurationError: there is no such modality, or such images cannot be cut into patches.
    """
    encoder = MultiModalEncoder(_input_size(size, inputs, image_size, None), drop_path)
    initialise(encoder)
    return encoder


def _input_size(
    size: ModelSize,
    inputs: Sequence[str],
    image_size: tuple[int, int] | None,
    source: Path | None,
) -> ModelSize:
    """The size of an encoder of some modalities."""
    place = "" if source is None else f"{source}: "
    if not inputs or len(set(inputs)) != len(inputs) or not set(inputs) <= set(size.names):
        raise ConfigurationError(
            f"{place}`inputs` should be some of the modalities of the model "
            f"({', '.join(size.names)}), each once; found {', '.join(inputs) or 'none'}"
        )
    if image_size is not None and any(side < 1 or side % size.patch_size for side in image_size):
        raise ConfigurationError(
            f"{place}`image_size` should be multiples of the model's patch size "
            f"{size.patch_size}; found {tuple(image_size)}"
        )
    modalities = tuple(
        replace(each, void=True) if isinstance(each, LabelModality) else each
        for each in size.modalities
        if each.name in inputs
    )
    return replace(size, modalities=modalities, norm_rgb=False)


def _with_void(found: Tensor, wanted: Tensor) -> Tensor:
    """A class table with a row of zeros for void, if it has none yet."""
    rows = len(wanted) - len(found) if wanted.ndim else 0
    return torch.cat([found, found.new_zeros(rows, *found.shape[1:])]) if rows else found
