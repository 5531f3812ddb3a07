"""The order of the examples of a whole run, a pure function of a seed and the position."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SampleOrder"]


class SampleOrder(Dataset[dict[str, Any]], ABC):
    """The examples of a whole run in training order.

    Every pass over the data visits every (duplicate, example) once, in an order drawn from (seed,
    number of the pass). Read it with a sequential sampler: ranks and workers take what is theirs,
    and a restart needs no random state.

    Args:
        size: examples there are.
        length: examples of the whole run.
        duplicates: how often an example occurs in a pass, each time as another duplicate; the next
            pass has the same ones. None: once, and every pass is a duplicate of its own.
        seed: of the order.

    Raises:
        ValueError: there are no examples.
    """

    def __init__(self, size: int, length: int, duplicates: int | None, seed: int) -> None:
        if size < 1:
            raise ValueError("there should be at least one example; found none")
        self.size = size
        self.length = length
        self.duplicates = duplicates
        self.seed = seed
        self._pass = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    @abstractmethod
    def sample(self, duplicate: int, index: int) -> dict[str, Any]:
        """One of the duplicates of an example, a function of its arguments alone."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, Any]:
        if not 0 <= position < self.length:
            raise IndexError(position)
        count = self.size * (self.duplicates or 1)
        number, place = divmod(position, count)
        if number != self._pass:
            rng = np.random.default_rng([self.seed, number])
            self._pass, self._order = number, rng.permutation(count)
        duplicate, index = divmod(int(self._order[place]), self.size)
        return self.sample(number if self.duplicates is None else duplicate, index)
