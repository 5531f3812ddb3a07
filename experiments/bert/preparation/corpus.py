"""Annotated documents, mapped into memory: pieces and classes without copies."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

__all__ = ["Corpus"]

Ints = NDArray[np.int64]


class Corpus(Sequence[Ints]):
    """Documents with at least one piece; each is the edges of its sentences, in pieces.

    Args:
        annotated: rows of `annotate.FEATURES`, as mapped (not selected from or shuffled).
    """

    def __init__(self, annotated: Dataset) -> None:
        self._annotated = annotated
        self._chunks: dict[str, list[_Chunk]] = {
            name: [_Chunk(chunk) for chunk in annotated.data.column(name).chunks]
            for name in ("input_ids", "pos", "lengths")
        }
        self._first = {
            name: np.cumsum([0, *(len(chunk) for chunk in chunks)]).tolist()
            for name, chunks in self._chunks.items()
        }
        sizes = [chunk.sizes() for chunk in self._chunks["input_ids"]]
        every = np.concatenate(sizes) if sizes else np.empty(0, np.int64)
        self._rows = np.flatnonzero(every)
        self.sizes: Ints = every[self._rows]
        """Pieces of each document."""

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes where the files are, not what is in them."""
        return Corpus, (self._annotated,)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, document: Any) -> Any:
        lengths = self._values("lengths", document)
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def pieces(self, document: int, begin: int, end: int) -> NDArray[np.uint16]:
        """Pieces ``[begin, end)`` of a document."""
        return self._values("input_ids", document)[begin:end]

    def classes(self, document: int, begin: int, end: int) -> NDArray[np.int8]:
        """Classes of the pieces ``[begin, end)`` of a document."""
        return self._values("pos", document)[begin:end]

    def _values(self, column: str, document: int) -> NDArray[Any]:
        row = int(self._rows[document])
        number = bisect_right(self._first[column], row) - 1
        return self._chunks[column][number][row - self._first[column][number]]


class _Chunk:
    """A chunk of a column of lists."""

    def __init__(self, chunk: Any) -> None:
        self._offsets = chunk.offsets.to_numpy()
        self._values = chunk.values.to_numpy()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        values: NDArray[Any] = self._values[self._offsets[row] : self._offsets[row + 1]]
        return values

    def sizes(self) -> Ints:
        """Length of each list."""
        sizes: Ints = np.diff(self._offsets).astype(np.int64)
        return sizes
