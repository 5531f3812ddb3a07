"""Semantic labels by Mask2Former, or any other model of universal or semantic segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import VALUES, LabelFiles
from experiments.mae.label.models import FAILURES, Inputs, LoadedModel, Rgb, find, load
from experiments.mae.label.stored import Stored
from experiments.mae.label.trial import blanks, cannot_label, check_finite, check_framing, prepared

__all__ = ["SemanticModel", "load_semantics"]

OPTION = "--semseg"


@dataclass(frozen=True, eq=False)
class SemanticModel:
    """Predicts a class for each pixel.

    Attributes:
        model: the network and its image processor.
        files: what is stored: ids of the model's configuration.
    """

    model: LoadedModel
    files: LabelFiles

    def prepare(self, image: Rgb) -> Inputs:
        """What the network is given for an image ``[H, W, 3]``."""
        return self.model.prepare(image)

    def predict(self, inputs: Sequence[Inputs], sizes: Sequence[tuple[int, int]]) -> list[Stored]:
        """Classes of images whose inputs have the same shape: the arg-max at the images' size.

        Args:
            inputs: of `prepare`.
            sizes: height and width of each image.

        Returns:
            ``[H, W]`` each: uint8, or uint16 if there are more than 256 classes.

        Raises:
            ValueError: the network predicts something that is none of its classes.
        """
        return [self._stored(each) for each in self._maps(self.model(inputs), sizes)]

    def describe(self) -> dict[str, Any]:
        """What labels depend on."""
        return {**self.model.describe(), "classes": self.files.classes}

    def _maps(self, outputs: Any, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Class ids by the model's own rule, int64 ``[H, W]`` each."""
        found: list[Tensor] = self.model.processor.post_process_semantic_segmentation(
            outputs, target_sizes=list(sizes)
        )
        return found

    def _stored(self, ids: Tensor) -> Stored:
        values = ids.cpu().numpy()
        if values.min() < 0 or values.max() >= self.files.classes:
            raise ValueError(
                f"classes should be 0 to {self.files.classes - 1}; found {values.min()} to "
                f"{values.max()}"
            )
        few = self.files.classes <= 1 << 8
        return Stored(values.astype(np.uint8) if few else values.astype(np.uint16), {})


def load_semantics(
    name: str,
    *,
    revision: str | None = None,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> SemanticModel:
    """Load a model of semantic segmentation, and try it on a blank image.

    Args:
        name: id on the Hub, or folder.
        revision: branch, tag or commit of the Hub; None: the default branch.
        device: that computes.
        precision: float32, or a narrower one for products.

    Raises:
        ConfigurationError: there is no such model, it is of another kind, or it lacks weights.
    """
    source = find(name, revision, OPTION)
    if type(source.config) in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING:
        kind = AutoModelForUniversalSegmentation
    elif type(source.config) in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING:
        kind = AutoModelForSemanticSegmentation
    else:
        raise ConfigurationError(
            f"{OPTION} {name!r}: should be a model of universal or semantic segmentation, such as "
            f"Mask2Former; found {source.config.model_type}"
        )
    files = _declared(name, source.config.id2label)
    model = load(source, kind, OPTION, device=device, precision=precision)
    found = SemanticModel(model, files)
    _try(found)
    return found


def _declared(name: str, id2label: dict[int, str]) -> LabelFiles:
    """Labels of a configuration, whose ids should be the numbers from 0 on."""
    ids = sorted(int(each) for each in id2label)
    if ids != list(range(len(ids))) or not 0 < len(ids) <= VALUES:
        raise ConfigurationError(
            f"{OPTION} {name!r}: `id2label` should name the classes from 0 on; found "
            f"{len(ids)} from {min(ids, default=None)} to {max(ids, default=None)}; correct its "
            "config.json"
        )
    names = {int(number): label for number, label in id2label.items()}
    return LabelFiles(classes=len(ids), class_names=tuple(str(names[each]) for each in ids))


def _try(found: SemanticModel) -> None:
    model, image = found.model, blanks()[0]
    if not hasattr(model.processor, "post_process_semantic_segmentation"):
        processor = type(model.processor).__name__
        raise cannot_label(model, OPTION, f"{processor} has no post_process_semantic_segmentation")
    check_framing(model, OPTION, model.prepare)
    inputs = prepared(model, OPTION, image, model.prepare)
    try:
        outputs = model([inputs])
        found._stored(found._maps(outputs, [image.shape[:2]])[0])
    except FAILURES as error:
        raise cannot_label(model, OPTION, error) from error
    names = ("logits", "class_queries_logits", "masks_queries_logits", "pred_masks")
    check_finite(model, OPTION, [outputs[each] for each in names if each in outputs])
