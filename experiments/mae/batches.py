"""From samples with their modalities to batches with visible tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.mae.model.masking import TokenMasking

__all__ = ["VALID", "MaskingCollator"]

VALID = "_valid"
"""Ends the name of a sample's field with the pixels of known value, such as ``depth_valid``."""


@dataclass(frozen=True)
class MaskingCollator:
    """Batches for `MultiModalMaskMae`, whose masks are functions of the samples alone.

    A sample is a mapping with a tensor for each modality, ``index`` (in its data set) and, unless
    it is 0, ``duplicate`` (such as the epoch).

    Args:
        names: of the modalities.
        masking: draws the visible tokens.
    """

    names: tuple[str, ...]
    masking: TokenMasking

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Arguments of `MultiModalMaskMae.forward`: modalities, tokens, valid pixels if any.

        Raises:
            ValueError: a sample lacks a modality or the pixels of known value of one that others
                have, or has another size than the first.
        """
        valid = [name for name in self.names if any(name + VALID in each for each in samples)]
        batch: dict[str, Any] = {
            "modalities": {name: _stacked(samples, name) for name in self.names},
            **self.masking.batch((each.get("duplicate", 0), each["index"]) for each in samples),
        }
        if valid:
            batch["valid"] = {name: _stacked(samples, name + VALID) for name in valid}
        return batch


def _stacked(samples: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    for each in samples:
        if name not in each:
            raise ValueError(f"sample {each['index']} should have `{name}`; found {sorted(each)}")
        if each[name].shape != samples[0][name].shape:
            raise ValueError(
                f"`{name}` of sample {each['index']} should have the shape "
                f"{tuple(samples[0][name].shape)} of sample {samples[0]['index']}; "
                f"found {tuple(each[name].shape)}"
            )
    return torch.stack([each[name] for each in samples])
