"""Differences of two arms that share their seeds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["paired"]


def paired(
    ours: Sequence[float], theirs: Sequence[float], *, level: float = 0.95
) -> dict[str, Any]:
    """Mean of ours less theirs, with Student's interval over seeds.

    What a seed does to both arms cancels. The interval supposes that differences are normal.

    Args:
        ours: a number a seed.
        theirs: the same seeds in the same order.
        level: coverage aimed at.

    Returns:
        ``value``, ``lower`` and ``upper`` (None with one seed, which says nothing of others), and
        the ``differences`` of single seeds.

    Raises:
        ValueError: no seed, or another number of them.
    """
    if not ours or len(ours) != len(theirs):
        raise ValueError(
            f"`theirs` should have a number a seed as `ours`; found {len(theirs)} and {len(ours)}"
        )
    each = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    value, half = float(each.mean()), math.nan
    if len(each) > 1:
        error = each.std(ddof=1) / math.sqrt(len(each))
        half = float(stats.t.ppf((1 + level) / 2, len(each) - 1) * error)
    known = not math.isnan(half)
    return {
        "value": value,
        "lower": value - half if known else None,
        "upper": value + half if known else None,
        "differences": each.tolist(),
    }
