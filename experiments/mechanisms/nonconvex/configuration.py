"""Everything that the study of softmax weighting outside convexity can be told, as data."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict

__all__ = ["Arm", "Control", "Network", "NonconvexStudy", "Text"]

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Names of arms are names of folders."""


@dataclass(config=strict, kw_only=True)
class Arm:
    """A way to choose the sharpness α_k of Eq. (7)."""

    schedule: Literal["constant", "square-root", "sharpened", "printed"] = "constant"
    """Constant; `alpha` · √((k+1)/K); or those of `taskrobust.schedules`: `sharpened_alpha`, and
    `paper_alpha` as printed in Theorem 3.1. The last two need the constants R₀, L' and B."""
    alpha: Annotated[float, Field(ge=0)] | None = None
    """Sharpness, in 1 / nats: 0 is the average, infinity the hard maximum. Of "square-root" the
    last one. None for schedules that follow from constants."""

    @model_validator(mode="after")
    def _consistent(self) -> "Arm":
        given = self.schedule in {"constant", "square-root"}
        if given == (self.alpha is None):
            raise ValueError(
                f"`alpha` should be {'a number' if given else 'left out'} for schedule "
                f"{self.schedule!r}; found {self.alpha!r}"
            )
        if self.schedule == "square-root" and self.alpha == float("inf"):
            raise ValueError("`alpha` should be finite for schedule 'square-root'; found inf")
        return self


@dataclass(config=strict, kw_only=True)
class Text:
    """Generated text with gold parts of speech; all gradients are over all of its instances."""

    documents: Positive = 160
    vocabulary_size: Positive = 300
    sequence_length: Annotated[int, Field(ge=16, le=512)] = 32
    held_out: Share = 0.25
    """Share of the documents in each of the two splits that are not trained on."""
    instances: Positive = 256
    """Of training, and at most as many held out."""
    mask_probability: Share = 0.25
    max_predictions: Positive = 8


@dataclass(config=strict, kw_only=True)
class Network:
    """PoS-BERT so small that it cannot remember the text, so that its nine tasks compete."""

    layers: Positive = 1
    hidden: Positive = 8
    heads: Positive = 2
    initial_scale: Rate = 0.2
    """Standard deviation of the initial weights; BERT's 0.02 is meant for a width of 768."""
    steps: Positive = 500
    learning_rate: Rate = 0.02
    """Of Adam at the first step; it falls linearly to 0."""

    @model_validator(mode="after")
    def _consistent(self) -> "Network":
        if self.hidden % self.heads:
            raise ValueError(
                f"`network.hidden` should be a multiple of `network.heads`; found {self.hidden} "
                f"and {self.heads}"
            )
        return self


@dataclass(config=strict, kw_only=True)
class Control:
    """One linear head for all tasks on features of the frozen encoder: a convex problem."""

    encoder: ArmName = "average"
    """Arm that has trained the encoder of the second control; that of the first is untrained."""
    pieces_per_task: Positive = 2
    """So many most frequent pieces of every task are the classes of the head."""
    examples_per_task: Positive = 16
    features: Positive = 7
    """Principal components, of variance 1; a constant is added. The encoder's last normalisation
    takes one dimension of `network.hidden`."""
    ridge: Rate = 0.01
    """λ of λ/2 ‖W‖², which is added to every risk: else some task could be without a minimum."""
    steps: Positive = 4000
    """K of Theorem 3.1."""


@dataclass(config=strict, kw_only=True)
class NonconvexStudy:
    """A preset: text, network, control, arms, and what is measured."""

    text: Text = field(default_factory=Text)
    network: Network = field(default_factory=Network)
    control: Control = field(default_factory=Control)
    arms: dict[ArmName, Arm] = field(default_factory=dict)
    pilot: ArmName = "average"
    """Arm of constant sharpness that gives the network's R₀, L' and B to the schedules."""
    risk_points: Annotated[int, Field(ge=2)] = 60
    """Steps at which risks are recorded, at most: half spaced evenly, half geometrically."""
    gradient_points: Annotated[int, Field(ge=2)] = 16
    """Those at which gradients of all tasks are."""
    active: Rate = 0.05
    """Tasks within so many nats of the worst take part in the stationarity of the maximum."""

    @model_validator(mode="after")
    def _consistent(self) -> "NonconvexStudy":
        for name, value in (("pilot", self.pilot), ("control.encoder", self.control.encoder)):
            if value not in self.arms:
                raise ValueError(f"`{name}` should name an arm; found {value!r}")
        if self.arms[self.pilot].schedule != "constant":
            raise ValueError(
                f"`pilot` should name an arm of constant sharpness; found {self.pilot!r}"
            )
        if self.control.features > self.network.hidden:
            raise ValueError(
                "`control.features` should be at most `network.hidden`; found "
                f"{self.control.features} and {self.network.hidden}"
            )
        return self
