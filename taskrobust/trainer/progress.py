"""Risks and weights in the logs, and the worst task in the progress line."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from taskrobust.balancers.base import Balancer, Weighting

__all__ = ["EpochCallback", "TaskProgressCallback", "WeightingLog", "log_line", "worst_task"]


class WeightingLog:
    """Mean risk, weight and count of each task since the last log, summed on the device.

    Args:
        task_names: names of the tasks.

    Attributes:
        skipped_steps: optimiser steps since the last log that were skipped; the user counts them.
    """

    def __init__(self, task_names: tuple[str, ...]) -> None:
        self.task_names = task_names
        self.skipped_steps = 0
        self._totals: Tensor | None = None

    def add(self, weighting: Weighting | None) -> None:
        """Add what a balancer did in one call; None, a skipped call, adds nothing."""
        if weighting is None:
            return
        rows = torch.stack(
            [
                weighting.risks,
                weighting.weights,
                weighting.present.to(weighting.risks.dtype),
                weighting.scale.expand_as(weighting.risks),
                torch.ones_like(weighting.risks),
                torch.full_like(weighting.risks, torch.nan)
                if weighting.counts is None
                else weighting.counts.to(weighting.risks.dtype),
            ]
        )
        self._totals = rows if self._totals is None else self._totals + rows

    def pop(self) -> dict[str, float]:
        """Means by task, and start again; empty if nothing was added.

        ``risk/NAME`` is a mean over the calls that had the task (left out if none had),
        ``weight/NAME`` and ``count/NAME``, the number of examples (left out if a call was not told
        it), over all; ``worst_risk`` is the largest of the former, ``weight_scale``
        the mean scale. ``skipped_steps`` is there if it is not 0.
        """
        skipped = {"skipped_steps": float(self.skipped_steps)} if self.skipped_steps else {}
        self.skipped_steps = 0
        if self._totals is None:
            return skipped
        risks, weights, present, scale, steps, counts = self._totals.tolist()
        self._totals = None
        logs = {}
        for t, name in enumerate(self.task_names):
            if present[t]:
                logs[f"risk/{name}"] = risks[t] / present[t]
            logs[f"weight/{name}"] = weights[t] / steps[t]
            if not math.isnan(counts[t]):
                logs[f"count/{name}"] = counts[t] / steps[t]
        if any(present):
            logs["worst_risk"] = max(v for k, v in logs.items() if k.startswith("risk/"))
        logs["weight_scale"] = scale[0] / steps[0]
        return {**logs, **skipped}


def worst_task(logs: dict[str, Any]) -> str | None:
    """The task of largest risk in a training log, as a line; None if the log has no risks."""
    risks = {k.removeprefix("risk/"): v for k, v in logs.items() if k.startswith("risk/")}
    if not risks:
        return None
    name = max(risks, key=risks.__getitem__)
    return f"worst: {name} {risks[name]:.4g} (mean weight {logs[f'weight/{name}']:.2f})"


def log_line(step: int, logs: dict[str, Any]) -> str:
    """A log as people read it: the step, then names and values.

    Training logs are without the numbers of single tasks, of which the progress bar names the
    worst; evaluations have all risks.

    Args:
        step: number of optimiser steps so far.
        logs: of `transformers.Trainer`.
    """
    kind = "evaluation: " if any(name.startswith("eval_") for name in logs) else ""
    parts = []
    for key, value in logs.items():
        if key.startswith(("risk/", "weight/", "count/")) or key == "total_flos":
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts.append(f"{key.removeprefix('eval_').replace('_', ' ')} {shown}")
    return f"step {step}: {kind}{', '.join(parts)}"


class TaskProgressCallback(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar, with the worst task named and without a line of 3T numbers."""

    def on_log(
        self,
        args: Arguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Show the worst task in the bar and write the rest of the log above it, as one line."""
        if not state.is_world_process_zero or self.training_bar is None:
            return
        logs = logs or {}
        line = worst_task(logs)
        if line is not None:
            self.training_bar.set_postfix_str(line)
        self.training_bar.write(log_line(state.global_step, logs))


class EpochCallback(TrainerCallback):  # type: ignore[misc]
    """Tells a balancer of ended epochs when the next begins, so that a resumed run does too.

    Epochs are counted as they begin: the Trainer's fraction stays below 1 for a data set without a
    length, however often it is gone through.

    Args:
        balancer: whose `Balancer.end_epoch` is called.

    Attributes:
        epochs_ended: number of calls, those before a resume included.
    """

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.epochs_ended = 0
        self._next_epoch = 0

    def on_train_begin(
        self,
        args: Arguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Take over the number of epochs that a resumed run has behind it."""
        self._next_epoch = int(state.epoch or 0)

    def on_epoch_begin(
        self,
        args: Arguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Catch up with the epochs that the Trainer has finished."""
        while self.epochs_ended < self._next_epoch:
            self.balancer.end_epoch()
            self.epochs_ended += 1
        self._next_epoch += 1
