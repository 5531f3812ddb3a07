"""Finished PoS-BERT runs as figures read them: checked, in one order, with one look an arm.

A run is the ``result.json`` that ``python -m experiments bert pretrain`` leaves. Reading needs no
torch; only intervals of differences between arms are computed from the sums by instance.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bert.aggregates import AGGREGATES
from experiments.records import RESULT, RecordError, collect, run_folder
from figures import style
from figures.arms import in_order
from figures.data import DataError, NothingToDrawError

INTERJECTION, OTHER = "interjection", "other"
"""The rarest class, left out of the starred numbers, and the class that is no task."""

GROUPINGS: Mapping[str, tuple[str, str]] = {
    "pos": ("parts of speech", "by part of speech"),
    "frequency": ("frequency bands", "by frequency"),
    "random": ("random groups", "at random"),
}
"""Groupings into tasks in the order in which they are drawn: of a row and in running text."""

FOLDER = Path("runs/bert/pretrained")
"""Where they are left."""

HOW = "python -m experiments bert pretrain --preset cpu"
"""What makes runs."""

CLASSES: Mapping[str, tuple[str, str]] = {
    "verb": (style.BLUE, "-"),
    "noun": (style.VERMILLION, "-"),
    "adjective": (style.ORANGE, "-"),
    "adverb": (style.PURPLE, "-"),
    "pronoun": (style.SKY, "--"),
    "determiner": (style.GREEN, "--"),
    "preposition": (style.VIOLET, "--"),
    "conjunction": (style.BLACK, "--"),
    INTERJECTION: (style.GREY, ":"),
}
"""Colour and line of the tasks: content words solid, function words dashed."""

_EXTRA = (style.GREY, "-.")
"""Of tasks beside the nine classes."""

_FIELDS = {title: field for field, title in AGGREGATES.items()}


@dataclass(frozen=True)
class HeldOut:
    """Risks on a held-out split, nats: values with the ends of their 95 % intervals."""

    risks: Mapping[str, tuple[float, float, float]]
    """By class, the one that is no task left out, and by aggregate (``worst*`` …)."""
    pieces: Mapping[str, int]
    """Masked pieces by class, that which is no task included."""


@dataclass(frozen=True)
class Run:
    """One arm and seed."""

    path: Path
    arm: str
    seed: int
    grouping: str
    history: Sequence[Mapping[str, float]]
    held_out: Mapping[str, HeldOut]
    """By split, "valid" or "test"."""
    made: Mapping[str, Any]
    """Date, command and versions."""


def read_runs(folder: Path) -> list[Run]:
    """All finished runs, in the order of `ARMS` (then by name) and of seeds.

    Args:
        folder: the ``--out`` of pre-training.

    Raises:
        NothingToDrawError: there is none.
        DataError: a file is damaged, or two are not of the same held-out text.
    """
    try:
        results = collect(folder)
    except RecordError as error:
        raise DataError(str(error)) from error
    if not results:
        raise NothingToDrawError(
            f"{folder} holds no finished run (ARM/seed-N/{RESULT}); make some: {HOW} --out {folder}"
        )
    if all("held_out" in result for result in results):
        raise NothingToDrawError(f"{folder} holds runs of Multi-Modal Mask MAE, none of PoS-BERT")
    runs = [_run(run_folder(folder, r["arm"], r["seed"]) / RESULT, r) for r in results]
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    order = in_order([run.arm for run in runs])
    return sorted(runs, key=lambda run: order.index(run.arm))


def of_parts_of_speech(runs: Sequence[Run], folder: Path) -> list[Run]:
    """The runs whose tasks are parts of speech.

    Raises:
        NothingToDrawError: there is none.
    """
    found = [run for run in runs if run.grouping == "pos"]
    if not found:
        raise NothingToDrawError(f"{folder} holds no run whose tasks are parts of speech")
    return found


def provenance(runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    """Which files the numbers are from, and how those were made."""
    return {
        "runs": [
            {
                "file": run.path.relative_to(folder).as_posix(),
                "sha256": hashlib.sha256(run.path.read_bytes()).hexdigest(),
                **run.made,
            }
            for run in runs
        ]
    }


def classes_of(run: Run) -> list[str]:
    """Names of the classes that are tasks, in the order of their ids."""
    pieces = next(iter(run.held_out.values())).pieces
    return [name for name in pieces if name != OTHER]


def task_look(task: str) -> tuple[str, str]:
    """Colour and line of a task."""
    return CLASSES.get(task, _EXTRA)


def _run(path: Path, result: Mapping[str, Any]) -> Run:
    """A run from the content of its file."""
    history = _field(path, result, "history", list)
    for log in history:
        if not isinstance(log, dict) or not isinstance(log.get("step"), int):
            raise DataError(f"{path}: every log of `history` should have a step; found {log!r}")
    splits = [split for split in ("valid", "test") if split in result]
    if not splits:
        raise DataError(f"{path} should have held-out risks, `valid` or `test`")
    grouping = re.search(
        r"^grouping: (\w+)$", _field(path, result, "configuration", str), re.MULTILINE
    )
    if grouping is None or grouping[1] not in GROUPINGS:
        raise DataError(
            f"{path}: `configuration` should state the grouping: {', '.join(GROUPINGS)}"
        )
    return Run(
        path,
        result["arm"],
        result["seed"],
        grouping[1],
        history,
        {split: _held_out(path, _field(path, result, split, dict)) for split in splits},
        {key: result[key] for key in ("date", "command", "versions") if key in result},
    )


def _held_out(path: Path, summary: Mapping[str, Any]) -> HeldOut:
    pieces = _field(path, summary, "counts", dict)
    risks = _field(path, summary, "risks", dict)
    classes = {name: risks[name] for name in pieces if name in risks and name != OTHER}
    whole = {title: _field(path, summary, field, dict) for field, title in AGGREGATES.items()}
    try:
        found = {
            name: (float(each["value"]), float(each["lower"]), float(each["upper"]))
            for name, each in {**classes, **whole}.items()
        }
        return HeldOut(found, {name: int(count) for name, count in pieces.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: held-out risks should have value, lower and upper: {error!r}"
        ) from error


def _field(path: Path, content: Mapping[str, Any], key: str, kind: type) -> Any:
    """A field of the wanted type."""
    value = content.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{path}: `{key}` should be a {kind.__name__}; found {value!r:.60}")
    return value


def _check_comparable(first: Run, run: Run) -> None:
    """Both are evaluated on the same masked pieces of the same classes."""
    if first.held_out.keys() != run.held_out.keys():
        raise DataError(
            f"{run.path} and {first.path} should have the same held-out splits; "
            f"found {', '.join(run.held_out)} and {', '.join(first.held_out)}"
        )
    for split, ours in run.held_out.items():
        theirs = first.held_out[split]
        if list(ours.pieces) != list(theirs.pieces):
            raise DataError(
                f"{run.path} and {first.path} should have the same classes; "
                f"found {', '.join(ours.pieces)} and {', '.join(theirs.pieces)}"
            )
        if ours.pieces != theirs.pieces:
            raise DataError(
                f"{run.path} and {first.path} should be evaluated on the same masked pieces; "
                f"their counts of {split} differ"
            )


def paired(run: Run, reference: Run | None, split: str) -> dict[str, tuple[float, float, float]]:
    """Risks of a run less those of its reference, with paired 95 % bootstrap intervals.

    Args:
        run: any.
        reference: evaluated on the same masked pieces; None if there is none.
        split: a split of both.

    Returns:
        By class and aggregate; NaN without a reference, and for intervals if the sums by instance
        (``SPLIT.npz`` beside the result) are not there.

    Raises:
        DataError: sums that are damaged or of other pieces.
    """
    risks = run.held_out[split].risks
    if reference is None:
        return dict.fromkeys(risks, (math.nan, math.nan, math.nan))
    theirs = reference.held_out[split].risks
    files = [each.path.with_name(f"{split}.npz") for each in (run, reference)]
    found = {}
    if run is not reference and all(file.is_file() for file in files):
        from experiments.bert.evaluation import differences, read_sums

        try:
            found = differences(*(read_sums(file) for file in files))
        except RecordError as error:
            raise DataError(str(error)) from error
        except ValueError as error:
            raise DataError(f"{files[0]} and {files[1]}: {error}") from error
    made = {}
    for title, (value, _, _) in risks.items():
        interval = found.get(_FIELDS.get(title, title))
        ends = (interval.lower, interval.upper) if interval else (math.nan, math.nan)
        made[title] = (value - theirs[title][0], *ends)
    return made
