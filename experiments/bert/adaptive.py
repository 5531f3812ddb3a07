"""Adaptive grouping: tasks of masked pieces by how large the loss of their type has been lately.

The paper leaves the choice of the tasks to future work. Here a type, a piece of the vocabulary,
belongs to one of T groups of about equal mass, from the easiest to the hardest; every n steps the
types are grouped anew. Held-out text is measured by part of speech all the same.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback

from experiments.bert.configuration import Regrouping
from experiments.bert.groupings import IGNORED, UNASSIGNED
from experiments.training import OrderedTrainer
from taskrobust.balancers import Balancer
from taskrobust.risks import TaskSums

__all__ = ["LossGroups", "RegroupingTrainer", "quantile_groups"]


def quantile_groups(sums: Tensor, counts: Tensor, num_groups: int) -> Tensor:
    """Groups of types by mean loss, of equal mass as far as whole types allow.

    A type counts as if seen once more at the mean loss of all: one never seen is as hard as the
    average, and one seen once only half its own loss.

    Args:
        sums: losses of each type ``[V]``, nats.
        counts: their number ``[V]``, or a decayed one; not all 0.
        num_groups: T.

    Returns:
        Group of each type ``[V]``, int64; 0 has the smallest losses. No group's mass is off from
        1/T of all by more than the mass of the heaviest type.
    """
    means = (sums + sums.sum() / counts.sum()) / (counts + 1)
    order = torch.argsort(means, stable=True)
    middle = torch.cumsum(counts[order], 0) - counts[order] / 2
    groups = (num_groups * middle / counts.sum()).long().clamp(max=num_groups - 1)
    return torch.empty_like(groups).scatter_(0, order, groups)


class LossGroups(nn.Module):
    """The group of each type, and the losses from which it is found anew.

    All that outlives a step is in buffers: checkpointed and restored with the balancer it is put
    into, and the same on all ranks.

    Args:
        vocabulary: number V of types.
        num_groups: T. Before the first regrouping groups are arbitrary: a type's id modulo T.
        how: when types are regrouped, and how fast losses are forgotten.

    Attributes:
        group_of_type: ``[V]``, int64.
        moved: share of the mass that the last regrouping gave another group.
    """

    group_of_type: Tensor
    sums: Tensor
    counts: Tensor
    steps: Tensor
    moved: Tensor

    def __init__(self, vocabulary: int, num_groups: int, how: Regrouping) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.how = how
        self.register_buffer("group_of_type", torch.arange(vocabulary) % num_groups)
        self.register_buffer("sums", torch.zeros(vocabulary, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(vocabulary, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("moved", torch.zeros((), dtype=torch.float64))
        self._step: Tensor | None = None  # [2, V] of this rank

    def assign(self, task_ids: Tensor, labels: Tensor) -> Tensor:
        """Task ids with `UNASSIGNED` replaced by the group of the type.

        Args:
            task_ids: of any shape.
            labels: types of the same shape.
        """
        return torch.where(
            task_ids == UNASSIGNED, self.group_of_type[labels.clamp(min=0)], task_ids
        )

    @torch.no_grad()
    def observe(self, values: Tensor, labels: Tensor, taking_part: Tensor) -> None:
        """Take note of the losses of a micro-batch on this rank.

        Args:
            values: losses ``[n]``, nats; those that are not finite are passed over.
            labels: types ``[n]``.
            taking_part: bool ``[n]``.
        """
        kept = taking_part & (labels != IGNORED) & torch.isfinite(values)
        if self._step is None:
            self._step = torch.stack([torch.zeros_like(self.sums)] * 2)
        found = values[kept].double()
        self._step[0].index_add_(0, labels[kept], found)
        self._step[1].index_add_(0, labels[kept], torch.ones_like(found))

    @torch.no_grad()
    def end_step(self) -> None:
        """Add the losses of an optimiser step over all ranks; regroup if it is time."""
        step = torch.stack([torch.zeros_like(self.sums)] * 2) if self._step is None else self._step
        self._step = None
        if dist.is_initialized():
            dist.all_reduce(step)
        self.sums += step[0]
        self.counts += step[1]
        self.steps += 1
        if int(self.steps) % self.how.every or not self.counts.any():
            return
        groups = quantile_groups(self.sums, self.counts, self.num_groups)
        changed = groups != self.group_of_type
        self.moved.copy_(self.counts[changed].sum() / self.counts.sum())
        self.group_of_type.copy_(groups)
        self.sums *= self.how.decay
        self.counts *= self.how.decay


class RegroupingTrainer(OrderedTrainer):
    """An `OrderedTrainer` whose balancer holds `LossGroups`, which say what is unassigned.

    Args:
        args: as of `TaskRobustTrainer`.
        balancer: of as many tasks as there are groups at least; gets the groups as ``regrouping``.
        groups: the groups of types.
        kwargs: as of `TaskRobustTrainer`.
    """

    def __init__(self, *args: Any, balancer: Balancer, groups: LossGroups, **kwargs: Any) -> None:
        self.groups = groups
        balancer.add_module("regrouping", groups)  # checkpoints hold the state of the balancer
        super().__init__(*args, balancer=balancer, **kwargs)
        self.add_callback(_EndOfStep(groups))

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """As `TaskRobustTrainer`; in training, losses are taken note of, once a step."""
        return_outputs = kwargs.pop("return_outputs", args[0] if args else False)
        loss, outputs = super().compute_loss(model, inputs, True, *args[1:], **kwargs)
        if model.training:
            labels, ids = inputs["mlm_labels"].flatten(), inputs["task_ids"].flatten()
            values = outputs["task_values"][: len(labels)].detach()
            self.groups.observe(values, labels, ids == UNASSIGNED)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `TaskRobustTrainer`, with the share of the mass that moved in the last regrouping."""
        if "loss" in logs:
            logs = {**logs, "moved": float(self.groups.moved)}
        super().log(logs, start_time)

    def _local_sums(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[TaskSums, Any]:
        assigned = self.groups.assign(inputs["task_ids"], inputs["mlm_labels"])
        return super()._local_sums(model, {**inputs, "task_ids": assigned})


class _EndOfStep(TrainerCallback):  # type: ignore[misc]
    """Tells the groups of ended steps, before a checkpoint is written."""

    def __init__(self, groups: LossGroups) -> None:
        self._groups = groups

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._groups.end_step()
