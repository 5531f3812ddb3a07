"""Backends, strategies and tolerances shared by the tests of the weighting core."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

EPS = float(np.finfo(np.float64).eps)
SUBNORMAL = float(np.finfo(np.float64).smallest_subnormal)
TINY = float(np.finfo(np.float64).tiny)
HUGE = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Backend:
    """An array library: calls go in with its arrays and come back as NumPy."""

    name: str
    array: Callable[[Any], Any] = field(repr=False)
    kinds: tuple[type, ...] = field(repr=False)

    def __call__(
        self,
        function: Callable[..., Any],
        losses: Any,
        alpha: Any,
        present: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """`function` of the same values as this library's arrays; numbers stay numbers."""
        arrays = (self.array(v) if isinstance(v, np.ndarray) else v for v in (losses, alpha))
        mask = None if present is None else self.array(np.asarray(present))
        result = function(*arrays, mask, **options)
        assert isinstance(result, self.kinds), "the result left the library of its arguments"
        return np.asarray(result)


NUMPY = Backend("numpy", np.asarray, (np.ndarray, np.generic))
TORCH = Backend("torch", torch.tensor, (torch.Tensor,))
BACKENDS = (NUMPY, TORCH)

on_each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)


def losses(
    bound: float = 50.0, min_tasks: int = 1, max_tasks: int = 8
) -> st.SearchStrategy[np.ndarray]:
    """Loss vectors ``[T]`` with entries in [-bound, bound]; ties and zeros are frequent."""
    shape = st.tuples(st.integers(min_tasks, max_tasks))
    return hnp.arrays(np.float64, shape, elements=st.floats(-bound, bound))


def dyadic_losses(min_tasks: int = 1, max_tasks: int = 8) -> st.SearchStrategy[np.ndarray]:
    """Multiples of 1/64 up to 2^20 in size: their sums and differences are exact."""
    entries = st.integers(-(2**26), 2**26).map(lambda n: n / 64)
    return st.lists(entries, min_size=min_tasks, max_size=max_tasks).map(np.array)


def sharpness(low: float = -3.0, high: float = 3.0) -> st.SearchStrategy[float]:
    """Alpha spread evenly over the decades 10^low to 10^high."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


@st.composite
def losses_and_index(
    draw: st.DrawFn, bound: float = 50.0, min_tasks: int = 2
) -> tuple[np.ndarray, int]:
    """A loss vector and one of its tasks."""
    f = draw(losses(bound, min_tasks))
    return f, draw(st.integers(0, len(f) - 1))


@st.composite
def masked_losses(draw: st.DrawFn, bound: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """A loss vector and a mask with at least one present task."""
    f = draw(losses(bound))
    present = draw(hnp.arrays(np.bool_, f.shape))
    present[draw(st.integers(0, len(f) - 1))] = True
    return f, present


def spread(f: np.ndarray) -> float:
    """max f - min f."""
    return float(np.ptp(f))


def rounding(f: np.ndarray, alpha: float) -> float:
    """Relative rounding of the larger weights of `f`: every exponent has three roundings."""
    return 4 * EPS * (alpha * spread(f) + len(f) + 4)


def assert_near(actual: Any, expected: Any, relative: Any, absolute: Any = TINY) -> None:
    """|actual - expected| <= relative |expected| + absolute, entrywise, NaN nowhere."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected)
    bound = relative * np.abs(expected) + absolute
    assert np.all(error <= bound), f"{actual} is not within {bound} of {expected}: {error}"
