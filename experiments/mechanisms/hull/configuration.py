"""What the measurement can be told, as data."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from experiments.configuration import strict

__all__ = ["Settings"]

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


@dataclass(config=strict, kw_only=True)
class Settings:
    """How gradients are measured and heads are fitted."""

    examples: Annotated[int, Field(ge=2)] = 512
    """Held-out examples of each risk at most, drawn at random; half of them in each half."""
    batch_size: Positive = 32
    """Examples at once; less if there are too few for two halves."""
    head_examples: Positive = 2000
    """Training examples that a downstream head is fitted on at most, drawn at random."""
    head_steps: Positive = 500
    """Steps of AdamW, batches of `batch_size`."""
    head_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-3
    """At the first step; it falls to 0 along a cosine."""
    head_weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    seed: Seed = 0
    """Of the choice of examples, of the heads and of the random direction."""
