"""The figures by name."""

from collections.abc import Callable
from dataclasses import dataclass

from figures import (
    appendix_c,
    convergence,
    geometry,
    peers,
    sample_complexity,
    smoothing,
    task_count,
)
from figures.data import FigureData
from figures.style import Draw
from theory.testbed import Context, Effort

EFFORT = Effort(
    name="figures",
    instances=12,
    tasks=10,
    dim=10,
    steps=(10, 20, 35, 65, 120, 230, 430, 800, 1_500, 2_800, 5_300, 10_000),
    vectors=100_000,
    max_tasks=1_000,
    hard_steps=10_000,
)
"""How much the figures measure."""


@dataclass(frozen=True)
class FigureEntry:
    """How a figure is made.

    Attributes:
        name: on the command line and of its files.
        summary: what it shows, in one line.
        compute: measures everything the figure needs.
        draw: draws it from the data alone.
    """

    name: str
    summary: str
    compute: Callable[[Context], FigureData]
    draw: Draw


FIGURES: dict[str, FigureEntry] = {
    entry.name: entry
    for entry in (
        FigureEntry("convergence", convergence.SUMMARY, convergence.compute, convergence.draw),
        FigureEntry("appendix_c", appendix_c.SUMMARY, appendix_c.compute, appendix_c.draw),
        FigureEntry("peers", peers.SUMMARY, peers.compute, peers.draw),
        FigureEntry(
            "sample_complexity",
            sample_complexity.SUMMARY,
            sample_complexity.compute,
            sample_complexity.draw,
        ),
        FigureEntry("smoothing", smoothing.SUMMARY, smoothing.compute, smoothing.draw),
        FigureEntry("task_count", task_count.SUMMARY, task_count.compute, task_count.draw),
        FigureEntry("geometry", geometry.SUMMARY, geometry.compute, geometry.draw),
    )
}
"""Figures by name, in the order in which they are drawn."""
