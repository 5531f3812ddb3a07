"""Everything that fine-tuning can be told, as data: a recipe for each downstream task.

The defaults are Table 7 of the paper. Where the authors' code did something else, the field says
so; the preset ``code`` has those values.
"""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict
from experiments.mae.configuration import Name, Positive

__all__ = [
    "Classification",
    "ColourJitter",
    "Depth",
    "Downstream",
    "FineTuning",
    "Segmentation",
    "TaskName",
]

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]
TaskName = Literal["cls", "semseg", "depth"]


@dataclass(config=strict, kw_only=True)
class ColourJitter:
    """Random colours: `torchvision.transforms.v2.ColorJitter`, and grey images."""

    probability: Share = 0.5
    """Of a jitter of the four below."""
    brightness: Share = 0.4
    """Half the range of the factor around 1, as of contrast and saturation."""
    contrast: Share = 0.4
    saturation: Share = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Half the range of the shift, 1 being the whole circle."""
    grey: Share = 0.0
    """Probability that colours become grey."""


@dataclass(config=strict, kw_only=True)
class FineTuning:
    """What the recipes of all tasks have in common."""

    task: ClassVar[TaskName]

    inputs: Annotated[tuple[Name, ...], Field(min_length=1)] = ("rgb",)
    """Any modalities of the pre-trained model, but not what is to be predicted."""
    image_size: tuple[Positive, Positive] = (224, 224)
    """Height and width in pixels, in training and in evaluation."""
    epochs: Rate = 100.0
    warmup_epochs: NotNegative = 5.0
    """In which the learning rate rises linearly from 0, step by step."""
    batch_size: Positive = 1024
    """Images a step over all processes and micro-batches. Batches run on across the end of an
    epoch, so that each is whole, also where there are fewer images."""
    micro_batch_size: Positive | None = None
    """Images a process takes at once; None: the whole share of the process."""
    learning_rate: Rate = 1e-4
    """At its peak, in the head; see `layer_decay` and `learning_rate_batch`."""
    learning_rate_batch: Positive | None = None
    """Batch size that `learning_rate` is meant for: another scales it in proportion; None: it is
    taken as it is."""
    min_learning_rate: NotNegative = 0.0
    """At the last step, after a cosine."""
    weight_decay: NotNegative = 0.05
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    epsilon: Rate = 1e-8
    max_gradient_norm: NotNegative = 0.0
    """0: no clipping."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Factor of the learning rate from a block to the one before it."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = (0,)
    """Of the new head, the order of the images and their augmentation; each gives a run."""
    train_split: str = "train"
    test_split: str | None = None
    """What is evaluated, all of it; None: the first of test, val and valid that there is."""
    max_train_images: Positive | None = None
    """The first images of a fixed random order only, for trials."""
    workers: Count = 0
    """Processes that load images, beside each that trains."""
    save_every: Positive | None = None
    """Steps between checkpoints of an unfinished run; None: it starts anew if interrupted."""
    keep_models: bool = False
    """Whether fine-tuned models are kept beside their results."""
    pictures: Count = 6
    """Test images whose predictions are drawn, spread evenly over the split."""

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, scaled for the batch if it is to be."""
        return self.learning_rate * self.batch_size / (self.learning_rate_batch or self.batch_size)

    def steps(self, images: int, epochs: float | None = None) -> int:
        """Optimiser steps of a number of epochs, at least 1.

        Args:
            images: in the training split.
            epochs: all of the run if None.
        """
        epochs = self.epochs if epochs is None else epochs
        return max(1, round(epochs * images / self.batch_size))

    @model_validator(mode="after")
    def _consistent(self) -> "FineTuning":
        if self.task in self.inputs:
            raise ValueError(
                f"`{self.task}.inputs` should not hold what is to be predicted; found {self.inputs}"
            )
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(
                f"`{self.task}.inputs` should be different modalities; found {self.inputs}"
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"`{self.task}.warmup_epochs` should be at most `epochs` {self.epochs:g}; "
                f"found {self.warmup_epochs:g}"
            )
        if self.train_split == self.test_split:
            raise ValueError(
                f"`{self.task}.test_split` should be another than `train_split`; "
                f"found {self.test_split!r}"
            )
        return self


@dataclass(config=strict, kw_only=True)
class Classification(FineTuning):
    """Classes of whole images.

    With other inputs than rgb alone, `rand_augment`, `mixup` and `cutmix` have no effect: they
    would move the colours and not the rest. What remains is the crop, the flip and the smoothing.
    """

    task: ClassVar[TaskName] = "cls"

    learning_rate: Rate = 4e-3
    """Table 7, at a batch of 1024; the authors' code: 2e-3."""
    learning_rate_batch: Positive | None = 1024
    min_learning_rate: NotNegative = 1e-6
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.65
    crop_scale: tuple[Rate, Rate] = (0.08, 1.0)
    """Range of the share of the area that a training crop has."""
    rand_augment: str | None = "rand-m9-mstd0.5-inc1"
    """As `timm.data.create_transform` reads it: "Rand(9, 0.5)" of Table 7."""
    colour_jitter: Share = 0.4
    """For rgb alone. Without effect beside `rand_augment`, in timm as in the authors' code."""
    mixup: NotNegative = 0.8
    """α of the Beta distribution of the mixture; 0: none."""
    cutmix: NotNegative = 1.0
    """The same of the area that is pasted; 0: none."""
    cutmix_share: Share = 0.5
    """Probability of cutmix where there is mixup, too."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    central_share: Annotated[float, Field(gt=0, le=1)] = 0.875
    """Side of the central window that is evaluated, over that of the image: 224 / 256."""

    @model_validator(mode="after")
    def _crops(self) -> "Classification":
        if not self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(
                f"`cls.crop_scale` should ascend within (0, 1]; found {self.crop_scale}"
            )
        return self

    @property
    def mixes(self) -> bool:
        """Whether images are mixed in pairs, which needs an even number at once."""
        return self.inputs == ("rgb",) and max(self.mixup, self.cutmix) > 0


@dataclass(config=strict, kw_only=True)
class Segmentation(FineTuning):
    """Classes of pixels.

    MultiMAE's code, for NYUv2: 200 epochs, 1 of them warm-up, batch 8, 640², least learning rate 0.
    The authors', for ImageNet-S50: 32 images a GPU, layer decay 0.65.
    """

    task: ClassVar[TaskName] = "semseg"

    warmup_epochs: NotNegative = 20.0
    min_learning_rate: NotNegative = 1e-6
    scale: tuple[Rate, Rate] = (0.1, 2.0)
    """Large-scale jitter: range of the image's longest side over the side of the result."""
    colours: ColourJitter = field(default_factory=ColourJitter)

    @model_validator(mode="after")
    def _scales(self) -> "Segmentation":
        _check_scale(self.task, self.scale)
        return self


@dataclass(config=strict, kw_only=True)
class Depth(FineTuning):
    """Depth in metres.

    Table 7's batch of 2048 is more than NYUv2's 795 training images; MultiMAE's code has 128, the
    authors' 120 and layer decay 0.65.
    """

    task: ClassVar[TaskName] = "depth"

    image_size: tuple[Positive, Positive] = (256, 256)
    epochs: Rate = 2000.0
    warmup_epochs: NotNegative = 100.0
    batch_size: Positive = 2048
    weight_decay: NotNegative = 1e-4
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Table 7 does not say; 0 in the code."""
    standardisation: tuple[float, Rate] | None = None
    """Mean and standard deviation of depth in metres, which is regressed in these terms; None: as
    measured on the training split. MultiMAE's for NYUv2: 2.0707764, 0.7775723."""
    scale: tuple[Rate, Rate] | None = None
    """Large-scale jitter, as Table 7 says and no code does: range of the image's shortest side over
    the side of the result; None: 1."""
    colours: ColourJitter = field(
        default_factory=lambda: ColourJitter(
            brightness=0.1255, contrast=0.4, saturation=0.5, hue=0.2, grey=0.3
        )
    )

    @model_validator(mode="after")
    def _scales(self) -> "Depth":
        _check_scale(self.task, self.scale or (1.0, 1.0))
        return self


@dataclass(config=strict, kw_only=True)
class Downstream:
    """The recipes of all tasks."""

    cls: Classification = field(default_factory=Classification)
    semseg: Segmentation = field(default_factory=Segmentation)
    depth: Depth = field(default_factory=Depth)


def _check_scale(task: str, scale: tuple[float, float]) -> None:
    if scale[0] > scale[1]:
        raise ValueError(f"`{task}.scale` should ascend; found {scale}")
