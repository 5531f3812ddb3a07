"""The cost of a table as data, from its preset alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.configuration import ConfigurationError
from experiments.tables.bert_runs import BertRuns
from experiments.tables.cost import bert_work, mae_work
from experiments.tables.cost.machines import UTILISATION
from experiments.tables.cost.work import Work
from experiments.tables.jobs import Chain
from experiments.tables.mae_runs import MaeRuns
from experiments.tables.preset import DataSet, TablePreset, missing_data

__all__ = ["Estimate", "Space", "estimate"]

BYTES_PER_WORD = 5
"""Of prepared text: 4.98 measured on 4.7 million words, 128 pieces and a vocabulary of 8,192."""
FLOAT32 = 4
STATES = 3
"""Numbers that a checkpoint keeps of a parameter: itself and AdamW's two moments."""


@dataclass(frozen=True)
class Space:
    """Something on disk.

    Attributes:
        title: what.
        size: bytes; None: not known before it is there.
        remark: how it was reckoned, or when it is there.
    """

    title: str
    size: float | None
    remark: str


@dataclass(frozen=True)
class Estimate:
    """What a table costs.

    Attributes:
        preset: its name.
        seeds: runs of pre-training by printed row.
        pretraining: works of one run by printed row.
        fine_tuning: works of one pre-trained model.
        disk: what is kept, and for how long.
        data: data sets, and whether they are there.
        utilisation: of the GPUs' peaks, assumed.
    """

    preset: str
    seeds: dict[str, int]
    pretraining: dict[str, list[Work]]
    fine_tuning: list[Work]
    disk: list[Space]
    data: list[tuple[DataSet, bool]]
    utilisation: float

    @property
    def models(self) -> int:
        """Pre-trained models."""
        return sum(self.seeds.values())

    def all_pretraining(self) -> list[Work]:
        """With the seeds of each row."""
        return [
            replace(work, repeats=work.repeats * self.seeds[row])
            for row, works in self.pretraining.items()
            for work in works
        ]

    def all_fine_tuning(self) -> list[Work]:
        """Of all models."""
        return [replace(work, repeats=work.repeats * self.models) for work in self.fine_tuning]

    @property
    def flops(self) -> int:
        """Of everything."""
        return sum(work.total for work in [*self.all_pretraining(), *self.all_fine_tuning()])


def estimate(
    maker: BertRuns | MaeRuns,
    chains: Sequence[Chain],
    data: Path | None,
    utilisation: float = UTILISATION,
) -> Estimate:
    """Reckon what some chains of a table cost, whether they have been run or not.

    Args:
        maker: of the runs.
        chains: of the table, or a share of them.
        data: the folder of ``--data``.
        utilisation: share of the GPUs' peaks.

    Raises:
        ConfigurationError: `utilisation` is no share, or the preset does not say how large its
            data are.
    """
    if not 0 < utilisation <= 1:
        raise ConfigurationError(
            f"--utilisation should be above 0 and at most 1, such as 0.4; found {utilisation:g}"
        )
    counts = Counter(chain.arm for chain in chains)
    rows = {row: arm for row, arm in maker.table.rows.items() if counts[arm]}
    seeds = {row: counts[arm] for row, arm in rows.items()}
    missing = missing_data(maker.table, data)
    if isinstance(maker, BertRuns):
        pretraining = {row: bert_work.pretraining(maker, arm) for row, arm in rows.items()}
        fine_tuning = bert_work.fine_tuning(maker)
    else:
        pretraining = {row: mae_work.pretraining(maker, arm) for row, arm in rows.items()}
        fine_tuning = mae_work.fine_tuning(maker)
    sets = [(each, each not in missing) for each in maker.table.data.values()]
    disk = list(_disk(maker, pretraining, sum(seeds.values())))
    return Estimate(maker.preset, seeds, pretraining, fine_tuning, disk, sets, utilisation)


def _disk(
    maker: BertRuns | MaeRuns, pretraining: dict[str, list[Work]], models: int
) -> Iterable[Space]:
    for each in maker.table.data.values():
        size = None if each.gigabytes is None else each.gigabytes * 1e9
        remark = "data set; the preset does not say" if size is None else "data set, about"
        yield Space(each.path, size, remark)
    if isinstance(maker, BertRuns):
        yield from _prepared_text(maker.table)
    parameters = max(work.parameters for works in pretraining.values() for work in works)
    kept = 1 if isinstance(maker, BertRuns) else 1 + len(maker.configuration.snapshots)
    halves = "" if kept == 1 else ", halfway too"
    yield Space(
        "pre-trained models",
        models * kept * parameters * FLOAT32,
        f"{models} of {parameters / 1e6:.1f} million parameters in float32{halves}",
    )
    yield Space(
        "a checkpoint",
        STATES * parameters * FLOAT32,
        "parameters and AdamW's moments; one a run that is under way, two while one is written",
    )


def _prepared_text(table: TablePreset) -> Iterable[Space]:
    words = sum(each.examples or 0 for each in table.data.values())
    for name in table.prepared:
        size = BYTES_PER_WORD * words if words else None
        yield Space(name, size, f"prepared text, {BYTES_PER_WORD} bytes a word; more while at it")
