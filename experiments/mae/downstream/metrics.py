"""What is reported of a whole test set, summed up over batches and ranks.

The predictions are those of `DownstreamModel`, and `update` takes them before the fields of
`experiments.mae.downstream.model.TARGETS`. Every metric's `compute` is a dictionary of scalars.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from experiments.mae.downstream.model import Task

__all__ = ["PRIMARY", "DepthMetrics", "SegmentationMetrics", "accuracies", "task_metrics"]

PRIMARY: dict[Task, str] = {"cls": "accuracy", "semseg": "mean_iou", "depth": "delta_1"}
"""The number of the paper's Table 2 (as a share, not in percent); more is better."""


def task_metrics(task: Task, classes: int = 1) -> Metric | MetricCollection:
    """The metrics of a task.

    Args:
        task: which.
        classes: of classification or segmentation.
    """
    if task == "cls":
        return accuracies(classes)
    return SegmentationMetrics(classes) if task == "semseg" else DepthMetrics()


def accuracies(classes: int) -> MetricCollection:
    """``accuracy`` and, with more than five classes, ``top_5_accuracy``: shares of the images.

    Args:
        classes: number of logits.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(classes, average="micro")
    }
    if classes > 5:
        metrics["top_5_accuracy"] = MulticlassAccuracy(classes, top_k=5, average="micro")
    # Metrics whose sums are equal after the first batch would share them from then on.
    return MetricCollection(metrics, compute_groups=False)


class SegmentationMetrics(MulticlassConfusionMatrix):
    """Intersection over union and accuracies of classes, of the pixels of all images together.

    `compute` gives ``mean_iou``, the mean over the classes that occur in labels or predictions;
    ``pixel_accuracy``; ``mean_accuracy``, over the classes that occur in labels; ``class_iou``
    ``[classes]``, NaN for classes that do not occur.

    Args:
        classes: number of logits; the id `classes` is unlabelled and not counted.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes, ignore_index=classes, validate_args=False)

    def update(self, predictions: Tensor, semseg: Tensor) -> None:
        """Count the pixels of a batch.

        Args:
            predictions: logits ``[B, classes, H, W]`` or class ids ``[B, H, W]``.
            semseg: class ids ``[B, H, W]``.

        Raises:
            ValueError: an id that is neither a class nor unlabelled.
        """
        wrong = (semseg < 0) | (semseg > self.num_classes)
        if wrong.any():
            raise ValueError(
                f"`semseg` should be 0 to {self.num_classes}; found {int(semseg[wrong][0])}"
            )
        super().update(predictions, semseg)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """The metrics, as in the description of the class."""
        confusion = self.confmat.double()
        right, labelled = confusion.diag(), confusion.sum(1)
        class_iou = right / (labelled + confusion.sum(0) - right)  # 0/0: NaN
        return {
            "mean_iou": class_iou.nanmean(),
            "pixel_accuracy": right.sum() / labelled.sum(),
            "mean_accuracy": (right / labelled).nanmean(),
            "class_iou": class_iou,
        }


class DepthMetrics(Metric):
    """Errors of depth in metres, over pixels of known depth.

    `compute` gives ``delta_1``, ``delta_2``, ``delta_3``, the shares of pixels with
    max(ŷ/y, y/ŷ) < 1.25, 1.25², 1.25³; ``abs_rel``, the mean |ŷ - y| / y; ``rmse`` in metres;
    ``log10``, the mean |log₁₀ ŷ - log₁₀ y|; ``rmse_log``, of natural logarithms (Eigen et al.,
    "Depth map prediction from a single image", NIPS 2014).

    Args:
        average: over "pixels" of all images together, or over "images", each by the mean (or root
            mean square) of its own pixels, where such without a known pixel are not counted. They
            differ if images have different numbers of known pixels, and in rmse always.
        least: smaller predictions, among them negative ones, count as this depth in metres; a
            negative one would else have a ratio below 1.25.
    """

    NAMES = ("delta_1", "delta_2", "delta_3", "abs_rel", "log10", "rmse", "rmse_log")

    sums: Tensor
    count: Tensor

    def __init__(
        self, average: Literal["pixels", "images"] = "pixels", least: float = 1e-3
    ) -> None:
        super().__init__()
        self.average = average
        self.least = least
        zeros = torch.zeros(len(self.NAMES), dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, depth: Tensor, depth_valid: Tensor | None = None) -> None:
        """Sum up the errors of a batch.

        Args:
            predictions: metres ``[B, 1, H, W]``.
            depth: metres, positive where known, of the same shape.
            depth_valid: bool of the same shape, True where depth is known; None: everywhere.

        Raises:
            ValueError: shapes that differ, or known depth that is not positive.
        """
        known = torch.ones_like(depth, dtype=torch.bool) if depth_valid is None else depth_valid
        if not predictions.shape == depth.shape == known.shape:
            raise ValueError(
                f"`depth` and `depth_valid` should have the shape {tuple(predictions.shape)} of "
                f"`predictions`; found {tuple(depth.shape)} and {tuple(known.shape)}"
            )
        if not (depth[known] > 0).all():
            raise ValueError(
                f"`depth` should be positive where it is known; found {depth[known].min():g}"
            )
        errors = self._errors(predictions.double(), torch.where(known, depth, 1.0).double())
        known = known.flatten(1)
        totals = torch.where(known, errors.flatten(2), 0.0).sum(2)  # [metrics, B]
        counts = known.sum(1)
        if self.average == "pixels":
            self.sums += totals.sum(1)
            self.count += counts.sum()
            return
        means = totals[:, counts > 0] / counts[counts > 0]
        self.sums += torch.cat([means[:-2], means[-2:].sqrt()]).sum(1)
        self.count += (counts > 0).sum()

    def compute(self) -> dict[str, Tensor]:
        """The metrics, as in the description of the class; NaN if no depth was known."""
        means = self.sums / self.count
        if self.average == "pixels":
            means = torch.cat([means[:-2], means[-2:].sqrt()])
        return dict(zip(self.NAMES, means, strict=True))

    def _errors(self, predictions: Tensor, depth: Tensor) -> Tensor:
        """What is averaged, ``[metrics, B, 1, H, W]``; squares for the last two."""
        predictions = predictions.clamp(min=self.least)
        ratio = torch.maximum(predictions / depth, depth / predictions)
        difference, logarithm = predictions - depth, (predictions / depth).log()
        return torch.stack(
            [
                *((ratio < 1.25**power).to(ratio.dtype) for power in (1, 2, 3)),
                difference.abs() / depth,
                logarithm.abs() / math.log(10),
                difference.square(),
                logarithm.square(),
            ]
        )
