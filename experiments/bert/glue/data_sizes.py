"""What a task was trained and measured on, in words: from data as read, or as recorded."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from experiments.bert.glue.tasks import TASKS

__all__ = ["GENERATED", "described", "notes"]

GENERATED = "generated"
"""Source of data of our own making."""


def described(
    name: str, data: dict[str, Any], *, limit: int | None = None, test: bool = True
) -> str:
    """Rows of each split of a task, and of how many that GLUE has.

    Args:
        name: of the task.
        data: of `TaskData.describe`, or `data` of a record.
        limit: training examples that are used at most; None: all.
        test: whether to tell of the test split.
    """
    task, generated = TASKS[name], data["source"] == GENERATED
    parts = []
    for split, found in data["splits"].items():
        if split.startswith("test") and not test:
            continue
        rows, skipped = found["rows"], found["skipped"]
        known = 0 if generated else task.rows.get(split.removeprefix("dev").strip(), 0)
        whole = max(rows, known)
        used = rows if limit is None or split != "train" else min(limit, rows)
        of = f" of {whole:,}" if used < whole else ""
        left_out = f" ({skipped} broken rows left out)" if skipped else ""
        parts.append(f"{split} {used:,}{of}{left_out}")
    title = f"{task.title} (generated)" if generated else task.title
    return f"{title}: {', '.join(parts)}"


def notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown items on what the scores of a table are from: each task once, without test data.

    Args:
        results: records of `finetune`.
    """
    return list(dict.fromkeys(line for name in TASKS for line in _of_task(name, results)))


def _of_task(name: str, results: Sequence[dict[str, Any]]) -> Iterator[str]:
    for result in results:
        if result["task"] == name:
            limit = yaml.safe_load(result["configuration"])["max_train_examples"]
            cut = limit is not None and limit < result["data"]["splits"]["train"]["rows"]
            line = described(name, result["data"], limit=limit, test=False)
            yield f"- {line}{'; the first training examples' if cut else ''}"
