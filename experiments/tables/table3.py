"""Table 3, cost of a step of each method: measured, beside the printed T, 2T, 3T, 4T."""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as configured

import taskrobust
from experiments.configuration import strict
from experiments.tables.step_cost.measurement import Row, measure
from experiments.tables.step_cost.printed import (
    ENTRIES,
    READINGS,
    REMARK,
    SOURCE,
    Finding,
    Trial,
    judge,
)
from experiments.tables.step_cost.shared_trunk import MLPTrunk, TransformerTrunk, TrunkSizes
from experiments.tables.step_cost.steps import EXECUTIONS, methods

__all__ = [
    "NOTES",
    "REMARKS",
    "Preset",
    "Settings",
    "Table3",
    "multiples_text",
    "printed_text",
    "run",
    "to_json",
    "to_markdown",
    "wall_text",
]

SCHEMA_VERSION = 1
"""Version of ``table3.json``; raised whenever a field changes its meaning or goes."""

_STEP = """\
A step is forward pass, weighting and backward pass; the optimiser's update is left out."""
_PASSES = """\
Passes: forward passes of the trunk; gradients through one head; gradients of the last shared layer;
backward passes through the whole trunk. n gradients in one batched call count n."""
_RATIOS = """\
FLOPs: matrix products only, relative to the average loss in one pass; the O(T) arithmetic of the
weights is elementwise and not counted. Wall: median and quartiles of the ratios to the average loss
in one pass of the same round."""
_VERDICT = """\
An entry is right under a reading if one implementation has the printed multiple in every setting
(model and number of tasks), within 5 %, and wrong if none has it in any."""
_LEDGER = """\
Claim A14 of `python -m theory` finds the same by counting oracle calls: Minimax, Uncertainty and
DWA cost 1 times descent on the average loss, or 4/3 if the losses are evaluated in a pass of their
own. It counts a backward pass as two forward passes; here the first layer needs no gradient of its
inputs, so that a backward pass is a little less and the ratio a little more."""
NOTES = tuple(note.replace("\n", " ") for note in (_STEP, _PASSES, _RATIOS, _VERDICT))
"""What the columns mean."""

REMARKS = (_LEDGER.replace("\n", " "), REMARK)
"""What else is to be said; not printed."""


@configured(config=strict, kw_only=True)
class Preset:
    """What a preset says; see ``experiments/presets/table3``."""

    tasks: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (3, 9)
    repeats: Annotated[int, Field(ge=1)] = 7
    device: Literal["cpu", "cuda"] = "cpu"
    trunks: Annotated[
        tuple[Annotated[TrunkSizes, Field(discriminator="kind")], ...], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _different(self) -> "Preset":
        kinds = [sizes.kind for sizes in self.trunks]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"`trunks` should be of different kinds; found {', '.join(kinds)}")
        return self


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        tasks: numbers of tasks T.
        repeats: rounds in which every method is timed once.
        seed: of models, data and the order within a round.
        device: where times are taken.
        trunks: models.
    """

    tasks: tuple[int, ...] = (3, 9)
    repeats: int = 7
    seed: int = 0
    device: str = "cpu"
    trunks: tuple[TrunkSizes, ...] = (MLPTrunk(), TransformerTrunk())


@dataclass(frozen=True)
class Table3:
    """The measured table.

    Attributes:
        settings: what was measured.
        provenance: command, date, versions and machine.
        rows: one a method and setting.
        findings: one a printed entry.
    """

    settings: Settings
    provenance: dict[str, str]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    def sections(self) -> Iterable[tuple[TrunkSizes, int, list[Row]]]:
        """The rows of each model and number of tasks."""
        for sizes in self.settings.trunks:
            for tasks in self.settings.tasks:
                key = (sizes.kind, tasks)
                yield sizes, tasks, [row for row in self.rows if (row.trunk, row.tasks) == key]


def run(settings: Settings, command: str, progress: Callable[[], None] = lambda: None) -> Table3:
    """Measure the table.

    Args:
        settings: what to measure.
        command: what was typed, for the record.
        progress: called ``len(trunks) · len(tasks) · repeats`` times.

    Returns:
        The table.
    """
    device = torch.device(settings.device)
    chosen = methods()
    rows: list[Row] = []
    for sizes in settings.trunks:
        for tasks in settings.tasks:
            rows += measure(
                chosen,
                sizes,
                tasks,
                repeats=settings.repeats,
                seed=settings.seed,
                device=device,
                progress=progress,
            )
    return Table3(settings, _provenance(command, device), tuple(rows), tuple(judge(rows)))


def to_json(table: Table3) -> str:
    """The table as JSON text.

    The document has ``schema_version``, ``title``, ``settings``, ``provenance``, ``executions``,
    ``rows`` (passes, flops, flops_ratio, extra_flops, seconds and wall_ratios of every round, wall
    as lower quartile, median, upper quartile), ``printed`` (source, readings, and the entries with
    their trials and summary) and ``notes``.
    """
    settings = asdict(table.settings) | {
        "trunks": {sizes.kind: asdict(sizes) for sizes in table.settings.trunks},
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "title": __doc__.partition("\n")[0],
        "settings": settings,
        "provenance": table.provenance,
        "executions": EXECUTIONS,
        "rows": [asdict(row) | {"wall": row.wall()} for row in table.rows],
        "printed": {
            "source": SOURCE,
            "readings": [{"name": r.name, "statement": r.statement} for r in READINGS],
            "entries": [
                asdict(finding.entry)
                | {"printed": finding.entry.text, "summary": finding.summary}
                | {"trials": [asdict(trial) for trial in finding.trials]}
                for finding in table.findings
            ],
        },
        "notes": [*NOTES, *REMARKS],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(table: Table3) -> str:
    """The table as a Markdown page: printed entries and verdicts, then every measurement."""
    parts = ["# Table 3, measured: the cost of a step", "", _provenance_text(table), ""]
    head = ["method", "printed", *(reading.statement for reading in READINGS), "verdict"]
    parts += _markdown_table(head, [_finding_cells(finding) for finding in table.findings])
    for sizes, tasks, rows in table.sections():
        data = ", ".join(f"{key} {value}" for key, value in asdict(sizes).items())
        parts += ["", f"## {sizes.kind}, T = {tasks}", "", f"{data}.", ""]
        columns = ["method", "executed", "printed", "forward", "heads", "last shared layer"]
        columns += ["trunk", "FLOPs", "extra MFLOPs", "wall (quartiles)"]
        parts += _markdown_table(columns, [_row_cells(row) for row in rows])
    parts += ["", "## Notes", "", *(f"- {note}" for note in (*NOTES, *REMARKS))]
    parts += [f"- *{name}*: {meaning}." for name, meaning in EXECUTIONS.items()]
    return "\n".join(parts) + "\n"


def printed_text(row: Row) -> str:
    """What the paper prints for the method of a row; empty if nothing."""
    return next((entry.text for entry in ENTRIES if entry.balancer == row.balancer), "")


def wall_text(row: Row) -> str:
    """Median and quartiles of the wall ratios."""
    low, middle, high = row.wall()
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def multiples_text(trial: Trial) -> str:
    """Measured multiples of T, as ``1T–1.36T``."""
    if trial.multiples is None:
        return "–"
    low, high = (f"{multiple:.3g}T" for multiple in trial.multiples)
    return low if low == high else f"{low}–{high}"


def _finding_cells(finding: Finding) -> list[str]:
    trials = [f"{multiples_text(trial)}: {trial.verdict}" for trial in finding.trials]
    return [finding.entry.method, finding.entry.text, *trials, f"**{finding.summary}**"]


def _row_cells(row: Row) -> list[str]:
    passes = (row.passes.forward, row.passes.heads, row.passes.last_shared, row.passes.trunk)
    return [
        row.label,
        row.execution,
        printed_text(row),
        *map(str, passes),
        f"{row.flops_ratio:.3f}",
        f"{row.extra_flops / 1e6:.1f}",
        wall_text(row),
    ]


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _provenance_text(table: Table3) -> str:
    command = f"`{table.provenance['command']}`"
    told = ", ".join(f"{k} {v}" for k, v in table.provenance.items() if k != "command")
    return f"{command}: {told}; {table.settings.repeats} rounds, seed {table.settings.seed}."


def _provenance(command: str, device: torch.device) -> dict[str, str]:
    """Command, date, versions and machine."""
    machine = f"{platform.machine()}, one thread of {os.cpu_count()} cores"
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    found = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{device} ({machine})",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "taskrobust": taskrobust.__version__,
    }
    try:
        found["torchjd"] = importlib.metadata.version("torchjd")
    except importlib.metadata.PackageNotFoundError:
        found["torchjd"] = "not installed"
    return found
