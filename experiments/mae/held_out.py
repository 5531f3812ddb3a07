"""Risks of a model on held-out images, each with one fixed window and mask."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.mae.model import MultiModalMaskMae
from experiments.records import RecordError
from taskrobust._files import write_atomically

__all__ = ["HELD_OUT_RISKS", "TaskRisks", "differences", "sample_risks", "summarise", "to_device"]


HELD_OUT_RISKS = "held-out.npz"
"""Name of the file of single risks in the folder of a run."""


@dataclass(frozen=True)
class TaskRisks:
    """Risks of single images."""

    values: NDArray[np.float64]
    """``[n, T]``; NaN where an image has nothing of the task to be scored."""

    def write(self, path: Path) -> None:
        """Keep them beside a result, for paired comparisons."""
        content = io.BytesIO()
        np.savez(content, values=self.values)
        write_atomically(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> "TaskRisks":
        """What `write` kept.

        Raises:
            RecordError: the file is missing or damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                return cls(saved["values"])
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise RecordError(f"{path} should hold risks of single images: {error}") from error


def sample_risks(
    model: MultiModalMaskMae,
    batches: Iterable[Mapping[str, Any]],
    device: "torch.device | str",
) -> TaskRisks:
    """Run a model over held-out batches.

    Args:
        model: put in evaluation mode.
        batches: of `experiments.mae.batches.MaskingCollator`.
        device: where the model is.
    """
    model.eval()
    found = []
    for batch in batches:
        with torch.no_grad():
            outputs = model(**to_device(batch, device))
        absent = outputs.task_groups < 0
        found.append(outputs.task_values.double().masked_fill(absent, torch.nan).cpu().numpy())
    return TaskRisks(np.concatenate(found))


def to_device(batch: Mapping[str, Any], device: "torch.device | str") -> dict[str, Any]:
    """A batch with all its tensors on a device."""
    return {
        name: to_device(value, device) if isinstance(value, Mapping) else value.to(device)
        for name, value in batch.items()
    }


def differences(risks: TaskRisks, reference: TaskRisks, tasks: Iterable[str]) -> dict[str, Any]:
    """Mean risk of each task less that of another model, with its paired standard error.

    What makes an image hard for both models cancels. It says nothing of other seeds.

    Args:
        risks: of held-out images.
        reference: of another model on the same images and masks.
        tasks: names of the tasks.

    Returns:
        By task, ``value`` and ``standard_error``, which is None of one image.

    Raises:
        ValueError: the two are of different numbers of images or tasks.
    """
    if risks.values.shape != reference.values.shape:
        raise ValueError(
            f"`reference` should have the shape {risks.values.shape} of `risks`; "
            f"found {reference.values.shape}"
        )
    found = summarise(TaskRisks(risks.values - reference.values), tasks)["risks"]
    return {
        name: {key: each[key] for key in ("value", "standard_error")}
        for name, each in found.items()
    }


def summarise(risks: TaskRisks, tasks: Iterable[str]) -> dict[str, Any]:
    """Mean risk of each task with its standard error over images, their worst and their mean.

    Args:
        risks: of held-out images.
        tasks: names of the tasks.

    Returns:
        ``risks``: by task ``value``, ``standard_error`` and ``images``; ``worst`` and ``mean`` over
        tasks; plain data.
    """
    by_task: dict[str, dict[str, Any]] = {}
    for name, column in zip(tasks, risks.values.T, strict=True):
        known = column[~np.isnan(column)]
        if known.size:
            error = known.std(ddof=1) / np.sqrt(known.size) if known.size > 1 else np.nan
            by_task[name] = {
                "value": float(known.mean()),
                "standard_error": None if np.isnan(error) else float(error),
                "images": int(known.size),
            }
    values = [each["value"] for each in by_task.values()]
    return {"risks": by_task, "worst": max(values), "mean": float(np.mean(values))}
