"""A fine-tuned model on the whole test split, and its predictions on a few images of it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from experiments.configuration import ConfigurationError
from experiments.mae.batches import VALID
from experiments.mae.data.dataset import MultiModalImages
from experiments.mae.downstream.data import Collator
from experiments.mae.downstream.metrics import task_metrics
from experiments.mae.downstream.model import TARGETS, DownstreamModel
from experiments.mae.downstream.task_data import TaskData
from experiments.mae.held_out import to_device

__all__ = ["INPUT", "PICTURED", "evaluate", "keep_pictured", "read_pictured"]

PICTURED = "pictured.safetensors"
"""Some test images with target and prediction, of a run."""


INPUT = "input."
"""Begins the names of inputs in it."""


def evaluate(
    model: DownstreamModel, images: MultiModalImages, data: TaskData, batch: int, title: str
) -> dict[str, Any]:
    """Metrics of every image of the test split, each once, in float32.

    With several ranks each takes its share, and all get the metrics of the whole.

    Args:
        model: on its device.
        images: of the test split.
        data: the checked manifest.
        batch: images at once.
        title: of the run, for errors.

    Returns:
        Numbers by metric; ``images``; for segmentation ``class_iou``, by name of the class, None
        for classes that do not occur.

    Raises:
        ConfigurationError: predictions are not finite, or an image cannot be read.
    """
    device = next(model.parameters()).device
    metrics = task_metrics(data.how.task, data.classes).to(device)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    share = Subset(images, range(rank, len(images), ranks))
    for arguments in _batches(share, data, batch, device):
        predictions = _predictions(model, arguments)
        if not torch.isfinite(predictions).all():
            raise ConfigurationError(
                f"{title}: training diverged, predictions are not finite; lower "
                f"`{data.how.task}.learning_rate`, or set `{data.how.task}.max_gradient_norm`"
            )
        targets = [arguments.get(name) for name in TARGETS[data.how.task]]
        metrics.update(predictions, *(each for each in targets if each is not None))
    found = {name: value.cpu() for name, value in metrics.compute().items()}
    by_class = found.pop("class_iou", None)
    scores: dict[str, Any] = {name: float(value) for name, value in found.items()}
    scores["images"] = len(images)
    if by_class is not None:
        scores["class_iou"] = {
            name: None if np.isnan(value) else value
            for name, value in zip(data.class_names, by_class.tolist(), strict=True)
        }
    return scores


def keep_pictured(
    model: DownstreamModel, images: MultiModalImages, data: TaskData, folder: Path
) -> None:
    """Write inputs, targets and predictions of some test images, spread evenly, to `PICTURED`.

    Args:
        model: on its device.
        images: of the test split.
        data: the checked manifest; ``how.pictures`` says how many.
        folder: of the run.
    """
    count = min(data.how.pictures, len(images))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int).tolist()
    device = next(model.parameters()).device
    task, parts = data.how.task, list[dict[str, Tensor]]()
    for arguments in _batches(Subset(images, chosen), data, 1, device):
        predictions = _predictions(model, arguments)
        part = {"prediction": predictions.argmax(1) if task == "semseg" else predictions}
        part |= {f"{INPUT}{name}": each for name, each in arguments["modalities"].items()}
        known = arguments.get("valid", {})
        part |= {f"{INPUT}{name}{VALID}": each for name, each in known.items()}
        part |= {name: arguments[name] for name in TARGETS[task] if name in arguments}
        parts.append(part)
    kept = {name: torch.cat([each[name] for each in parts]).cpu() for name in parts[0]}
    kept["index"] = torch.tensor(chosen)
    path = folder / PICTURED
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    save_file({name: value.contiguous() for name, value in kept.items()}, partial)
    partial.replace(path)


def read_pictured(folder: Path) -> dict[str, Tensor] | None:
    """What `keep_pictured` wrote; None if nothing was kept.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = folder / PICTURED
    if not path.is_file():
        return None
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path}: {error}; remove the run's folder to run anew") from error
    return found


def _batches(
    images: Subset[dict[str, Any]], data: TaskData, batch: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    loader = DataLoader(
        images,
        batch_size=batch,
        collate_fn=Collator(how=data.how, classes=data.classes),
        num_workers=data.how.workers,
    )
    for arguments in loader:
        yield to_device(arguments, device)


def _predictions(model: DownstreamModel, arguments: Mapping[str, Any]) -> Tensor:
    given = {name: arguments[name] for name in ("modalities", "valid") if name in arguments}
    model.eval()
    with torch.inference_mode():
        predictions: Tensor = model(**given).predictions
    return predictions
