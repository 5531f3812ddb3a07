"""A model small enough for loops, and random batches for it."""

import torch

from experiments.mae.configuration import (
    DEPTH,
    RGB,
    ImageModality,
    LabelModality,
    ModelSize,
)
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.masking import TokenMasking

CLASSES = 7
SEMSEG = LabelModality(name="semseg", classes=CLASSES, class_width=6)
SIZE = ModelSize(
    modalities=(RGB, DEPTH, SEMSEG),
    norm_rgb=True,
    image_size=(24, 16),
    patch_size=8,
    width=16,
    layers=2,
    heads=2,
    decoder_width=8,
    decoder_layers=1,
    decoder_heads=2,
)
"""3 · 2 patches a modality, on a grid that is not square."""
VISIBLE = 5


def model(size=SIZE, seed=0, dtype=torch.float64):
    """A model whose parameters are all away from their special first values."""
    torch.manual_seed(seed)
    made = MultiModalMaskMae(size).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def images(size=SIZE, samples=4, seed=0, dtype=torch.float64, scale=1):
    """All modalities of a batch; `scale` multiplies the size of the images."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (scale * side for side in size.image_size)
    found = {}
    for each in size.modalities:
        if isinstance(each, ImageModality):
            shape = (samples, each.channels, height, width)
            found[each.name] = torch.randn(shape, generator=generator, dtype=dtype)
        else:
            shape = (samples, height // each.stride, width // each.stride)
            found[each.name] = torch.randint(each.classes, shape, generator=generator)
    return found


def batch(size=SIZE, samples=4, visible=VISIBLE, seed=0, dtype=torch.float64):
    """Arguments of the model."""
    masking = TokenMasking((size.patches,) * len(size.modalities), visible, seed=seed)
    masks = masking.batch((0, index) for index in range(samples))
    return {"modalities": images(size, samples, seed, dtype), **masks}


def kept(rows):
    """`ids_keep` and `mask` of given visible tokens, of three modalities of `SIZE`."""
    ids_keep = torch.tensor(rows)
    mask = torch.ones(len(rows), 3 * SIZE.patches, dtype=torch.bool)
    for row, ids in enumerate(rows):
        for token in ids:
            mask[row, token] = False
    return {"ids_keep": ids_keep, "mask": mask}
