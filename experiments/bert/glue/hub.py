"""A GLUE task from the Hub, or from a folder in the Hub's format."""

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from experiments.bert.glue.examples import Examples, TaskData
from experiments.bert.glue.tasks import GlueTask
from experiments.configuration import ConfigurationError

__all__ = ["load_task"]


def load_task(task: GlueTask, hub: str, revision: str | None = None) -> TaskData:
    """Load all splits of a task; downloads are cached by ``datasets``, and work offline then.

    Args:
        task: one of `TASKS`.
        hub: id of the data set, with a configuration a task.
        revision: commit, branch or tag; None for the newest.

    Raises:
        ConfigurationError: it cannot be loaded, or is not as GLUE is on the Hub.
    """
    source = f"{hub}:{task.name}" + (f"@{revision}" if revision else "")
    try:
        found = load_dataset(hub, task.name, revision=revision)
    except (OSError, ValueError, RuntimeError, DatasetNotFoundError) as error:
        raise _failure(source, error) from error
    except DatasetGenerationError as error:
        raise _failure(source, error.__cause__ or error) from error
    train = _examples(_split(found, "train", source), task, f"{source} train", labelled=True)
    dev, test = {}, {}
    for part in task.parts:
        rows = _split(found, part.hub_dev, source)
        dev[part.name] = _examples(rows, task, f"{source} {part.hub_dev}", labelled=True)
        if part.hub_test in found:
            rows = found[part.hub_test]
            test[part.name] = _examples(rows, task, f"{source} {part.hub_test}", labelled=False)
    return TaskData(task, source, train, dev, test)


def _split(found: DatasetDict, name: str, source: str) -> Dataset:
    if name not in found:
        raise ConfigurationError(
            f"{source}: should have a split {name!r}; found {', '.join(map(str, found))}"
        )
    return found[name]


def _examples(rows: Dataset, task: GlueTask, place: str, *, labelled: bool) -> Examples:
    needed = [*task.hub_columns, *(["label"] if labelled else [])]
    missing = [column for column in needed if column not in rows.column_names]
    if missing:
        raise ConfigurationError(
            f"{place}: should have the columns {', '.join(missing)}; found "
            f"{', '.join(rows.column_names)}"
        )
    texts = [tuple(rows[column]) for column in task.hub_columns]
    numbers = rows["idx"] if "idx" in rows.column_names else range(len(rows))
    return Examples(
        first=texts[0],
        second=texts[1] if len(texts) > 1 else None,
        labels=_labels(rows, task, place) if labelled else None,
        index=() if labelled else tuple(map(str, numbers)),
    )


def _labels(rows: Dataset, task: GlueTask, place: str) -> Any:
    """Class ids or scores, checked."""
    feature = rows.features["label"]
    if isinstance(feature, ClassLabel) and tuple(feature.names) != task.hub_labels:
        raise ConfigurationError(
            f"{place}: labels should be {', '.join(task.hub_labels)}, in this order; found "
            f"{', '.join(feature.names)}"
        )
    labels = np.array(rows["label"], np.float32)
    low, high = 0, 5 if task.is_regression else len(task.labels) - 1
    wrong = ~((labels >= low) & (labels <= high))  # NaN is wrong, too
    if not task.is_regression:
        wrong |= labels != np.rint(labels)
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigurationError(
            f"{place}, row {row}: the label should be from {low} to {high}; found {labels[row]:g}"
        )
    return labels


def _failure(source: str, error: Any) -> ConfigurationError:
    return ConfigurationError(
        f"`fine_tuning.hub`: {source} cannot be loaded ({type(error).__name__}: {error}); check "
        "id, revision and network, or give GLUE's files by --data"
    )
