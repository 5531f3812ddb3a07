"""The versioned table from Penn Treebank tags to the nine part-of-speech tasks."""

import hashlib
from functools import cache
from pathlib import Path

import yaml

__all__ = ["CLASSES", "NUM_TASKS", "OTHER", "TASKS", "class_of_tag", "table_key"]

_TABLE = Path(__file__).with_name("penn_classes.yaml")


@cache
def _table() -> tuple[tuple[str, ...], dict[str, int]]:
    content = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    names = tuple(content["classes"])
    ids = {tag: i for i, name in enumerate(names) for tag in content["classes"][name]}
    ids.update({tag: ids[meant] for tag, meant in content["synonyms"].items()})
    return names, ids


CLASSES: tuple[str, ...] = _table()[0]
"""Names of the ten classes; a class id is an index into it. The last is no task."""
TASKS: tuple[str, ...] = CLASSES[:-1]
"""Names of the nine tasks, class ids 0–8."""
NUM_TASKS = len(TASKS)
OTHER = NUM_TASKS
"""Class id of everything that is no task: numbers, symbols, punctuation, foreign words."""


def class_of_tag(tag: str) -> int:
    """Class id, 0–9, of a Penn Treebank tag.

    Raises:
        ValueError: a tag that the table does not have.
    """
    try:
        return _table()[1][tag]
    except KeyError:
        raise ValueError(
            f"unknown Penn Treebank tag {tag!r}; add it to {_TABLE.name} and raise its version"
        ) from None


def table_key() -> str:
    """Hash of the table, for cache keys and results."""
    return hashlib.sha256(_TABLE.read_bytes()).hexdigest()[:16]
