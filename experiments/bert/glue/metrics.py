"""GLUE's metrics, by scikit-learn and scipy."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from experiments.bert.glue.tasks import GlueTask

__all__ = ["METRICS", "predictions", "scores"]

Floats = NDArray[np.floating]


def _f1(predicted: Floats, labels: Floats) -> float:
    return float(f1_score(labels, predicted, pos_label=1, average="binary", zero_division=0.0))


def _correlation(found: Callable[[Floats, Floats], Any]) -> Callable[[Floats, Floats], float]:
    """A correlation that is 0 if there is a constant, without the library's warning."""

    def correlation(predicted: Floats, labels: Floats) -> float:
        if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
            return 0.0
        return float(found(predicted, labels))

    return correlation


METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "accuracy": lambda predicted, labels: float(accuracy_score(labels, predicted)),
    "f1": _f1,
    "matthews": _correlation(lambda predicted, labels: matthews_corrcoef(labels, predicted)),
    "spearman": _correlation(lambda predicted, labels: spearmanr(predicted, labels)[0]),
    "pearson": _correlation(lambda predicted, labels: pearsonr(predicted, labels)[0]),
}
"""From predictions and labels ``[n]`` to a score of at most 1.

F1 is that of class 1 (duplicate, paraphrase), 0 if it is neither there nor predicted. Correlations
with constants, which are undefined, count as 0 (Matthews' is one, of classes).
"""


def predictions(task: GlueTask, outputs: Floats) -> Floats:
    """Class ids, or scores as the model gives them, ``[n]``.

    Args:
        task: one of `TASKS`.
        outputs: of the classifier, ``[n, task.outputs]``.

    Raises:
        ValueError: outputs that are not finite.
    """
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"`outputs` should be finite; found {np.sum(~np.isfinite(outputs))} others"
        )
    return outputs[:, 0].astype(float) if task.is_regression else outputs.argmax(1).astype(float)


def scores(task: GlueTask, outputs: Floats, labels: Floats) -> dict[str, float]:
    """All metrics of a task, that of Table 1 first.

    Args:
        task: one of `TASKS`.
        outputs: of the classifier, ``[n, task.outputs]``.
        labels: class ids or scores ``[n]``.

    Raises:
        ValueError: outputs that are not finite.
    """
    predicted = predictions(task, outputs)
    return {name: METRICS[name](predicted, labels) for name in task.metrics}
