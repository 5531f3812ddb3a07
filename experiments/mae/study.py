"""A whole study of Multi-Modal Mask MAE as data; presets are in ``experiments/presets/mae``.

The defaults are the paper's (Table 6, Appendix D.2). Where the authors' code did something else,
the field says so; the preset ``code`` has those values.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict
from experiments.mae.configuration import Masking, ModelSize
from experiments.mae.data.preparation import Preparation
from experiments.mae.downstream.configuration import Downstream

__all__ = ["Arm", "Crop", "MaeStudy", "Optimisation"]

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Names of arms are names of folders."""


@dataclass(config=strict, kw_only=True)
class Crop:
    """The random window that all modalities of a training image are cut to."""

    scale: tuple[Rate, Rate] = (0.2, 1.0)
    """Range of its share of the area."""
    ratio: tuple[Rate, Rate] = (3 / 4, 4 / 3)
    """Range of width / height."""
    flip: Share = 0.5
    seed: Count = 0

    @model_validator(mode="after")
    def _ascending(self) -> "Crop":
        if not self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"`crop.scale` should ascend within (0, 1]; found {self.scale}")
        if not self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"`crop.ratio` should ascend; found {self.ratio}")
        return self


@dataclass(config=strict, kw_only=True)
class Optimisation:
    """AdamW with warm-up from 0 and a cosine, step by step (Table 6)."""

    epochs: Rate = 1600.0
    warmup_epochs: NotNegative = 40.0
    batch_size: Positive = 2048
    """Images a step over all processes and micro-batches; the authors' code: 660. Batches run on
    across the end of an epoch."""
    micro_batch_size: Positive | None = None
    """Images a process takes at once; None: the whole share of the process."""
    base_learning_rate: Rate = 1e-4
    """At its peak, for 256 images a step; it is scaled by the batch (8e-4 for 2048)."""
    min_learning_rate: NotNegative = 1e-6
    """At the last step; MultiMAE's configuration: 0."""
    weight_decay: NotNegative = 0.05
    decay_vectors: bool = True
    """Whether biases, norms and tokens decay too, as in the authors' code; the paper is silent, and
    usual recipes leave them out. Parameters of balancers never decay (in the code they do)."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    epsilon: Rate = 1e-8
    max_gradient_norm: NotNegative = 0.0
    """0: no clipping."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False
    workers: Count = 0
    """Processes that load images, beside each that trains."""

    @property
    def learning_rate(self) -> float:
        """At its peak."""
        return self.base_learning_rate * self.batch_size / 256

    def steps(self, images: int, epochs: float | None = None) -> int:
        """Optimiser steps of a number of epochs, at least 1.

        Args:
            images: for training.
            epochs: all of the run if None.
        """
        epochs = self.epochs if epochs is None else epochs
        return max(1, round(epochs * images / self.batch_size))

    @model_validator(mode="after")
    def _warm(self) -> "Optimisation":
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"`optimisation.warmup_epochs` should be at most `epochs` {self.epochs:g}; "
                f"found {self.warmup_epochs:g}"
            )
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"`optimisation.min_learning_rate` should be at most the peak "
                f"{self.learning_rate:g}; found {self.min_learning_rate:g}"
            )
        return self


@dataclass(config=strict, kw_only=True)
class Arm:
    """One way to combine the risks of the tasks: a balancer and its options."""

    balancer: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(config=strict, kw_only=True)
class MaeStudy:
    """A preset: data, model, arms, pre-training, fine-tuning."""

    preparation: Preparation | None = None
    """What ``prepare`` does; None: the manifest is there."""
    crop: Crop = field(default_factory=Crop)
    masking: Masking = field(default_factory=Masking)
    model: ModelSize = field(default_factory=ModelSize)
    optimisation: Optimisation = field(default_factory=Optimisation)
    arms: dict[ArmName, Arm] = field(default_factory=dict)
    train_split: str = "train"
    held_out_split: str | None = None
    """Reconstructed in evaluations; None: the first of val, valid and test that there is."""
    evaluate_every: Rate = 20.0
    """Epochs between evaluations of the held-out split."""
    save_every: Rate = 20.0
    """Epochs between checkpoints."""
    picture_every: Rate = 20.0
    """Epochs between pictures of reconstructions."""
    pictures: Count = 6
    """Held-out images that are shown in them, spread evenly over the split."""
    snapshots: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of pre-training after which the model is kept, beside that of the end."""
    log_every: Positive = 50
    """Steps between lines of the log."""
    seed: Count = 0
    """Of the order of the images."""
    downstream: Downstream = field(default_factory=Downstream)

    @model_validator(mode="after")
    def _consistent(self) -> "MaeStudy":
        tokens = self.model.patches * len(self.model.modalities)
        if self.masking.visible >= tokens:
            raise ValueError(
                f"`masking.visible` should be less than the {tokens} tokens of `model`; "
                f"found {self.masking.visible}"
            )
        if self.train_split == self.held_out_split:
            raise ValueError(
                f"`held_out_split` should be another than `train_split`; "
                f"found {self.held_out_split!r}"
            )
        return self
