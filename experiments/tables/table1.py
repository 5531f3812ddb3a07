"""Table 1: GLUE after PoS-BERT, with the held-out risks that it was pre-trained for."""

from collections.abc import Collection, Mapping
from statistics import mean
from typing import Any

from experiments.bert.glue.results import METRIC_NAMES, headline
from experiments.bert.glue.tasks import TASKS
from experiments.tables.grid import Column, Grid, Records, make_grid, parts_of
from experiments.tables.printed_values import AVERAGE, TABLE_1, printed_average_is_wrong
from experiments.tables.store import PRETRAIN, Key

__all__ = ["grid"]

_NOTES = """\
GLUE's dev sets (× 100), MNLI by its matched part; the paper's numbers are most likely of the test \
server.
Worst and mean: held-out cross-entropy of the classes in nats, without the interjection, of which \
held-out text has few; test text if there is some. The paper does not print them.
Avg. of ours is the mean of the columns that are shown.
* follows from another printed cell and a printed gain.""".splitlines()
_ARITHMETIC = (
    "† {rows}: the printed Avg. is not the mean of the printed columns (claim A13 of "
    "`python -m theory`)."
)


def grid(preset: str, rows: Mapping[str, str], records: Mapping[Key, Mapping[str, Any]]) -> Grid:
    """The table of a preset.

    Args:
        preset: its name.
        rows: arm by printed name.
        records: of the store.
    """
    wrong = [row for row, cells in TABLE_1.items() if printed_average_is_wrong(cells)]
    head = {
        "name": "table1",
        "title": f"Table 1, PoS-BERT on GLUE ({preset})",
        "preset": preset,
        "printed": TABLE_1,
        "notes": (*_NOTES, *([_ARITHMETIC.format(rows=", ".join(wrong))] if wrong else [])),
    }
    return make_grid(head, _columns(records), rows, records)


def _columns(records: Mapping[Key, Mapping[str, Any]]) -> list[Column]:
    parts = parts_of(records)
    tasks = {name: parts[name] for name in TASKS if name in parts}
    return [
        *(_task_column(name, needed) for name, needed in tasks.items()),
        Column(AVERAGE, "mean", lambda parts: _average(parts, tasks), parts=()),
        *(
            Column(title, "nats", _risk(field), 2, more_is_better=False, upstream=True)
            for title, field in (
                ("worst", "worst_but_interjection"),
                ("mean", "mean_but_interjection"),
            )
        ),
    ]


def _task_column(name: str, needed: Collection[str]) -> Column:
    task = TASKS[name]
    return Column(
        task.title,
        METRIC_NAMES[task.metric],
        lambda parts: _score(parts, needed),
        parts=tuple(needed),
    )


def _score(parts: Records, needed: Collection[str]) -> float | None:
    """Mean over the seeds of fine-tuning, × 100; None unless all of them are there."""
    found = [headline(dict(parts[part])) for part in needed if part in parts]
    return 100 * mean(found) if found and len(found) == len(needed) else None


def _average(parts: Records, tasks: Mapping[str, Collection[str]]) -> float | None:
    scores = [_score(parts, needed) for needed in tasks.values()]
    known = [score for score in scores if score is not None]
    return mean(known) if known and len(known) == len(scores) else None


def _risk(field: str) -> Any:
    def value(parts: Records) -> float | None:
        record = parts.get(PRETRAIN)
        if record is None:
            return None
        held_out = record.get("test") or record.get("valid") or {}
        return float(held_out[field]["value"]) if field in held_out else None

    return value
