"""Image files as the values they store, and those as tensors that know what they are.

Depth is a `tv_tensors.Mask` as labels are: it is resized to the nearest pixel. Interpolation would
average across the edges of objects, which gives depths that no surface has, and would mix unknown
pixels into known ones; the price is aliasing where depth is scaled down.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torchvision import tv_tensors

from experiments.configuration import ConfigurationError
from experiments.mae.batches import VALID
from experiments.mae.data.declarations import (
    DepthFiles,
    LabelFiles,
    ModalityFiles,
    RgbFiles,
    class_table,
)

__all__ = ["as_tensors", "decode", "stored_values"]

_BITS = {"1": 8, "L": 8, "P": 8, "I;16": 16, "I;16B": 16, "I": 16}
"""Bits of a stored value by PIL's mode; "I" is what Pillow before 11.3 makes of 16 bits in PNG."""

_LABELS = frozenset(_BITS)
_DEPTH = frozenset(_BITS) - {"1", "P"}
_COLOUR = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

_DAMAGED = (
    OSError, SyntaxError, EOFError, ValueError, OverflowError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What reading a truncated or damaged image raises."""

_LOSSLESS = ("PNG", "TIFF", "BMP", "PPM")
_END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"


def stored_values(
    path: Path, files: ModalityFiles, content: bytes | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """The pixels of a file, as they are stored.

    Args:
        path: of the file.
        files: what it should hold.
        content: its bytes, if they are at hand; then every checksum in them is verified, too.

    Returns:
        ``[H, W, 3]`` for colour, else ``[H, W]``.

    Raises:
        ConfigurationError: the file cannot be read to its end, or holds another kind of image.
    """
    try:
        if content is not None:
            _verify(content)
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            _check_kind(path, image, files)
            if isinstance(files, RgbFiles):
                return np.asarray(image.convert("RGB"))
            kind: type[np.unsignedinteger[Any]] = np.uint8 if _BITS[image.mode] == 8 else np.uint16
            return np.asarray(image).astype(kind)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: is missing; put it back, or build the manifest again"
        ) from None
    except ConfigurationError:
        raise
    except _DAMAGED as error:
        raise ConfigurationError(
            f"{path}: cannot be read to its end ({error}); fetch or make the file again"
        ) from error


def as_tensors(
    path: Path, files: ModalityFiles, values: NDArray[np.unsignedinteger[Any]]
) -> dict[str, tv_tensors.TVTensor]:
    """Stored pixels as tensors.

    Args:
        path: for the messages.
        files: what they are.
        values: from `stored_values`.

    Returns:
        By name, colour: `Image` uint8 ``[3, H, W]``; depth: `Mask` float32 ``[1, H, W]`` in its
        unit, 0 where unknown, and, if some may be unknown, ``NAME_valid``, `Mask` bool of that
        shape; labels: `Mask` int64 ``[H, W]`` of class ids, the id `classes` where unlabelled.

    Raises:
        ConfigurationError: a label that is no class, or depth beyond the limits; with its place.
    """
    if isinstance(files, RgbFiles):
        return {files.name: tv_tensors.Image(torch.tensor(values).permute(2, 0, 1).contiguous())}
    if isinstance(files, LabelFiles):
        return {files.name: tv_tensors.Mask(torch.from_numpy(_classes(path, files, values)))}
    depth, known = _depth(path, files, values)
    found = {files.name: tv_tensors.Mask(torch.from_numpy(depth)[None])}
    if files.void is not None:
        found[files.name + VALID] = tv_tensors.Mask(torch.from_numpy(known)[None])
    return found


def decode(path: Path, files: ModalityFiles) -> dict[str, tv_tensors.TVTensor]:
    """A file as tensors: `as_tensors` of its `stored_values`."""
    return as_tensors(path, files, stored_values(path, files))


def _verify(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
        if image.format == "PNG" and _END_OF_PNG not in content:
            raise OSError("the end of the PNG is missing")


def _check_kind(path: Path, image: Image.Image, files: ModalityFiles) -> None:
    if isinstance(files, RgbFiles):
        if image.mode not in _COLOUR:
            raise ConfigurationError(
                f"{path}: should be an image of 8 bits a channel; found mode {image.mode}; "
                "convert it to RGB"
            )
        return
    if image.format not in _LOSSLESS:
        raise ConfigurationError(
            f"{path}: {files.name} should be stored without loss, as PNG; found {image.format}; "
            "make it again from its source"
        )
    if image.mode not in (_DEPTH if isinstance(files, DepthFiles) else _LABELS):
        remedy = "write depth as grey values" if files.kind == "depth" else "write ids, not colours"
        raise ConfigurationError(
            f"{path}: {files.name} should have one channel; found mode {image.mode}; {remedy}"
        )
    bits = _BITS[image.mode]
    if isinstance(files, DepthFiles) and bits != files.bits:
        raise ConfigurationError(
            f"{path}: should have {files.bits} bits a pixel, as declared for {files.name}; found "
            f"{bits}; write it with {files.bits} bits, or declare `bits` {bits} and its scale"
        )
    if image.format == "PNG" and image.mode == "L" and _rescaled(image):
        raise ConfigurationError(
            f"{path}: should have 8 or 16 bits a pixel, for fewer grey values are rescaled where "
            "they are read; found 2 or 4; write it with 8 bits"
        )


def _rescaled(image: Image.Image) -> bool:
    """Whether grey values of 2 or 4 bits become the range to 255, as PIL reads them."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return any(str(tile[-1]).startswith(("L;2", "L;4")) for tile in tiles)


def _classes(
    path: Path, files: LabelFiles, values: NDArray[np.unsignedinteger[Any]]
) -> NDArray[np.int64]:
    ids = class_table(files)[values]
    if ids.size and ids.min() < 0:
        row, column = np.unravel_index(int(ids.argmin()), ids.shape)
        last = files.first + files.classes - 1
        others = f" or ignored ({', '.join(map(str, files.ignored))})" if files.ignored else ""
        raise ConfigurationError(
            f"{path}: {files.name} should be {files.first} to {last}{others}; found "
            f"{values[row, column]} in row {row}, column {column}; correct the file, or declare "
            "`classes`, `first` and `ignored` as they are"
        )
    found: NDArray[np.int64] = ids.astype(np.int64)
    return found


def _depth(
    path: Path, files: DepthFiles, values: NDArray[np.unsignedinteger[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    known = np.full(values.shape, True) if files.void is None else values != files.void
    depth = np.where(known, values * files.scale, 0.0)
    if files.unit == "metres" and not depth[known].all():
        row, column = np.unravel_index(int((known & (depth == 0)).argmax()), depth.shape)
        raise ConfigurationError(
            f"{path}: {files.name} should be above 0 metres; found 0 in row {row}, column "
            f"{column}; declare `void` 0 if it stands for unknown depth"
        )
    if files.limits is not None:
        least, most = files.limits
        wrong = known & ((depth < least) | (depth > most))
        if wrong.any():
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise ConfigurationError(
                f"{path}: {files.name} should be {least:g} to {most:g} {files.unit}; found "
                f"{depth[row, column]:g} (stored {values[row, column]}) in row {row}, column "
                f"{column}; check `scale` {files.scale:g}, `void` and `limits`"
            )
    return depth.astype(np.float32), known
