"""Coefficients of the task gradients over a run: weights of Eq. (7), or those of the authors' code.

Eq. (7) steps along Σ_t w_t ∇ℓ_t with w = softmax(αℓ). The authors' released code backpropagates
through the weights, so that ∇ℓ_t has the coefficient c_t = w_t (1 + α (ℓ_t − Σ_s w_s ℓ_s)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from experiments.records import RecordError, require

__all__ = [
    "Trace",
    "attached_coefficients",
    "below_threshold",
    "by_task",
    "condition",
    "rises",
    "trace",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """Every step of a run that had examples of all tasks."""

    tasks: tuple[str, ...]
    steps: NDArray[np.int64]
    """``[S]``, from 1."""
    risks: Floats
    """``[S, T]`` of the training batch."""
    coefficients: Floats
    """``[S, T]`` of the gradients of these risks in the step: weights times their scale."""


def trace(result: dict[str, Any], tasks: Sequence[str]) -> Trace:
    """The risks and coefficients that a run has logged.

    Args:
        result: content of a ``result.json`` of pre-training.
        tasks: names of the T tasks.

    Raises:
        RecordError: not every step was logged, in which case logs are means over several steps, or
            a log without the weights.
    """
    require(result, "history")
    logs = [log for log in result["history"] if "loss" in log]
    steps = np.array([log["step"] for log in logs], dtype=np.int64)
    run = f"{result.get('arm')}/seed-{result.get('seed')}"
    if not np.array_equal(steps, np.arange(1, len(steps) + 1)) or not len(steps):
        raise RecordError(
            f"the history of {run} should have every step, of which coefficients have a sign; "
            "train it with log_every=1"
        )
    try:
        coefficients = np.array(
            [[log["weight_scale"] * log[f"weight/{task}"] for task in tasks] for log in logs]
        )
    except KeyError as error:
        raise RecordError(f"a log of {run} has no {error}; train it anew") from error
    risks = np.array([[log.get(f"risk/{task}", np.nan) for task in tasks] for log in logs])
    whole = ~np.isnan(risks).any(axis=1)
    return Trace(tuple(tasks), steps[whole], risks[whole], coefficients[whole])


def attached_coefficients(risks: Floats, alpha: float) -> Floats:
    """Coefficients ``[S, T]`` of ∇ℓ_t if softmax(αℓ) is differentiated through; rows sum to 1.

    Args:
        risks: ``[S, T]``.
        alpha: sharpness, in 1 / loss units.
    """
    weights = softmax(alpha * risks, axis=1)
    mean = (weights * risks).sum(axis=1, keepdims=True)
    return np.asarray(weights * (1 + alpha * (risks - mean)))


def below_threshold(risks: Floats, alpha: float) -> NDArray[np.bool_]:
    """Where ``[S, T]`` a risk is more than 1/α below the weighted mean, so that c_t < 0.

    Args:
        risks: ``[S, T]``.
        alpha: sharpness, in 1 / loss units.
    """
    weights = softmax(alpha * risks, axis=1)
    return np.asarray(alpha * (risks - (weights * risks).sum(axis=1, keepdims=True)) < -1)


def condition(recorded: Trace, alpha: float) -> dict[str, float]:
    """How well the coefficients that were used are those of the attached form.

    Args:
        recorded: of an attached run.
        alpha: sharpness, in 1 / loss units.

    Returns:
        ``pairs``: steps × tasks that were looked at; ``violations``: those in which the coefficient
        is negative and the risk not more than 1/α below the weighted mean, or the other way round;
        ``largest_difference`` of a recorded coefficient to the formula in float64.
    """
    expected = attached_coefficients(recorded.risks, alpha)
    wrong = (recorded.coefficients < 0) != below_threshold(recorded.risks, alpha)
    return {
        "pairs": wrong.size,
        "violations": int(wrong.sum()),
        "largest_difference": float(np.abs(recorded.coefficients - expected).max()),
    }


def by_task(steps: NDArray[np.int64], coefficients: Floats, tasks: Sequence[str]) -> dict[str, Any]:
    """Signs and sizes of the coefficients of each task.

    Args:
        steps: ``[S]``, from 1.
        coefficients: ``[S, T]``.
        tasks: names of the T tasks.

    Returns:
        By task: ``negative_share`` of the steps; ``first_negative`` and ``last_negative`` step
        (None if there is none); ``turns``, how often the sign changes from a step to the next;
        ``smallest``, ``largest_absolute``, ``mean``, ``first`` and ``last`` coefficient.
    """
    return {
        name: _of_one(steps, column) for name, column in zip(tasks, coefficients.T, strict=True)
    }


def rises(recorded: Trace) -> dict[str, dict[str, float]]:
    """How far the training risk of each task has risen: what is maximised rises.

    Args:
        recorded: of a run.

    Returns:
        By task: risk of the ``first`` and of the ``last`` step, ``largest`` risk and the step
        ``largest_at`` which it is.
    """
    found = {}
    for name, column in zip(recorded.tasks, recorded.risks.T, strict=True):
        place = int(column.argmax())
        found[name] = {
            "first": float(column[0]),
            "last": float(column[-1]),
            "largest": float(column[place]),
            "largest_at": int(recorded.steps[place]),
        }
    return found


def _of_one(steps: NDArray[np.int64], column: Floats) -> dict[str, Any]:
    negative = column < 0
    found = steps[negative]
    return {
        "negative_share": float(negative.mean()),
        "first_negative": int(found[0]) if len(found) else None,
        "last_negative": int(found[-1]) if len(found) else None,
        "turns": int((negative[1:] != negative[:-1]).sum()),
        "smallest": float(column.min()),
        "largest_absolute": float(np.abs(column).max()),
        "mean": float(column.mean()),
        "first": float(column[0]),
        "last": float(column[-1]),
    }
