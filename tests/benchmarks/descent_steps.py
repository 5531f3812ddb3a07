"""One step of Algorithm 1, single against batched (max-linear tasks, T = d)."""

import time
from collections.abc import Callable

import numpy as np

from theory.descent import descend
from theory.problems.generate import max_linear, starting_points
from theory.schedules import SCHEDULES, Setting

SIZES = (10, 100, 1_000)
BATCHES = (1, 8, 64, 512)
LARGEST = 8_000_000
"""Entries of the slope array above which a variant is left out (64 MB)."""


def steps(size: int) -> int:
    """Steps timed at once, so that every variant takes a good part of a second at most."""
    return {10: 300, 100: 50, 1_000: 5}[size]


def stepper(size: int, instances: int) -> Callable[[], float]:
    """A function that runs `steps(size)` steps on a batch and returns the seconds they took."""
    rng = np.random.default_rng(0)
    problem = max_linear(rng, instances, size, size)
    start = starting_points(problem, rng)
    if instances == 1:
        problem, start = problem[0], start[0]
    lipschitz = problem.constants().lipschitz
    schedule = SCHEDULES["sharpened"](Setting(size, steps(size), 1.0, lipschitz))

    def run() -> float:
        started = time.perf_counter()
        descend(problem, schedule, start)
        return time.perf_counter() - started

    return run
