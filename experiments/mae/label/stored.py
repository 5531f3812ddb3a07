"""What is predicted for an image, as a PNG that tells of which image it is."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from taskrobust._files import write_atomically

__all__ = ["SOURCE", "Stored", "digest", "is_of", "write"]

SOURCE = "rgb sha256"
"""Key of a text in the PNG: the SHA-256 of the image's file."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Pixels to be stored, and what is noted in their file."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    """``[H, W]``"""
    notes: dict[str, str]


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, stored: Stored, source: str) -> None:
    """Write a PNG, whole or not at all.

    Args:
        path: of the file; its folders are made.
        stored: what is written.
        source: digest of the image that it was predicted for.
    """
    notes = PngInfo()
    for key, value in {SOURCE: source, **stored.notes}.items():
        notes.add_text(key, value)
    made = io.BytesIO()
    Image.fromarray(stored.values).save(made, "PNG", pnginfo=notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, made.getvalue())


def is_of(path: Path, source: str, size: tuple[int, int]) -> bool:
    """Whether a file is there, and was predicted for an image of this digest and size."""
    try:
        with Image.open(path) as image:
            return image.size == size[::-1] and image.info.get(SOURCE) == source
    except (OSError, SyntaxError):
        return False
