"""What is measured at one encoder, and kept: inner products of all gradients, and risks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.mechanisms.hull.gradients import HALVES, Measured, inner_products, random_like
from experiments.mechanisms.hull.heads import Fitted
from experiments.records import RecordError

__all__ = ["GROUPS", "RANDOM", "Group", "Kind", "Theta", "theta"]

Floats = NDArray[np.float64]
Kind = Literal["upstream", "related", "downstream", "random"]
Group = Literal["blocks", "encoder"]
GROUPS: dict[Group, str] = {
    "blocks": "transformer blocks, which every risk uses in the same way",
    "encoder": "embeddings and blocks: all that is handed on",
}
"""Parameters that gradients are of."""
RANDOM = "random direction"


@dataclass(frozen=True)
class Theta:
    """One encoder.

    Attributes:
        title: for people.
        names: of the risks, and of the random direction at the end; n.
        kinds: of each: upstream task, related risk of pre-training, downstream task.
        risks: ``[n]``, held-out; NaN for the random direction.
        heads: by downstream task, training risk before and after fitting the head.
        products: by group, ``[2, n, 2, n]``: of gradients by half and name with each other. The
            random direction is the same in both halves.
    """

    title: str
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    risks: Floats
    heads: dict[str, Fitted]
    products: dict[Group, Floats]

    def of_kind(self, kind: Kind) -> list[int]:
        """Places of all of a kind."""
        return [place for place, each in enumerate(self.kinds) if each == kind]

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "title": self.title,
            "names": list(self.names),
            "kinds": list(self.kinds),
            "risks": [None if np.isnan(risk) else float(risk) for risk in self.risks],
            "heads": {name: [each.start, each.end] for name, each in self.heads.items()},
            "products": {group: values.tolist() for group, values in self.products.items()},
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Theta":
        """What `to_data` gave.

        Raises:
            RecordError: something is missing or of another shape.
        """
        try:
            found = cls(
                data["title"],
                tuple(data["names"]),
                tuple(data["kinds"]),
                np.array([np.nan if risk is None else risk for risk in data["risks"]]),
                {name: Fitted(*each) for name, each in data["heads"].items()},
                {group: np.array(values, float) for group, values in data["products"].items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"a record of an encoder lacks or damages {error}") from error
        shape = (HALVES, len(found.names), HALVES, len(found.names))
        if any(values.shape != shape for values in found.products.values()):
            raise RecordError(f"products of {found.title} should have shape {shape}")
        return found


def theta(
    title: str,
    parameters: dict[str, Tensor],
    blocks: str,
    upstream: Measured,
    related: Measured,
    downstream: Sequence[tuple[Measured, Fitted]],
    seed: int,
) -> Theta:
    """Inner products of all that was measured at an encoder.

    Args:
        title: for people.
        parameters: the shared ones, by name.
        blocks: begins the names of those of the transformer blocks.
        upstream: the tasks of pre-training.
        related: other risks of pre-training.
        downstream: of each task, with its head.
        seed: of the random direction.
    """
    parts: list[tuple[Kind, Measured]] = [("upstream", upstream), ("related", related)]
    parts += [("downstream", measured) for measured, _ in downstream]
    noise = random_like(parameters, seed)
    vectors = [
        gradient
        for half in range(HALVES)
        for gradient in (*(each for _, part in parts for each in part.gradients[half]), noise)
    ]
    inside = [name for name in parameters if name.startswith(blocks)]
    outside = [name for name in parameters if not name.startswith(blocks)]
    names = (*(name for _, part in parts for name in part.names), RANDOM)
    shape = (HALVES, len(names), HALVES, len(names))
    within = inner_products(vectors, inside).reshape(shape)
    whole = within + inner_products(vectors, outside).reshape(shape)
    return Theta(
        title,
        names,
        (*(kind for kind, part in parts for _ in part.names), "random"),
        np.concatenate([*(part.risks for _, part in parts), [np.nan]]),
        {measured.names[0]: fitted for measured, fitted in downstream},
        {"blocks": within, "encoder": whole},
    )
