"""What the files of a modality hold, as a manifest declares it."""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict

__all__ = ["DepthFiles", "LabelFiles", "ModalityFiles", "RgbFiles", "class_table"]

Positive = Annotated[int, Field(ge=1)]
Stored = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Side = tuple[Positive, Positive]

VALUES = 1 << 16
"""Values that a pixel of a label map can have."""


@dataclass(config=strict, kw_only=True)
class RgbFiles:
    """Colour images of 8 bits a channel, in any format; grey ones become colour."""

    kind: Literal["rgb"] = "rgb"
    name: Name = "rgb"


@dataclass(config=strict, kw_only=True)
class DepthFiles:
    """Lossless images of one channel: depth = scale · stored value."""

    kind: Literal["depth"] = "depth"
    name: Name = "depth"
    bits: Literal[8, 16] = 16
    """Of a stored value; a file of another depth is refused, for its scale would be another."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Depth of the stored value 1, in `unit`."""
    unit: Literal["metres", "relative", "inverse"] = "metres"
    """``relative``: known up to scale and offset; ``inverse``: the same of 1/depth, as MiDaS
    predicts it."""
    void: Stored | None = None
    """Stored value of pixels whose depth is unknown; None: all are known."""
    limits: tuple[float, float] | None = None
    """Least and largest depth, in `unit`, that the files may hold; None: any."""

    @model_validator(mode="after")
    def _consistent(self) -> "DepthFiles":
        if self.void is not None and self.void >= 1 << self.bits:
            raise ValueError(
                f"`{self.name}.void` should fit into `bits` {self.bits}; found {self.void}"
            )
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError(f"`{self.name}.limits` should ascend; found {self.limits}")
        return self


@dataclass(config=strict, kw_only=True)
class LabelFiles:
    """Lossless images of one channel or of palette indices: class id = stored value - first."""

    kind: Literal["labels"] = "labels"
    name: Name = "semseg"
    classes: Positive
    first: Stored = 0
    """Stored value of class 0."""
    ignored: tuple[Stored, ...] = ()
    """Stored values of unlabelled pixels; they become the id `classes`."""
    stride: Positive = 1
    """Pixels of the image a label stands for, in height and in width."""
    class_names: tuple[str, ...] = ()
    """Of all classes, or none."""

    @model_validator(mode="after")
    def _consistent(self) -> "LabelFiles":
        if self.first + self.classes > VALUES:
            raise ValueError(
                f"`{self.name}.classes` should be at most {VALUES - self.first}; "
                f"found {self.classes}"
            )
        both = [each for each in self.ignored if 0 <= each - self.first < self.classes]
        if both:
            raise ValueError(
                f"`{self.name}.ignored` should be no class (stored as {self.first} to "
                f"{self.first + self.classes - 1}); found {both[0]}"
            )
        if len(self.class_names) not in (0, self.classes):
            raise ValueError(
                f"`{self.name}.class_names` should be {self.classes} names or none; "
                f"found {len(self.class_names)}"
            )
        return self


ModalityFiles = Annotated[RgbFiles | DepthFiles | LabelFiles, Field(discriminator="kind")]


@lru_cache
def class_table(files: LabelFiles) -> NDArray[np.int32]:
    """Class id by stored value ``[65536]``: the id `classes` if ignored, -1 if not allowed."""
    table = np.full(VALUES, -1, np.int32)
    table[files.first : files.first + files.classes] = np.arange(files.classes)
    table[list(files.ignored)] = files.classes
    table.setflags(write=False)
    return table
