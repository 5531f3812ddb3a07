"""Depth by any model of ``AutoModelForDepthEstimation``, stored in 16 bits.

What the numbers mean is not in most models' configurations: those trained as MiDaS predict inverse
depth (near is large) up to scale and offset, those trained on Omnidata depth (far is large) up to
scale and offset, metric ones metres. It is declared with the files.
"""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import MODEL_FOR_DEPTH_ESTIMATION_MAPPING, AutoModelForDepthEstimation

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import DepthFiles
from experiments.mae.label.models import FAILURES, Inputs, LoadedModel, Rgb, find, load
from experiments.mae.label.stored import Stored
from experiments.mae.label.trial import blanks, cannot_label, check_finite, check_framing, prepared

__all__ = ["DepthKind", "DepthModel", "load_depth"]

DepthKind = Literal["inverse", "relative", "metres"]

OPTION = "--depth"
_CONTENT = "content"
"""Name of the height and width of an image without its border."""
_LARGEST = 65535
_MILLIMETRE = 0.001

_METRIC_TYPES = frozenset({"depth_pro", "zoedepth"})
"""Types of models whose output is metres by their making."""


@dataclass(frozen=True, eq=False)
class DepthModel:
    """Predicts depth.

    Attributes:
        model: the network and its image processor.
        files: what is stored.
    """

    model: LoadedModel
    files: DepthFiles

    def prepare(self, image: Rgb) -> Inputs:
        """What the network is given for an image ``[H, W, 3]``."""
        inputs = self.prepare_without_border(image)
        divisor = _padding(self.model.processor)
        if not divisor:
            return inputs
        pixels = inputs["pixel_values"]
        content = torch.tensor([[*pixels.shape[-2:]]])
        top, bottom, left, right = _border(pixels.shape[-2:], divisor)
        pixels = torch.nn.functional.pad(pixels, (left, right, top, bottom))
        return {**inputs, "pixel_values": pixels, _CONTENT: content}

    def prepare_without_border(self, image: Rgb) -> Inputs:
        """As `prepare`, but without the border that some image processors of DPT add."""
        options = {"do_pad": False} if _padding(self.model.processor) else {}
        return self.model.prepare(image, **options)

    def predict(self, inputs: Sequence[Inputs], sizes: Sequence[tuple[int, int]]) -> list[Stored]:
        """Depth of images whose inputs have the same shape.

        Args:
            inputs: of `prepare`.
            sizes: height and width of each image, to which depth is resized (bicubic for most
                models).

        Returns:
            uint16 ``[H, W]`` each.

        Raises:
            ValueError: the network's output is not finite.
        """
        return [self._stored(each) for each in self.depths(inputs, sizes)]

    def depths(
        self, inputs: Sequence[Inputs], sizes: Sequence[tuple[int, int]]
    ) -> list[NDArray[np.float32]]:
        """As `predict`, but what the model says, before it is stored: float32 ``[H, W]``."""
        outputs = self.model([_for_network(each) for each in inputs])
        divisor = _padding(self.model.processor)
        if divisor:
            contents = [each[_CONTENT][0].tolist() for each in inputs]
            found = [
                self._resized(_uncovered(outputs, place, content, divisor), [size])[0]
                for place, (content, size) in enumerate(zip(contents, sizes, strict=True))
            ]
        else:
            found = self._resized(outputs, list(sizes))
        return [depth.reshape(size).cpu().numpy() for depth, size in zip(found, sizes, strict=True)]

    def describe(self) -> dict[str, Any]:
        """What labels depend on."""
        return {**self.model.describe(), "unit": self.files.unit, "scale": self.files.scale}

    def _resized(self, outputs: Any, sizes: list[tuple[int, int]]) -> list[Tensor]:
        resize = self.model.processor.post_process_depth_estimation
        # ZoeDepth's padding is removed by the size that the image had.
        own = (
            {"source_sizes": sizes}
            if "source_sizes" in inspect.signature(resize).parameters
            else {}
        )
        found = resize(outputs, target_sizes=sizes, **own)
        return [each["predicted_depth"].float() for each in found]

    def _stored(self, depth: NDArray[np.float32]) -> Stored:
        if not np.isfinite(depth).all():
            raise ValueError("depth should be finite; found NaN or infinity")
        if self.files.unit == "metres":
            values = np.rint(depth / self.files.scale)
            known = (values >= 1) & (values <= _LARGEST)
            return Stored(np.where(known, values, 0).astype(np.uint16), {})
        low, high = float(depth.min()), float(depth.max())
        values = np.rint((depth.astype(np.float64) - low) / ((high - low) or 1.0) * _LARGEST)
        return Stored(values.astype(np.uint16), {"minimum": repr(low), "maximum": repr(high)})


def load_depth(
    name: str,
    *,
    revision: str | None = None,
    kind: DepthKind | None = None,
    scale: float | None = None,
    device: torch.device,
) -> DepthModel:
    """Load a model that predicts depth, and try it on a blank image.

    It computes in 32 bits on every device: bfloat16 has 8 significant bits, the files have 16.

    Args:
        name: id on the Hub, or folder.
        revision: branch, tag or commit of the Hub; None: the default branch.
        kind: what the model's output means; None: as its configuration says.
        scale: metres of the stored value 1; None: a millimetre, or as many as it takes for the
            largest depth that the configuration knows. Only for metres; others fill all 16 bits,
            image by image, and note the least and the largest value in the file.
        device: that computes.

    Raises:
        ConfigurationError: there is no such model, it is of another kind, lacks weights, or does
            not say what its output means while `kind` is None; or `scale` makes no sense.
    """
    source = find(name, revision, OPTION)
    if type(source.config) not in MODEL_FOR_DEPTH_ESTIMATION_MAPPING:
        raise ConfigurationError(
            f"{OPTION} {name!r}: should be a model of depth estimation, such as DPT or Depth "
            f"Anything; found {source.config.model_type}"
        )
    unit = _unit(source.config, name, kind)
    if scale is not None and unit != "metres":
        raise ConfigurationError(
            f"--depth-scale should be given for metres only, for {unit} depth has none; found "
            f"{scale:g}; leave it out"
        )
    if scale is not None and not 0 < scale < math.inf:
        raise ConfigurationError(f"--depth-scale should be positive and finite; found {scale:g}")
    model = load(source, AutoModelForDepthEstimation, OPTION, device=device)
    found = DepthModel(model, _declared(unit, scale or _scale(source.config)))
    _try(found)
    return found


def _declared(unit: DepthKind, scale: float) -> DepthFiles:
    if unit == "metres":
        return DepthFiles(unit=unit, scale=scale, void=0)
    return DepthFiles(unit=unit, scale=1 / _LARGEST)


def _try(found: DepthModel) -> None:
    model = found.model
    _align(model)
    if not hasattr(model.processor, "post_process_depth_estimation"):
        processor = type(model.processor).__name__
        raise cannot_label(model, OPTION, f"{processor} has no post_process_depth_estimation")
    check_framing(model, OPTION, found.prepare_without_border)
    images = blanks()
    inputs = [prepared(model, OPTION, image, found.prepare) for image in images]
    if any(_is_misread(model, each) for each in inputs):
        raise cannot_label(
            model,
            OPTION,
            "it takes square images only, and its image processor makes others: keep_aspect_ratio "
            "and do_pad should be false, and `size` square, in its preprocessor_config.json",
        )
    for image, each in zip(images, inputs, strict=True):
        try:
            (depth,) = found.depths([each], [image.shape[:2]])
        except FAILURES as error:
            raise cannot_label(model, OPTION, error) from error
        check_finite(model, OPTION, [torch.from_numpy(depth)])


def _is_misread(model: LoadedModel, inputs: Inputs) -> bool:
    """Whether DPT would take the tokens of a wide or high image for those of a square one.

    Without a backbone of its own it is not told the grid, and goes by the number of tokens.
    """
    plain = model.network.config.model_type == "dpt" and model.network.backbone is None
    height, width = inputs["pixel_values"].shape[-2:]
    return plain and height != width


def _unit(config: Any, name: str, stated: DepthKind | None) -> DepthKind:
    """What the output means: as stated, or as the configuration implies."""
    if config.model_type in _METRIC_TYPES:
        implied: DepthKind | None = "metres"
    else:
        # Depth Anything's "relative" is relative inverse depth.
        types: dict[str, DepthKind] = {"relative": "inverse", "metric": "metres"}
        implied = types.get(getattr(config, "depth_estimation_type", ""))
    if stated is not None and stated not in get_args(DepthKind):
        raise ConfigurationError(
            f"--depth-kind should be one of {', '.join(get_args(DepthKind))}; found {stated!r}"
        )
    unit = stated or implied
    if unit is None:
        raise ConfigurationError(
            f"--depth-kind should be stated, for the configuration of {name!r} "
            f"({config.model_type}) does not say what it predicts: inverse (trained as MiDaS; near "
            "is large), relative (trained on Omnidata; far is large) or metres"
        )
    if (unit == "metres") != (implied == "metres") and implied is not None:
        raise ConfigurationError(
            f"--depth-kind should be {implied}, as the configuration of {name!r} "
            f"({config.model_type}) says; found {unit}"
        )
    return unit


def _scale(config: Any) -> float:
    """Metres of the stored value 1: whole millimetres, so that the largest depth fits."""
    bins = getattr(config, "bin_configurations", None) or []
    farthest = [getattr(config, "max_depth", None), *(each["max_depth"] for each in bins)]
    most = max((float(each) for each in farthest if each), default=0.0)
    return _MILLIMETRE * max(1, math.ceil(most / (_LARGEST * _MILLIMETRE)))


def _align(model: LoadedModel) -> None:
    """Have images resized to sides that the network covers with patches, and none cut off.

    DPT halves its grid of patches once more: its sides should be multiples of two patches.
    """
    multiple = getattr(model.processor, "ensure_multiple_of", None)
    if multiple is None:
        return
    config = model.network.config
    backbone = getattr(config, "backbone_config", None)
    patch = getattr(backbone, "patch_size", None) or getattr(config, "patch_size", None)
    if isinstance(patch, int):
        factor = 2 if config.model_type == "dpt" else 1
        model.processor.ensure_multiple_of = math.lcm(multiple, factor * patch)


def _padding(processor: Any) -> int:
    """The multiple to which DPT's image processor pads without undoing it; 0: it does not pad."""
    if not getattr(processor, "do_pad", False):
        return 0
    return getattr(processor, "size_divisor", None) or 0


def _border(size: Sequence[int], divisor: int) -> tuple[int, int, int, int]:
    """Rows above and below and columns left and right that make a multiple of an image."""
    rows, columns = (-side % divisor for side in size)
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _uncovered(outputs: Any, place: int, content: Sequence[int], divisor: int) -> Any:
    """Outputs of one image, without what was predicted for its border."""
    top, bottom, left, right = _border(content, divisor)
    height, width = content
    whole = torch.nn.functional.interpolate(
        outputs.predicted_depth[place][None, None],
        size=(top + height + bottom, left + width + right),
        mode="bicubic",
        align_corners=False,
    )[0]
    return type(outputs)(predicted_depth=whole[:, top : top + height, left : left + width])


def _for_network(inputs: Inputs) -> Inputs:
    return {name: values for name, values in inputs.items() if name != _CONTENT}
