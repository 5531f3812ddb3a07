"""Examples of a task, wherever they were read from."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.bert.glue.tasks import GlueTask

__all__ = ["Examples", "TaskData"]


@dataclass(frozen=True)
class Examples:
    """One split: sentences or pairs of them, in the order of the file."""

    first: tuple[str, ...]
    second: tuple[str, ...] | None
    labels: NDArray[np.float32] | None
    """Class ids or scores ``[n]``; None in test splits."""
    index: tuple[str, ...] = ()
    """Of test examples, for GLUE's server."""
    skipped: int = 0
    """Broken rows that were left out."""

    def __len__(self) -> int:
        return len(self.first)

    def head(self, count: int | None) -> "Examples":
        """The first examples only; all if None."""
        if count is None or count >= len(self):
            return self
        return replace(
            self,
            first=self.first[:count],
            second=None if self.second is None else self.second[:count],
            labels=None if self.labels is None else self.labels[:count],
            index=self.index[:count],
        )

    def digest(self) -> str:
        """Hash of sentences and labels."""
        digest = hashlib.sha256()
        for column in (self.first, self.second or (), self.index):
            digest.update("\n".join(column).encode())
            digest.update(b"\0")
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class TaskData:
    """All splits of a task."""

    task: GlueTask
    source: str
    """Where they are from, for people."""
    train: Examples
    dev: dict[str, Examples]
    """By name of the part: "", or "matched" and "mismatched"."""
    test: dict[str, Examples]
    """The same; without those parts that the data has not."""

    def splits(self) -> dict[str, Examples]:
        """All of them by name, such as "train", "dev", "test matched"."""
        named = {"train": self.train}
        for kind, parts in (("dev", self.dev), ("test", self.test)):
            named.update({f"{kind} {name}".strip(): part for name, part in parts.items()})
        return named

    def describe(self) -> dict[str, Any]:
        """Rows and hashes, to be kept with results."""
        return {
            "source": self.source,
            "splits": {
                name: {"rows": len(part), "skipped": part.skipped, "digest": part.digest()}
                for name, part in self.splits().items()
            },
        }
