"""A model of one downstream task: encoder, head, loss and predictions in the units of the task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import ModelOutput

from experiments.mae.downstream.heads import ClassificationHead, ConvNextHead, DptHead, Head
from experiments.mae.downstream.losses import berhu, labelled_cross_entropy
from experiments.mae.model.encoder import MultiModalEncoder
from experiments.mae.model.inputs import grid_of, prepare
from taskrobust.sums import at_least_float32

__all__ = ["TARGETS", "DownstreamModel", "DownstreamOutput", "Task", "downstream_model"]

Task = Literal["cls", "semseg", "depth"]
"""Classification, semantic segmentation, depth in metres."""

TARGETS: dict[Task, tuple[str, ...]] = {
    "cls": ("label",),
    "semseg": ("semseg",),
    "depth": ("depth", "depth_valid"),
}
"""Arguments of `DownstreamModel.forward` that hold the target, and of the metrics' `update` after
the predictions."""

NYU_MEAN, NYU_DEVIATION = 2.0707764, 0.7775723
"""In metres, what MultiMAE standardises the depth of NYUv2 by (2070.7764 and 777.5723, read as
millimetres). The 795 training images have another mean and deviation, 2.84 and 1.43 (measured on
NYU's filled-in depth at 192×144): better take those of the training set at hand."""


@dataclass
class DownstreamOutput(ModelOutput):  # type: ignore[misc]
    """Loss and predictions of a batch."""

    loss: Tensor | None = None
    """Scalar, float32 or wider, if targets were given."""
    predictions: Tensor | None = None
    """Float32 or wider. Classification: logits ``[B, classes]``; segmentation: logits ``[B,
    classes, H, W]``; depth: metres ``[B, 1, H, W]``."""


class DownstreamModel(nn.Module):
    """All tokens of the given modalities through the encoder, and a head.

    The losses are cross-entropy, cross-entropy of labelled pixels, and berHu of standardised depth.
    Each is a mean over the batch that it is given: with several ranks or micro-batches whose
    numbers of labelled (known) pixels differ, the mean of those means.

    Args:
        encoder: of the modalities that are the input.
        head: gives one channel for depth, else one for each class.
        task: which.
        depth_mean: of the training set, in metres.
        depth_deviation: of the training set, in metres.
    """

    # The Trainer must not hand `num_items_in_batch` to the model, nor divide or multiply its loss.
    accepts_loss_kwargs = False

    depth_mean: Tensor
    depth_deviation: Tensor

    def __init__(
        self,
        encoder: MultiModalEncoder,
        head: Head,
        task: Task,
        *,
        depth_mean: float = NYU_MEAN,
        depth_deviation: float = NYU_DEVIATION,
    ) -> None:
        super().__init__()
        self.task = task
        self.encoder = encoder
        self.head = head
        if task == "depth":
            self.register_buffer("depth_mean", torch.tensor(depth_mean))
            self.register_buffer("depth_deviation", torch.tensor(depth_deviation))

    def forward(
        self,
        modalities: Mapping[str, Tensor],
        valid: Mapping[str, Tensor] | None = None,
        label: Tensor | None = None,
        semseg: Tensor | None = None,
        depth: Tensor | None = None,
        depth_valid: Tensor | None = None,
    ) -> DownstreamOutput:
        """Predictions of a batch, and the loss if the target of the task is given.

        Args:
            modalities: all of the encoder, by name: images ``[B, C, H, W]``, class ids ``[B, H /
                stride, W / stride]``; H and W may be others than in pre-training.
            valid: bool ``[B, 1, H, W]``, by name, for images with pixels of unknown value.
            label: class ids, int64 ``[B]``, or their probabilities ``[B, classes]``.
            semseg: class ids, int64 ``[B, H, W]``; the id `classes` is unlabelled.
            depth: metres ``[B, 1, H, W]``.
            depth_valid: bool ``[B, 1, H, W]``, True where depth is known; None: everywhere.

        Raises:
            ValueError: a modality is missing or unknown, or something has another shape.
        """
        size = self.encoder.size
        missing = [name for name in size.names if name not in modalities]
        if missing:
            raise ValueError(
                f"`modalities` should hold {', '.join(size.names)}; "
                f"found none named {', '.join(missing)}"
            )
        grid = grid_of(size, modalities)
        raw = self.head(self.encoder.states(prepare(size, modalities, valid)), grid)
        raw = at_least_float32(raw)
        if self.task != "cls":
            raw = _resized(raw, (grid[0] * size.patch_size, grid[1] * size.patch_size))
        predictions = raw * self.depth_deviation + self.depth_mean if self.task == "depth" else raw
        target = {"cls": label, "semseg": semseg, "depth": depth}[self.task]
        if target is None:
            return DownstreamOutput(predictions=predictions)
        self._check_target(target, raw)
        return DownstreamOutput(self._loss(raw, target, depth_valid), predictions)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:  # noqa: ARG002
        """Layers by names of parameters, for timm; what matches none is the head, the last."""
        return {
            "stem": r"^encoder\.(?:embeddings|global_token)",
            "blocks": r"^encoder\.blocks\.(\d+)\.",
        }

    def _loss(self, raw: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        if self.task == "cls":
            return functional.cross_entropy(raw, target if target.ndim == 1 else target.to(raw))
        if self.task == "semseg":
            return labelled_cross_entropy(raw, target, void=raw.shape[1])
        standardised = (at_least_float32(target) - self.depth_mean) / self.depth_deviation
        # In evaluation ranks may have different numbers of batches and would wait for each other.
        return berhu(raw, standardised, valid, across_ranks=self.training)

    def _check_target(self, target: Tensor, raw: Tensor) -> None:
        name, shape = TARGETS[self.task][0], tuple(raw.shape)
        allowed = {
            "cls": [shape[:1], shape],
            "semseg": [shape[:1] + shape[2:]],
            "depth": [shape],
        }[self.task]
        if tuple(target.shape) not in allowed:
            wanted = " or ".join(str(each) for each in allowed)
            raise ValueError(f"`{name}` should have shape {wanted}; found {tuple(target.shape)}")


def downstream_model(
    task: Task,
    encoder: MultiModalEncoder,
    classes: int = 1,
    *,
    depth_mean: float = NYU_MEAN,
    depth_deviation: float = NYU_DEVIATION,
) -> DownstreamModel:
    """The model of a task with the head that the paper has for it.

    Args:
        task: which.
        encoder: of the modalities that are the input.
        classes: of classification or segmentation.
        depth_mean: as in `DownstreamModel`.
        depth_deviation: as in `DownstreamModel`.
    """
    size = encoder.size
    head: Head
    if task == "cls":
        head = ClassificationHead(size.width, classes)
    elif task == "semseg":
        head = ConvNextHead(size.width, classes, len(size.modalities))
    else:
        head = DptHead(size.width, size.layers, len(size.modalities))
    return DownstreamModel(
        encoder, head, task, depth_mean=depth_mean, depth_deviation=depth_deviation
    )


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinearly to the size of the image."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
