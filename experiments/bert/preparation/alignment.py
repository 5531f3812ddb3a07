"""Parts of speech of WordPiece pieces, through character spans of the raw sentence."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.bert.tags import OTHER

__all__ = ["align"]


def align(
    offsets: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
    classes: Sequence[int],
) -> NDArray[np.int8]:
    """Class of each piece: that of the tagged token in which its first character lies.

    Every piece of a word inherits the word's class. A piece outside all tokens is `OTHER`.

    Args:
        offsets: character spans ``[start, end)`` of the pieces in the raw sentence.
        spans: character spans of the tagged tokens, ascending, without overlap.
        classes: class id of each token.

    Returns:
        Class ids, one a piece.

    Raises:
        ValueError: spans that overlap or do not match the classes in number.
    """
    if len(spans) != len(classes):
        raise ValueError(f"`classes` should be one a span ({len(spans)}); found {len(classes)}")
    if not offsets:
        return np.empty(0, np.int8)
    if not spans:
        return np.full(len(offsets), OTHER, np.int8)
    starts, ends = np.asarray(spans, np.int64).reshape(-1, 2).T
    if (starts[1:] < ends[:-1]).any():
        raise ValueError("`spans` should be ascending and not overlap")
    first = np.asarray(offsets, np.int64).reshape(-1, 2)[:, 0]
    token = np.searchsorted(starts, first, side="right") - 1
    inside = (token >= 0) & (first < ends[token])
    return np.where(inside, np.asarray(classes)[token], OTHER).astype(np.int8)
