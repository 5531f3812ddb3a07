"""Measuring the steps of all methods on one model: passes, FLOPs, and times in turn."""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.tables.step_cost.pass_counter import PassCounter, Passes
from experiments.tables.step_cost.shared_trunk import TrunkSizes, generate
from experiments.tables.step_cost.steps import Method, Step

__all__ = ["Row", "count", "measure"]

Shape = tuple[int, ...]


def _product_flops(total: Shape, left: Shape, right: Shape, **_: Any) -> int:  # noqa: ARG001
    """FLOPs of ``total += left @ right``: two for every multiplication."""
    return 2 * math.prod(left) * right[-1]


_IN_PLACE = dict.fromkeys((torch.ops.aten.addmm_, torch.ops.aten.baddbmm_), _product_flops)
"""Matrix products that torch's counter overlooks."""


@dataclass(frozen=True)
class Row:
    """What one step of one method costs on one model.

    Attributes:
        trunk: name of the trunk.
        tasks: number of tasks T.
        balancer: as in `Method`.
        execution: as in `Method`.
        variant: as in `Method`.
        passes: counted in one step.
        flops: of the matrix products of one step; elementwise work is not counted.
        flops_ratio: to the average loss in one pass.
        extra_flops: beyond those of the average loss in one pass.
        seconds: of one step on one thread, one number a repeat.
        wall_ratios: to the average loss in one pass, pair by pair, one number a repeat.
    """

    trunk: str
    tasks: int
    balancer: str
    execution: str
    variant: str
    passes: Passes
    flops: int
    flops_ratio: float
    extra_flops: int
    seconds: tuple[float, ...]
    wall_ratios: tuple[float, ...]

    @property
    def label(self) -> str:
        """Name in the table."""
        return f"{self.balancer}, {self.variant}" if self.variant else self.balancer

    def wall(self) -> tuple[float, float, float]:
        """Median and quartiles of the wall ratios: lower, median, upper."""
        if len(self.wall_ratios) == 1:
            return (self.wall_ratios[0],) * 3
        low, middle, high = statistics.quantiles(self.wall_ratios, n=4, method="inclusive")
        return low, middle, high


def count(method: Method, sizes: TrunkSizes, num_tasks: int, seed: int) -> tuple[Passes, int]:
    """Passes and FLOPs of one step of a method, after one that is not counted.

    FLOPs, like times, are taken without the hooks that count passes: where a layer has hooks,
    `taskrobust.task_gradients` leaves its gradient to autograd.

    Args:
        method: what to count.
        sizes: of the model.
        num_tasks: number of tasks T.
        seed: of the model and its data.

    Returns:
        Passes and the FLOPs of the matrix products.
    """
    model, batch = generate(sizes, num_tasks, seed, torch.device("cpu"))
    step = method.make(model, batch)
    step()
    with PassCounter(model) as counter:
        step()
    with FlopCounterMode(display=False, custom_mapping=_IN_PLACE) as flops:
        step()
    return counter.passes, flops.get_total_flops()


def measure(
    chosen: Sequence[Method],
    sizes: TrunkSizes,
    num_tasks: int,
    *,
    repeats: int,
    seed: int,
    device: torch.device,
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Measure methods on one model.

    Args:
        chosen: what to measure; the first is what the others are compared with.
        sizes: of the model.
        num_tasks: number of tasks T.
        repeats: rounds in which every method is timed once, in an order of their own.
        seed: of the model, its data and those orders.
        device: where to time, with one thread; passes and FLOPs do not depend on it and are counted
            on the CPU.
        progress: called after every round.

    Returns:
        A row a method.
    """
    counted = [count(method, sizes, num_tasks, seed) for method in chosen]
    steps = [method.make(*generate(sizes, num_tasks, seed, device)) for method in chosen]
    with _one_thread():
        rounds = _rounds(steps, repeats, random.Random(seed), device, progress)
    base_flops = counted[0][1]
    return [
        Row(
            trunk=sizes.kind,
            tasks=num_tasks,
            balancer=method.balancer,
            execution=method.execution,
            variant=method.variant,
            passes=passes,
            flops=flops,
            flops_ratio=flops / base_flops,
            extra_flops=flops - base_flops,
            seconds=tuple(each[index] for each in rounds),
            wall_ratios=tuple(each[index] / each[0] for each in rounds),
        )
        for index, (method, (passes, flops)) in enumerate(zip(chosen, counted, strict=True))
    ]


def _rounds(
    steps: Sequence[Step],
    repeats: int,
    rng: random.Random,
    device: torch.device,
    progress: Callable[[], None],
) -> list[list[float]]:
    """Seconds a step, ``[repeats][methods]``; a drift of the machine's speed hits all alike."""
    for step in steps:
        step()
    rounds = []
    for _ in range(repeats):
        order = rng.sample(range(len(steps)), len(steps))
        seconds = {index: _seconds(steps[index], device) for index in order}
        rounds.append([seconds[index] for index in range(len(steps))])
        progress()
    return rounds


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for as long as the context lasts: less disturbed by what else the machine does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(step: Step, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
