"""The training steps of Table 2 and Figure 3: Multi-Modal Mask MAE, and its fine-tunings."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.arms import arm_balancer
from experiments.mae.configuration import ImageModality, ModelSize
from experiments.mae.data.declarations import LabelFiles
from experiments.mae.data.scenes.drawing import LABELS
from experiments.mae.data.sources import Folders, NYUv2, Preparation, Scenes
from experiments.mae.downstream.configuration import FineTuning
from experiments.mae.downstream.encoders import fresh_encoder
from experiments.mae.downstream.model import downstream_model
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.masking import TokenMasking
from experiments.mae.study import MaeStudy
from experiments.tables.cost.work import Work, gradient_flops, step_flops
from experiments.tables.mae_runs import MaeRuns
from experiments.tables.preset import DataSet, preparation_of
from experiments.tables.store import PRETRAIN
from taskrobust.trainer.outputs import output_sums

__all__ = ["fine_tuning", "pretraining"]

IMAGENET_CLASSES = 1000
"""Taken for class folders of unknown number."""


def pretraining(maker: MaeRuns, arm: str) -> list[Work]:
    """One run.

    Args:
        maker: of the runs.
        arm: of the study.

    Raises:
        ConfigurationError: the preset does not say how many images there are.
    """
    study = maker.configuration
    how, model = study.optimisation, _model(study.model)
    balancer = arm_balancer(arm, study.arms[arm], model, epoch=1)
    flops = _pretraining_flops(study.model, study.masking.visible, balancer.needs_task_gradients)
    parameters = _trained(model)
    steps = how.steps(_images(maker, PRETRAIN))
    title = f"{how.epochs:g} epochs"
    batch = how.batch_size
    return [Work(title, "images", how.precision, steps, batch, batch * flops, parameters)]


def fine_tuning(maker: MaeRuns) -> list[Work]:
    """One run of every task, repeated over its seeds.

    Raises:
        ConfigurationError: as `pretraining`.
    """
    study, found = maker.configuration, []
    for each in maker.tasks:
        task = each.partition("-")[0]  # of the model halfway, too
        how: FineTuning = getattr(study.downstream, task)
        flops, parameters = _fine_tuning_flops(study.model, how, _classes(maker, task))
        steps = how.steps(min(_images(maker, task), how.max_train_images or 10**12))
        found.append(
            Work(
                each,
                "images",
                how.precision,
                steps,
                how.batch_size,
                how.batch_size * flops,
                parameters,
                len(set(how.seeds)),
            )
        )
    return found


def _preparation(maker: MaeRuns, part: str) -> Preparation | None:
    """How a part is prepared; None if it reads a manifest that somebody else made."""
    name = maker.table.reads[part]
    if name not in maker.table.prepared:
        return None
    found: Preparation = preparation_of(
        MaeStudy, maker.study, maker.table, name, maker.data or Path(), maker.more
    )
    return found


def _data_set(maker: MaeRuns, part: str) -> DataSet | None:
    """What a part is prepared from."""
    name = maker.table.reads[part]
    if name not in maker.table.prepared:
        return maker.table.data[name]
    path = maker.table.prepared[name].path
    return next((each for each in maker.table.data.values() if each.path == path), None)


def _images(maker: MaeRuns, part: str) -> int:
    how, data = _preparation(maker, part), _data_set(maker, part)
    if isinstance(how, Scenes):
        return how.splits[maker.configuration.train_split]
    if data is None or data.examples is None:
        raise ConfigurationError(
            f"preset {maker.preset!r}: the data of `reads.{part}` should have `examples`, the "
            "number of training images; found none; add it to `data`"
        )
    return data.examples


def _classes(maker: MaeRuns, task: str) -> int:
    how, data = _preparation(maker, task), _data_set(maker, task)
    if isinstance(how, Scenes):
        return len(LABELS)
    if isinstance(how, NYUv2):
        return how.classes
    if isinstance(how, Folders):
        return max(each.classes for each in how.modalities if isinstance(each, LabelFiles))
    return (data and data.classes) or IMAGENET_CLASSES


@cache
def _model(size: ModelSize) -> MultiModalMaskMae:
    with torch.device("meta"):
        return MultiModalMaskMae(size)


@cache
def _pretraining_flops(size: ModelSize, visible: int, gradients: bool) -> int:
    """FLOPs of an image, with or without gradients of single tasks."""
    model, tokens = _model(size), (size.patches,) * len(size.modalities)
    masks = TokenMasking(tokens, visible).batch([(0, 0)])
    arguments: dict[str, Any] = {
        "modalities": _batch(size),
        **{name: mask.to("meta") for name, mask in masks.items()},
    }

    def sums() -> Tensor:
        return output_sums(model(**arguments), len(size.tasks), 1).sums

    flops = step_flops(lambda: sums().sum())
    if gradients:
        flops += gradient_flops(sums, list(model.encoder.last_linear.parameters()))
    return flops


@cache
def _fine_tuning_flops(size: ModelSize, how: FineTuning, classes: int) -> tuple[int, int]:
    """FLOPs of an image, and trained parameters."""
    with torch.device("meta"):
        encoder = fresh_encoder(size, how.inputs, image_size=how.image_size)
        model = downstream_model(how.task, encoder, classes)
    batch = _batch(encoder.size, how.image_size)
    return step_flops(lambda: model(batch).predictions.sum()), _trained(model)


def _batch(size: ModelSize, image_size: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """An image in all modalities, without values."""
    height, width = image_size or size.image_size
    found = {}
    for each in size.modalities:
        if isinstance(each, ImageModality):
            found[each.name] = torch.zeros(1, each.channels, height, width, device="meta")
        else:
            cells = (1, height // each.stride, width // each.stride)
            found[each.name] = torch.zeros(cells, dtype=torch.long, device="meta")
    return found


def _trained(model: torch.nn.Module) -> int:
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
