"""Everything that a Multi-Modal Mask MAE can be told, as data.

The defaults are the paper's model: ViT-B at 224², patches of 16², three modalities, 98 visible
tokens of 588.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict

__all__ = [
    "DEPTH",
    "NORMALISED_RGB",
    "RGB",
    "SEMSEG",
    "TINY",
    "ImageModality",
    "LabelModality",
    "Masking",
    "Modality",
    "ModelSize",
]

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

NORMALISED_RGB = "norm_rgb"
"""Name of the extra task of `ModelSize.norm_rgb`."""


@dataclass(config=strict, kw_only=True)
class ImageModality:
    """Real values ``[B, channels, H, W]``, reconstructed by value."""

    kind: Literal["image"] = "image"
    name: Name
    channels: Positive
    loss: Literal["squared", "absolute"]
    """Mean over the channels of the squared or of the absolute error."""
    standardised: bool = False
    """Whether the model first standardises each image by its own truncated mean and deviation
    (`experiments.mae.model.depth`), as depth of unknown scale needs it."""


@dataclass(config=strict, kw_only=True)
class LabelModality:
    """Class ids ``[B, H / stride, W / stride]``, reconstructed by cross-entropy."""

    kind: Literal["labels"] = "labels"
    name: Name
    classes: Positive
    stride: Positive = 4
    """Pixels of the image a label stands for, in height and in width."""
    class_width: Positive = 64
    """Width of the learned embedding of a class."""
    void: bool = False
    """Whether the id `classes` is allowed: unlabelled, embedded as zero and without a loss."""


Modality = Annotated[ImageModality | LabelModality, Field(discriminator="kind")]

RGB = ImageModality(name="rgb", channels=3, loss="squared")
DEPTH = ImageModality(name="depth", channels=1, loss="absolute", standardised=True)
SEMSEG = LabelModality(name="semseg", classes=133)


@dataclass(config=strict, kw_only=True)
class ModelSize:
    """Modalities and widths; the defaults are ViT-B/16 at 224² with decoders of 256."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] = (RGB, DEPTH, SEMSEG)
    """Their order is that of the tokens, of the decoders and of the tasks."""
    norm_rgb: bool = False
    """Whether a further decoder reconstructs rgb, each patch normalised, as a task of its own."""
    image_size: tuple[Positive, Positive] = (224, 224)
    """Height and width in pixels."""
    patch_size: Positive = 16
    width: Positive = 768
    layers: Positive = 12
    heads: Positive = 12
    decoder_width: Positive = 256
    decoder_layers: Positive = 2
    """Self-attention blocks after the cross-attention."""
    decoder_heads: Positive = 8
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of a modality, in height and in width."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def patches(self) -> int:
        """Patches of a modality."""
        return self.grid[0] * self.grid[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks: the modalities, then `NORMALISED_RGB` if there is one."""
        return (*self.names, NORMALISED_RGB) if self.norm_rgb else self.names

    def modality(self, name: str) -> ImageModality | LabelModality:
        """The modality of a name.

        Raises:
            ValueError: there is none.
        """
        for modality in self.modalities:
            if modality.name == name:
                return modality
        known = ", ".join(self.names)
        raise ValueError(f"`name` should be a modality of the model ({known}); found {name!r}")

    @model_validator(mode="after")
    def _consistent(self) -> "ModelSize":
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(
                f"`modalities` should have different names, none of them {NORMALISED_RGB!r} beside "
                f"`norm_rgb`; found {', '.join(self.names)}"
            )
        if any(side % self.patch_size for side in self.image_size):
            raise ValueError(
                f"`image_size` should be multiples of `patch_size` {self.patch_size}; "
                f"found {self.image_size}"
            )
        for each in self.modalities:
            if isinstance(each, LabelModality) and self.patch_size % each.stride:
                raise ValueError(
                    f"`modalities.{each.name}.stride` should divide `patch_size` "
                    f"{self.patch_size}; found {each.stride}"
                )
        self._check_width("width", self.width, "heads", self.heads)
        self._check_width("decoder_width", self.decoder_width, "decoder_heads", self.decoder_heads)
        if self.norm_rgb and not (
            "rgb" in self.names and isinstance(self.modality("rgb"), ImageModality)
        ):
            raise ValueError(
                f"`norm_rgb` should be false without an image modality rgb; "
                f"found modalities {', '.join(self.names)}"
            )
        return self

    @staticmethod
    def _check_width(name: str, width: int, heads_name: str, heads: int) -> None:
        """Sines and cosines of two coordinates need a multiple of 4."""
        if width % 4 or width % heads:
            raise ValueError(
                f"`{name}` should be a multiple of 4 and of `{heads_name}`; "
                f"found {width} and {heads}"
            )


TINY = ModelSize(
    image_size=(64, 64),
    width=64,
    layers=2,
    heads=4,
    decoder_width=32,
    decoder_layers=1,
    decoder_heads=4,
)
"""For trials and tests: 3 · 16 tokens."""


@dataclass(config=strict, kw_only=True)
class Masking:
    """Which tokens the encoder sees, drawn by (seed, duplicate, index)."""

    visible: Positive = 98
    """Visible tokens of all modalities together, exactly, in every sample."""
    concentration: Annotated[float, Field(gt=0)] = 1.0
    """α of the symmetric Dirichlet distribution of the modalities' shares; 1: uniform."""
    seed: Annotated[int, Field(ge=0)] = 0
