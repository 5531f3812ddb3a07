"""Table 3 as printed, the readings of its unit T, and what measurements say of each entry."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.tables.step_cost.measurement import Row

__all__ = [
    "ENTRIES",
    "READINGS",
    "REMARK",
    "SOURCE",
    "Entry",
    "Finding",
    "Reading",
    "Trial",
    "Verdict",
    "judge",
]

SOURCE = "arXiv 2306.12070, Table 3, column FLOPs"

Verdict = Literal["right", "wrong", "in some settings", "not measured"]

AGREEMENT = 0.05
"""Relative difference up to which a measured multiple agrees with the printed one."""


@dataclass(frozen=True)
class Entry:
    """One printed cost.

    Attributes:
        method: as printed.
        multiple: of T, as printed.
        balancer: our name of the method.
    """

    method: str
    multiple: int
    balancer: str

    @property
    def text(self) -> str:
        """As printed: "T", "2T", …."""
        return "T" if self.multiple == 1 else f"{self.multiple}T"


ENTRIES = (
    Entry("None", 1, "average"),
    Entry("Uncertainty", 2, "uncertainty"),
    Entry("DWA", 3, "dwa"),
    Entry("GradNorm", 4, "gradnorm"),
    Entry("Minimax", 2, "minimax"),
)
"""What the table prints."""


@dataclass(frozen=True)
class Reading:
    """What T may stand for, as a cost.

    Attributes:
        name: short.
        statement: the reading in a sentence.
        executions: ways of executing a step (keys of `steps.EXECUTIONS`) that it allows.
        multiple: the multiple of T that one row measured.
    """

    name: str
    statement: str
    executions: tuple[str, ...]
    multiple: Callable[[Row], float]


READINGS = (
    Reading(
        "T as a step",
        "T is the FLOPs of one step on the average loss",
        ("one pass", "losses apart", "gradient norms"),
        lambda row: row.flops_ratio,
    ),
    Reading(
        "T as passes",
        "T is the number of tasks, counted in backward passes of one task through the trunk",
        ("task by task",),
        lambda row: row.passes.trunk / row.tasks,
    ),
)
"""Readings of the unit; the first is the one of claim A14 of the ledger."""

REMARK = (
    "The printed multiples equal the number of task vectors [T] in each update rule: gradients; "
    "with losses for Uncertainty and Minimax; with the losses of two epochs for DWA; with losses, "
    "first losses and gradient norms for GradNorm. That this is what was counted is a guess, and "
    "such a count is not a cost: these are 2T to 4T numbers a step."
)
"""A guess at where the printed column comes from; not measured."""


@dataclass(frozen=True)
class Trial:
    """One printed entry under one reading.

    Attributes:
        reading: name of the reading.
        verdict: "right" if one implementation has the printed multiple in every setting (model and
            number of tasks), "wrong" if none has it in any.
        multiples: smallest and largest measured; None if not measured.
    """

    reading: str
    verdict: Verdict
    multiples: tuple[float, float] | None


@dataclass(frozen=True)
class Finding:
    """What the measurements say of one printed entry.

    Attributes:
        entry: as printed.
        trials: one a reading.
    """

    entry: Entry
    trials: tuple[Trial, ...]

    @property
    def summary(self) -> str:
        """The verdict over all readings that were measured."""
        verdicts = {trial.verdict for trial in self.trials} - {"not measured"}
        if not verdicts:
            return "not measured"
        if verdicts == {"wrong"}:
            return "wrong under every reading"
        if verdicts == {"right"}:
            return "right"
        return "depends on the reading" if "right" in verdicts else "right in some settings"


def judge(rows: Iterable[Row]) -> list[Finding]:
    """Compare every printed entry with the measurements, under every reading.

    Args:
        rows: of all settings.
    """
    rows = list(rows)
    return [
        Finding(entry, tuple(_trial(entry, reading, rows) for reading in READINGS))
        for entry in ENTRIES
    ]


def _trial(entry: Entry, reading: Reading, rows: Sequence[Row]) -> Trial:
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.balancer == entry.balancer and row.execution in reading.executions:
            found.setdefault((row.execution, row.variant), []).append(reading.multiple(row))
    every = [multiple for multiples in found.values() for multiple in multiples]
    if not every:
        return Trial(reading.name, "not measured", None)
    agreeing = [[_agrees(m, entry.multiple) for m in multiples] for multiples in found.values()]
    verdict: Verdict = "in some settings"
    if any(map(all, agreeing)):
        verdict = "right"
    elif not any(map(any, agreeing)):
        verdict = "wrong"
    return Trial(reading.name, verdict, (min(every), max(every)))


def _agrees(measured: float, printed: int) -> bool:
    return abs(measured / printed - 1) <= AGREEMENT
