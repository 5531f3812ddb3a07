"""All that finished runs found, on one page: for the terminal and as ``summary.md``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bert import results
from experiments.bert.aggregates import AGGREGATES, FEW
from experiments.bert.evaluation import Interval, differences, read_sums
from experiments.bert.glue import results as glue
from experiments.bert.glue.data_sizes import notes
from experiments.bert.glue.origin import collect as collect_fine_tuned
from experiments.bert.results import REFERENCE, arm_order
from experiments.bert.tags import TASKS
from experiments.comparable import check_comparable
from experiments.page import Page
from experiments.provenance import how_it_was_run
from experiments.records import RecordError, collect, require, run_folder

__all__ = ["difference_rows", "summarise"]

SPLITS = ("valid", "test")
_PROVENANCE = ("command", "date", "versions")
_TITLES = {**{name: name for name in TASKS}, **AGGREGATES}


def summarise(pretrained: Path, finetuned: Path | None = None) -> Page:
    """Everything found below two folders.

    Args:
        pretrained: of ``bert pretrain``.
        finetuned: of ``bert finetune`` on those models; None, or a folder without runs, if there is
            none.

    Raises:
        RecordError: there is no finished run of pre-training, a record is damaged or lacks a field,
            the runs are of different studies, or fine-tuning is of another pre-training.
    """
    runs = collect(pretrained)
    if not runs:
        raise RecordError(
            f"{pretrained} holds no finished run; `python -m experiments bert pretrain "
            f"--preset cpu --out {pretrained}` makes them"
        )
    for run in runs:
        require(run, *_PROVENANCE, "device", "seconds", "parameters", "configuration")
    check_comparable(runs)
    arms = arm_order(runs)
    runs.sort(key=lambda run: (arms.index(run["arm"]), run["seed"]))
    tuned = _fine_tuned(finetuned, pretrained, runs)
    tables, text = [], ["# PoS-BERT: results", ""]
    for split in SPLITS:
        made = results.rows(runs, arms, split)
        if not made:
            continue
        title = f"Held-out cross-entropy, {split} (nats)"
        tables.append(results.table(made, title))
        text += [f"## {title}", "", results.markdown(made)]
        compared = difference_rows(pretrained, runs, arms, split)
        if compared:
            text += [f"### {split.capitalize()}: difference to `{REFERENCE}`", "", *compared, ""]
    text += [_NOTES, ""]
    if tuned:
        made_rows = glue.rows(tuned)
        tables.append(glue.table(made_rows, "GLUE, dev (× 100)"))
        text += ["## GLUE, dev (× 100)", "", glue.markdown(made_rows), *notes(tuned), ""]
    text += ["## How it was run", "", *how_it_was_run(runs, tuned)]
    return Page(tuple(tables), "\n".join(text))


_NOTES = f"""\
The star leaves the interjection out, of which held-out text has few. Means over seeds with standard
deviations where there are several; differences have 95 % bootstrap intervals over instances,
resampled for both arms together, which say nothing of other seeds. A class with fewer than {FEW}
held-out pieces has none: too few to resample."""


def difference_rows(
    pretrained: Path, runs: Sequence[dict[str, Any]], arms: Sequence[str], split: str
) -> list[str]:
    """Markdown lines: risks less those of the reference arm of the same seed.

    Args:
        pretrained: the folder of the runs.
        runs: of `collect`.
        arms: in the order of the columns.
        split: "valid" or "test".

    Returns:
        Nothing without a reference, or without another arm.

    Raises:
        RecordError: sums by instance are damaged, or not of the same masked pieces.
    """
    seeds = [run["seed"] for run in runs if run["arm"] == REFERENCE and split in run]
    columns: dict[str, list[dict[str, str]]] = {}
    for arm in arms:
        for run in runs:
            if run["arm"] == arm != REFERENCE and run["seed"] in seeds and split in run:
                found = _differences(pretrained, arm, run["seed"], split)
                columns.setdefault(arm, []).append(_shown(found, run[split]))
    if not columns:
        return []
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, title in _TITLES.items():
        cells = [
            "; ".join(each[name] for each in shown if name in each) for shown in columns.values()
        ]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cell or "–" for cell in cells) + " |")
    return lines


def _differences(pretrained: Path, arm: str, seed: int, split: str) -> dict[str, Interval]:
    """Of an arm to the reference, with intervals."""
    path, reference = (
        run_folder(pretrained, name, seed) / f"{split}.npz" for name in (arm, REFERENCE)
    )
    try:
        return differences(read_sums(path), read_sums(reference))
    except ValueError as error:
        raise RecordError(
            f"{path} and {reference} should be of the same masked pieces, and are not; train them "
            "with another --out each"
        ) from error


def _shown(found: dict[str, Interval], summary: dict[str, Any]) -> dict[str, str]:
    """Differences as text, with their intervals but for classes of few pieces."""
    return {
        name: (
            f"{i.value:+.2f}"
            if summary["counts"].get(name, FEW) < FEW
            else f"{i.value:+.2f} ({i.lower:+.2f} to {i.upper:+.2f})"
        ).replace("-", "−")
        for name, i in found.items()
    }


def _fine_tuned(
    folder: Path | None, pretrained: Path, runs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Fine-tuning runs: arms in the order of pre-training, then other models; by date."""
    if folder is None or not folder.is_dir():
        return []
    order = {arm: number for number, arm in enumerate(arm_order(runs))}
    found = collect_fine_tuned(folder, pretrained, runs)
    for run in found:
        require(run, *_PROVENANCE)
    return sorted(found, key=lambda run: (order.get(run["arm"], len(order)), str(run["date"])))
