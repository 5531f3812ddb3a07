"""Parts of speech of WordPiece pieces, through character spans of the raw sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.bert.tags import OTHER

__all__ = ["Alignment", "align"]

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Alignment:
    """Classes of the pieces of a sentence, and how well pieces and tagged tokens agree."""

    classes: NDArray[np.int8]
    """Class id of each piece."""
    unaligned: NDArray[np.bool_]
    """Whether the first character is in no token; the class is `OTHER` then."""
    straddling: NDArray[np.bool_]
    """Whether a piece begins in a token and ends outside it: can of can't, tagged as ca|n't."""


def align(offsets: Spans, spans: Spans, classes: Sequence[int]) -> Alignment:
    """Class of each piece: that of the tagged token in which its first character lies.

    Every piece of a word inherits the word's class.

    Args:
        offsets: character spans ``[start, end)`` of the pieces in the raw sentence.
        spans: character spans of the tagged tokens, ascending, without overlap.
        classes: class id of each token.

    Raises:
        ValueError: spans that overlap or do not match the classes in number.
    """
    if len(spans) != len(classes):
        raise ValueError(f"`classes` should be one a span ({len(spans)}); found {len(classes)}")
    if not spans:
        nowhere = np.ones(len(offsets), np.bool_)
        return Alignment(np.full(len(offsets), OTHER, np.int8), nowhere, ~nowhere)
    starts, ends = np.asarray(spans, np.int64).T
    if (starts[1:] < ends[:-1]).any() or (starts >= ends).any():
        raise ValueError("`spans` should be ascending, not empty, and not overlap")
    first, last = np.asarray(offsets, np.int64).reshape(-1, 2).T
    token = np.searchsorted(starts, first, side="right") - 1
    inside = (token >= 0) & (first < ends[token])
    found = np.where(inside, np.asarray(classes)[token], OTHER).astype(np.int8)
    return Alignment(found, ~inside, inside & (last > ends[token]))
