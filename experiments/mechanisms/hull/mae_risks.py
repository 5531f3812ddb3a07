"""Risks of Multi-Modal Mask MAE and of its downstream tasks as functions of their encoder.

The encoder of a downstream task has the embeddings of its inputs only; its gradient counts as 0 for
those of other modalities.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from experiments.configuration import ConfigurationError
from experiments.mae.downstream.configuration import Depth, FineTuning
from experiments.mae.downstream.data import Collator, evaluation_images
from experiments.mae.downstream.encoders import pretrained_encoder
from experiments.mae.downstream.model import downstream_model
from experiments.mae.downstream.study import read_data
from experiments.mae.downstream.task_data import TaskData, depth_statistics
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import load_model
from experiments.mae.reading import Images, manifest_of
from experiments.mae.study import MaeStudy
from experiments.mechanisms.hull.configuration import Settings
from experiments.mechanisms.hull.gradients import Measured, Sums, measure
from experiments.mechanisms.hull.heads import Fitted, chosen, fit_head, halves_batch

__all__ = [
    "BLOCKS",
    "TITLES",
    "downstream_risk",
    "load_mae",
    "mae_parameters",
    "serving",
    "upstream_risks",
]

BLOCKS = "blocks."
"""Begins the names of the parameters of the transformer blocks."""
TITLES = {"cls": "classification", "semseg": "segmentation", "depth": "depth in metres"}
"""Downstream tasks; depth and semseg are names of upstream tasks, too."""


def load_mae(folder: Path) -> MultiModalMaskMae:
    """A pre-trained model in evaluation mode.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return load_model(folder).eval()


def mae_parameters(model: MultiModalMaskMae) -> dict[str, Tensor]:
    """The shared parameters by name."""
    return dict(model.encoder.named_parameters())


def upstream_risks(
    model: MultiModalMaskMae, study: MaeStudy, data: Path, how: Settings
) -> Measured:
    """Reconstruction risks on held-out images, each with one fixed window and mask.

    Args:
        model: in evaluation mode.
        study: whose masking is used.
        data: a manifest, or the folder of one.
        how: examples and batches.

    Raises:
        ConfigurationError: the images are not those of the model.
    """
    images = Images(replace(study, model=model.size), data)
    rows = chosen(len(images.held_out), how.examples, how.seed)
    batches = DataLoader(
        Subset(images.held_out, rows),
        batch_size=halves_batch(len(rows), how.batch_size),
        collate_fn=images.held_out_collator,
    )

    def sums(batch: Mapping[str, Any]) -> Sums:
        output = model(**batch)
        present = output.task_groups >= 0
        return Sums(output.task_values.where(present, 0.0).sum(0), present.sum(0))

    return measure(model.size.tasks, mae_parameters(model), batches, sums)


def serving(how: FineTuning, manifests: list[Path]) -> TaskData | None:
    """The first manifest that a task can be read from; None if there is none.

    Args:
        how: the recipe of the task.
        manifests: manifests, or folders of them.

    Raises:
        ConfigurationError: one of them is no manifest.
    """
    for path in manifests:
        manifest_of(path)
        with suppress(ConfigurationError):
            return read_data(how, path)
    return None


def downstream_risk(folder: Path, data: TaskData, how: Settings) -> tuple[Measured, Fitted]:
    """Risk of a downstream task on its test split, with a head fitted on the frozen encoder.

    The head is that of fine-tuning. It is fitted on training images as they are evaluated, without
    augmentation. The risk of a dense task is a mean over pixels of the means of batches.

    Args:
        folder: of the pre-trained model.
        data: of the task.
        how: examples, steps and rates.

    Raises:
        ConfigurationError: the model does not fit the recipe, or fitting diverged.
    """
    recipe = data.how
    encoder = pretrained_encoder(folder, recipe.inputs, image_size=recipe.image_size)
    mean, deviation = 0.0, 1.0
    if isinstance(recipe, Depth):
        mean, deviation = recipe.standardisation or depth_statistics(data)
    torch.manual_seed(how.seed)
    model = downstream_model(
        recipe.task, encoder, data.classes, depth_mean=mean, depth_deviation=deviation
    ).eval()
    swapped = replace(recipe, train_split=data.test_split, test_split=recipe.train_split)
    training = TaskData(how=swapped, manifest=data.manifest)

    def batches(of: TaskData, count: int, *, halves: bool) -> list[dict[str, Any]]:
        images = evaluation_images(of, encoder.size)
        rows = chosen(len(images), count, how.seed)
        size = halves_batch(len(rows), how.batch_size) if halves else how.batch_size
        collate = Collator(how=recipe, classes=of.classes)
        return list(DataLoader(Subset(images, rows), batch_size=size, collate_fn=collate))

    def risk(batch: Mapping[str, Any]) -> Tensor:
        loss: Tensor = model(**batch).loss
        return loss

    encoder.requires_grad_(False)
    fitting = batches(training, how.head_examples, halves=False)
    fitted = fit_head(TITLES[recipe.task], model.head, fitting, risk, how)
    encoder.requires_grad_(True)

    def sums(batch: Mapping[str, Any]) -> Sums:
        size = len(batch["modalities"][recipe.inputs[0]])
        return Sums(size * risk(batch)[None], torch.tensor([float(size)]))

    held_out = batches(data, how.examples, halves=True)
    parameters = dict(encoder.named_parameters())
    return measure([TITLES[recipe.task]], parameters, held_out, sums), fitted
