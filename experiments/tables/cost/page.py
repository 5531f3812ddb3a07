"""The cost of a table for people: terminal, Markdown, JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.runs import provenance
from experiments.tables.bert_runs import BertRuns
from experiments.tables.cost.estimate import Estimate, estimate
from experiments.tables.cost.machines import PEAKS, UTILISATION, gpu_hours
from experiments.tables.cost.work import Work
from experiments.tables.jobs import Chain
from experiments.tables.mae_runs import MaeRuns
from taskrobust._files import write_atomically

__all__ = ["report", "to_json", "to_markdown"]

PACKAGES = ("torch", "transformers", "timm")
"""Whose versions are recorded: they say what a model computes."""

_COUNTED = """\
FLOPs are those of the matrix products of forward and backward passes, counted by torch on the \
models themselves, two for a multiplication and an addition; what GradNorm computes of single \
tasks counts, too. Padding is computed, and counted."""
_GLUE = """\
Texts of GLUE are counted at their greatest length; most are shorter: an upper bound."""
_LEFT_OUT = """\
Not in it: evaluations, reading and augmenting data, preparing text, predicting labels of images, \
and the second forward pass that exact weights take if batches are split (`micro_batch_size`)."""
_NOTES = (_COUNTED, _GLUE, _LEFT_OUT)


def report(
    name: str,
    maker: BertRuns | MaeRuns,
    chains: Sequence[Chain],
    data: Path | None,
    console: Console,
    out: Path,
    *,
    command: str = "",
    utilisation: float = UTILISATION,
    part: bool = False,
) -> Estimate:
    """Reckon the cost of a table, print it, and write ``NAME-PRESET-cost.md`` and ``.json``.

    Args:
        name: of the table: "table1", "table2" or "figure3".
        maker: of the runs.
        chains: of the table, or a share of them.
        data: the folder of ``--data``.
        console: where it is printed.
        out: folder of the files; is made.
        command: as typed, for the record.
        utilisation: share of the GPUs' peaks.
        part: whether these are not all chains of the preset; files end in ``-cost-of-a-part`` then.

    Raises:
        ConfigurationError: as `estimate`.
    """
    found = estimate(maker, chains, data, utilisation)
    console.print(_work_table(name, found))
    console.print(_disk_table(found))
    for line in _summary(found):
        console.print(line, highlight=False, markup=False)
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{found.preset}-cost{'-of-a-part' if part else ''}"
    write_atomically(out / f"{stem}.md", to_markdown(name, found, command))
    write_atomically(out / f"{stem}.json", to_json(found, command))
    files = out / f"{stem}.md"
    console.print(f"details in {files}, .json", highlight=False, markup=False, soft_wrap=True)
    for line in _data_lines(found):
        console.print(line, highlight=False, markup=False)
    return found


def to_json(found: Estimate, command: str = "") -> str:
    """As a document, with provenance."""
    everything = [*found.all_pretraining(), *found.all_fine_tuning()]
    content: dict[str, Any] = {
        **provenance(command, PACKAGES),
        "preset": found.preset,
        "seeds": found.seeds,
        "pretraining": {
            row: [_work_data(work) for work in works] for row, works in found.pretraining.items()
        },
        "fine_tuning": [_work_data(work) for work in found.fine_tuning],
        "flops": found.flops,
        "utilisation": found.utilisation,
        "peaks": PEAKS,
        "gpu_hours": {gpu: gpu_hours(everything, gpu, found.utilisation) for gpu in PEAKS},
        "disk": [asdict(each) for each in found.disk],
        "data": [{**asdict(each), "there": there} for each, there in found.data],
        "notes": _NOTES,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def to_markdown(name: str, found: Estimate, command: str = "") -> str:
    """As a page."""
    parts = [f"# What {name} costs, preset {found.preset}", ""]
    parts += [f"`{command}`", ""] if command else []
    parts += _markdown(_HEAD, [row.cells for row in _rows(found)])
    parts += ["", *_summary(found), "", "## Disk", ""]
    parts += _markdown(("", "GB", ""), _disk_rows(found))
    parts += ["", "## Data", "", *(f"- {line}" for line in _data_lines(found))]
    parts += ["", "## Notes", "", *(f"- {note}" for note in _NOTES)]
    return "\n".join(parts) + "\n"


def _work_data(work: Work) -> dict[str, Any]:
    return {**asdict(work), "total": work.total}


_GPUS = {first: ", ".join(each for each in PEAKS if PEAKS[each] == PEAKS[first]) for first in PEAKS}
_SHOWN = tuple(
    dict.fromkeys(next(g for g in PEAKS if _GPUS[g] == names) for names in _GPUS.values())
)
"""GPUs of different peaks: equal ones share a column."""
_HEAD = ("", "runs", "steps", "seen", "FLOPs", *(f"{_GPUS[gpu]} h" for gpu in _SHOWN))


@dataclass(frozen=True)
class _Row:
    cells: tuple[str, ...]
    ends_section: bool = False


def _rows(found: Estimate) -> Iterator[_Row]:
    """Lines of the table of work, sums after each section."""

    def line(title: str, work: Work) -> tuple[str, ...]:
        seen = f"{_short(work.seen)} {work.unit}"
        return (title, f"{work.repeats}", _short(work.steps), seen, *_sums([work], found))

    pretraining, fine_tuning = found.all_pretraining(), found.all_fine_tuning()
    titles = [row for row, works in found.pretraining.items() for _ in works]
    for row, work in zip(titles, pretraining, strict=True):
        yield _Row(line(f"{row}: {work.title}", work))
    yield _Row(_sum("pre-training", pretraining, found), ends_section=True)
    for work in fine_tuning:
        yield _Row(line(work.title, work))
    yield _Row(_sum("fine-tuning", fine_tuning, found), ends_section=True)
    yield _Row(_sum("all", [*pretraining, *fine_tuning], found))


def _sum(title: str, works: Sequence[Work], found: Estimate) -> tuple[str, ...]:
    runs = found.models if title == "pre-training" else sum(work.repeats for work in works)
    return (title, "" if title == "all" else f"{runs}", "", "", *_sums(works, found))


def _sums(works: Sequence[Work], found: Estimate) -> tuple[str, ...]:
    hours = (gpu_hours(works, gpu, found.utilisation) for gpu in _SHOWN)
    return (_power(sum(work.total for work in works)), *map(_hours, hours))


def _power(value: float) -> str:
    """Such as 1.2e19."""
    return f"{value:.1e}".replace("e+", "e")


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def _short(value: float) -> str:
    """1.23 k, M or G."""
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:g}"


def _work_table(name: str, found: Estimate) -> Table:
    shown = Table(
        title=f"What {name} costs, preset {found.preset}", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for number, title in enumerate(_HEAD):
        lines = title.replace(", ", ",\n").replace(" h", "\nhours")
        shown.add_column(lines, justify="right" if number else "left", no_wrap=True)
    for row in _rows(found):
        shown.add_row(*row.cells, end_section=row.ends_section)
    return shown


def _disk_table(found: Estimate) -> Table:
    shown = Table(title="Disk", box=SIMPLE_HEAD)
    shown.add_column("")
    shown.add_column("GB", justify="right")
    shown.add_column("")
    for row in _disk_rows(found):
        shown.add_row(*row)
    return shown


def _disk_rows(found: Estimate) -> list[tuple[str, str, str]]:
    return [
        (each.title, "?" if each.size is None else f"{each.size / 1e9:.3g}", each.remark)
        for each in found.disk
    ]


def _summary(found: Estimate) -> list[str]:
    everything = [*found.all_pretraining(), *found.all_fine_tuning()]
    hours = (f"{gpu} {_hours(gpu_hours(everything, gpu, found.utilisation))}" for gpu in PEAKS)
    share = f"{100 * found.utilisation:g} % of the dense peak"
    return [
        "Steps and what is seen are of one run, FLOPs and hours of all.",
        f"GPU-hours at {share}: {', '.join(hours)}. Small models and batches reach less.",
    ]


def _data_lines(found: Estimate) -> list[str]:
    """What is there, then what is missing."""
    if not found.data:
        return ["No data are needed: all is generated."]
    lines = [f"there: {each.path}: {each.title}" for each, there in found.data if there]
    lines += [
        f"missing: {each.path}: {each.title} ({each.licence}); {each.source}"
        for each, there in found.data
        if not there
    ]
    return lines


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    align = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (head, align, *rows)]
