"""The figures by name: those that are computed, and those that show results of runs."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from figures import (
    appendix_c,
    convergence,
    geometry,
    mae_curves,
    mae_runs,
    peers,
    pos_bert_curves,
    pos_bert_grouping,
    pos_bert_runs,
    pos_bert_summary,
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
class FigureEntry(ABC):
    """What every figure has; where its data are from is said by the two kinds.

    Attributes:
        name: on the command line and of its files.
        summary: what it shows, in one line.
        draw: draws it from the data alone.
    """

    name: str
    summary: str
    draw: Draw

    @abstractmethod
    def obtain(self, context: Context, runs: Path | None) -> FigureData:
        """The figure's data with the command that gives them.

        Args:
            context: of what is computed.
            runs: folder of finished runs, or of all experiments, such as ``runs``; None: where the
                experiment of the figure leaves them.

        Raises:
            DataError: there are no runs, or they cannot be used.
        """


@dataclass(frozen=True)
class TheoryFigure(FigureEntry):
    """A figure whose data are computed.

    Attributes:
        compute: measures everything the figure needs.
    """

    compute: Callable[[Context], FigureData]

    def obtain(self, context: Context, runs: Path | None) -> FigureData:  # noqa: ARG002
        """Computed, with command and seed."""
        command = f"python -m figures {self.name} --seed {context.seed}"
        return replace(self.compute(context), provenance={"command": command, "seed": context.seed})


@dataclass(frozen=True)
class RunsFigure(FigureEntry):
    """A figure of what finished runs of an experiment left.

    Attributes:
        read: collects everything the figure needs from the folder of the runs. It raises
            `figures.data.NothingToDrawError` if that has no run to show, `figures.data.DataError`
            if one is damaged.
        folder: where the runs are if nothing is said.
    """

    read: Callable[[Path], FigureData]
    folder: Path

    def obtain(self, context: Context, runs: Path | None) -> FigureData:  # noqa: ARG002
        """Read, with the command; where the runs came from is in their provenance."""
        runs = self._runs(runs)
        found = self.read(runs)
        command = shlex.join(["python", "-m", "figures", self.name, "--runs", str(runs)])
        return replace(found, provenance={"command": command, **found.provenance})

    def _runs(self, given: Path | None) -> Path:
        """A folder of runs, or that of this experiment in a folder of all."""
        if given is None:
            return self.folder
        inside = given / self.folder.relative_to("runs")
        return inside if inside.is_dir() else given


def _theory(module: Any) -> TheoryFigure:
    return TheoryFigure(module.NAME, module.SUMMARY, module.draw, module.compute)


def _of_runs(module: Any, folder: Path) -> RunsFigure:
    return RunsFigure(module.NAME, module.SUMMARY, module.draw, module.read, folder)


FIGURES: dict[str, FigureEntry] = {
    entry.name: entry
    for entry in (
        _theory(convergence),
        _theory(appendix_c),
        _theory(peers),
        _theory(sample_complexity),
        _theory(smoothing),
        _theory(task_count),
        _theory(geometry),
        _of_runs(pos_bert_curves, pos_bert_runs.FOLDER),
        _of_runs(pos_bert_summary, pos_bert_runs.FOLDER),
        _of_runs(pos_bert_grouping, pos_bert_runs.FOLDER),
        _of_runs(mae_curves, mae_runs.FOLDER),
    )
}
"""Figures by name, in the order in which they are drawn."""
