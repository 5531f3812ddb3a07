"""Models tried on blank images before any work: what they see, and that they are complete."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.label.models import FAILURES, Inputs, LoadedModel, Rgb, first_line

__all__ = ["blanks", "cannot_label", "check_finite", "check_framing", "prepared"]

_SIZES = ((97, 131), (131, 97))
"""No scheme of padding leaves images of both sizes as they are."""


def blanks() -> list[Rgb]:
    """White images, a wide and a high one, of sizes that are multiples of nothing."""
    return [np.full((*size, 3), 255, np.uint8) for size in _SIZES]


def check_framing(model: LoadedModel, option: str, prepare: Callable[[Rgb], Inputs]) -> None:
    """See that processed images show the whole image and nothing else.

    Args:
        model: whose image processor is tried on white images.
        option: that gave the name, for messages.
        prepare: gives images to it.

    Raises:
        ConfigurationError: they are padded or cropped.
    """
    for image in blanks():
        shown = prepared(model, option, image, prepare)
        pixels = shown["pixel_values"]
        padded = (pixels.amax((-2, -1)) - pixels.amin((-2, -1))).max().item() > 1e-3
        if padded or getattr(model.processor, "do_center_crop", None):
            raise ConfigurationError(
                f"{option} {model.source.name!r}: its image processor should resize the whole "
                f"image; found one that {'pads' if padded else 'crops'}, so that predictions do "
                "not lie over the image; set do_pad and do_center_crop to false in its "
                "preprocessor_config.json, or give another model"
            )


def prepared(
    model: LoadedModel, option: str, image: Rgb, prepare: Callable[[Rgb], Inputs]
) -> Inputs:
    """Prepare an image.

    Args:
        model: for messages.
        option: that gave its name, for messages.
        image: ``[H, W, 3]``.
        prepare: how.

    Raises:
        ConfigurationError: the image processor does not take it, or makes several of it.
    """
    try:
        made = prepare(image)
        pixels = made["pixel_values"]
    except FAILURES as error:
        raise cannot_label(model, option, error) from error
    if pixels.ndim != 4 or len(pixels) != 1:
        raise cannot_label(model, option, f"an image becomes {tuple(pixels.shape)}")
    return made


def cannot_label(model: LoadedModel, option: str, why: Exception | str) -> ConfigurationError:
    """The error of a model that does not do what it is asked for."""
    reason = why if isinstance(why, str) else f"{type(why).__name__}: {first_line(why)}"
    return ConfigurationError(
        f"{option} {model.source.name!r}: {type(model.network).__name__} cannot label an image "
        f"({reason}); give another model"
    )


def check_finite(model: LoadedModel, option: str, outputs: Sequence[Tensor]) -> None:
    """See that a trial used no weight that the files lack.

    Raises:
        ConfigurationError: some output is not finite.
    """
    if not all(each.isfinite().all() for each in outputs):
        raise ConfigurationError(
            f"{option} {model.source.name!r}: its outputs should be finite; found NaN or infinity, "
            f"so that weights of {type(model.network).__name__} are missing or damaged; give a "
            "checkpoint that was trained for this"
        )
