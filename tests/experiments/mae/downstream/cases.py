"""Small models of every task and batches for them."""

from dataclasses import replace

import torch

from experiments.mae.configuration import LabelModality
from experiments.mae.downstream.encoders import fresh_encoder
from experiments.mae.downstream.model import downstream_model
from tests.experiments.mae import samples

CLASSES = {"cls": 6, "semseg": 5, "depth": 1}
TASKS = tuple(CLASSES)


def model(task, inputs=("rgb",), size=samples.SIZE, seed=0, dtype=torch.float64, **options):
    """A model with every parameter away from a special first value."""
    torch.manual_seed(seed)
    made = downstream_model(task, fresh_encoder(size, inputs, **options), CLASSES[task]).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def inputs(names=("rgb",), size=samples.SIZE, **options):
    """Modalities of a batch; some labels are void."""
    found = samples.images(size, **options)
    for each in size.modalities:
        if isinstance(each, LabelModality):
            found[each.name][:, 0, 0] = each.classes
    return {name: found[name] for name in names}


def targets(task, batch=4, size=(24, 16), seed=3):
    """What `DownstreamModel.forward` takes beside the modalities."""
    generator = torch.Generator().manual_seed(seed)
    if task == "cls":
        return {"label": torch.randint(CLASSES[task], (batch,), generator=generator)}
    if task == "semseg":  # some void
        return {"semseg": torch.randint(CLASSES[task] + 1, (batch, *size), generator=generator)}
    depth = torch.rand(batch, 1, *size, generator=generator, dtype=torch.float64) * 4 + 0.5
    valid = torch.rand(batch, 1, *size, generator=generator) < 0.7
    return {"depth": torch.where(valid, depth, 0.0), "depth_valid": valid}


def void_size(size=samples.SIZE):
    """With labels that may be void."""
    modalities = tuple(
        replace(each, void=True) if isinstance(each, LabelModality) else each
        for each in size.modalities
    )
    return replace(size, modalities=modalities)
