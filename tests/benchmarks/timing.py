"""Timing side by side: every round times each variant in turn, so that a drift hits all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

Variants = Mapping[str, Callable[[], float]]
"""Functions that do the work of one sample and return the seconds it took."""


def interleaved(
    variants: Variants,
    rounds: int,
    *,
    rarely: Mapping[str, int] | None = None,
    warm: bool = False,
) -> dict[str, np.ndarray]:
    """Seconds of each variant, ``[rounds]``, timed in turn after one warm-up each.

    The order is drawn anew in each round, so that no variant always follows the same one, with
    what that has left in the caches.

    Args:
        variants: what to time.
        rounds: number of rounds.
        rarely: variants that take part in so many rounds only, evenly spread; NaN in the others.
        warm: they are warm already.
    """
    if not warm:
        for run in variants.values():
            run()
    taking_part = {name: np.ones(rounds, dtype=bool) for name in variants}
    for name, count in (rarely or {}).items():
        chosen = np.linspace(0, rounds - 1, min(count, rounds)).round().astype(int)
        taking_part[name][:] = False
        taking_part[name][chosen] = True
    order = np.random.default_rng(0)
    seconds = {name: np.full(rounds, np.nan) for name in variants}
    for i in range(rounds):
        for name in order.permutation(list(variants)):
            if taking_part[name][i]:
                seconds[name][i] = variants[name]()
    return seconds


@dataclass(frozen=True)
class Spread:
    """A median, where the middle half lies, and a 95 % interval of the median."""

    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]
    rounds: int

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Of the values that are not NaN; the interval is between order statistics."""
        values = np.sort(values[~np.isnan(values)])
        n = values.size
        # The rank of the median is binomial; where n is too small, the interval is the range.
        margin = 0.98 * np.sqrt(n)
        low, high = int(np.floor(n / 2 - margin)), int(np.ceil(n / 2 + margin))
        lower, upper = values[max(low - 1, 0)], values[min(high, n - 1)]
        first, middle, third = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(
            float(middle), (float(first), float(third)), (float(lower), float(upper)), int(n)
        )


def on_host(work: Callable[[], object], times: int = 1) -> Callable[[], float]:
    """A sample of wall time on the CPU: seconds of one `work`, the mean of `times` in a row."""

    def run() -> float:
        started = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - started) / times

    return run


def on_one_core(work: Callable[[], object], times: int = 1) -> Callable[[], float]:
    """The same in CPU time of this process: waiting while others have the core does not count."""

    def run() -> float:
        started = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - started) / times

    return run


def on_cuda(work: Callable[[], object], times: int = 1) -> Callable[[], float]:
    """The same between two CUDA events, on the current device and stream.

    What the host takes to launch the work counts as far as the device waits for it.
    """
    import torch

    def run() -> float:
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        started.record()
        for _ in range(times):
            work()
        ended.record()
        torch.cuda.synchronize()
        return started.elapsed_time(ended) / 1e3 / times

    return run


CLOCKS = {"CPU time": on_one_core, "wall time": on_host, "CUDA events": on_cuda}
"""How to take a sample, by the name under which results have it."""


def clock(device_type: str, threads: int) -> str:
    """The clock of a benchmark; CPU time says nothing of how long several threads take."""
    if device_type == "cuda":
        return "CUDA events"
    return "CPU time" if threads == 1 else "wall time"
