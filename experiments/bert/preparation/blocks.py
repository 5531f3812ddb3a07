"""``datasets`` maps in blocks, so that an interrupted map goes on at the block where it stopped."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, concatenate_datasets
from numpy.typing import NDArray

__all__ = ["block_edges", "map_in_blocks"]

MOST = 256
"""Blocks at most: each is a file (or one a process) that stays mapped into memory."""

Advance = Callable[[int, bool], None]
"""Told the weight of a block that is done, and whether it was found done."""


def block_edges(weights: NDArray[np.int64], block: int) -> list[int]:
    """Edges of runs of rows, where the sum of the weights passes multiples of `block`.

    Args:
        weights: of the rows.
        block: about the weight of a run; larger, if there would be over 256 runs.
    """
    total = int(weights.sum())
    number = (np.cumsum(weights) - weights) // max(block, -(-total // MOST), 1)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    return [*map(int, first), len(weights)]


def map_in_blocks(
    rows: Dataset,
    function: Callable[..., dict[str, list[Any]]],
    features: Features,
    cache: Path,
    *,
    weights: NDArray[np.int64],
    block: int,
    processes: int,
    advance: Advance,
) -> Dataset:
    """Map batches of rows to rows, block by block, each kept in a file as soon as it is done.

    Args:
        rows: the input.
        function: picklable; maps a batch of columns to one, each row on its own, so that the result
            does not depend on blocks, batches or processes.
        features: of the result.
        cache: prefix of the files, of this input and function alone.
        weights: of the rows, for the size of the blocks and the progress.
        block: see `block_edges`.
        processes: that share the rows of a block.
        advance: told of each block.

    Returns:
        The mapped rows, in order.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    edges = block_edges(weights, block)
    done = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        name = f"{cache.name}-{number:05d}"
        found = any(_files(cache, name))
        part = rows.select(range(begin, end))
        done.append(
            part.map(
                function,
                batched=True,
                batch_size=32,
                remove_columns=part.column_names,
                features=features,
                num_proc=min(processes, len(part)) if processes > 1 else None,
                cache_file_name=str(cache.parent / f"{name}.arrow"),
                new_fingerprint=name,
                load_from_cache_file=True,
            )
        )
        advance(int(weights[begin:end].sum()), found)
    return concatenate_datasets(done)


def _files(cache: Path, name: str) -> Iterator[Path]:
    """Files of a block: one, or one a process."""
    return cache.parent.glob(f"{name}*.arrow")
