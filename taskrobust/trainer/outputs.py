"""From what a model returns to the sums and counts of its tasks."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from taskrobust.risks import TaskSums, sums_of_means, task_sums

__all__ = ["output_sums", "warn_of_half_precision"]

_CONTRACT = (
    "`task_values` with `task_groups` (losses of any shape, and their task ids), or `task_sums` "
    "with `task_counts` ([T] each), or `task_risks` ([T], means over the batch) with an optional "
    "`task_present`"
)


def output_sums(outputs: Any, num_tasks: int, batch_size: int | None = None) -> TaskSums:
    """Sums and counts of one micro-batch on this rank, auxiliary losses last.

    A model returns a mapping (or a dataclass such as transformers' `ModelOutput`) with one of

    - ``task_values`` (losses of any shape) and ``task_groups`` (their task ids, as in
      `taskrobust.risks.task_sums`);
    - ``task_sums`` and ``task_counts``, ``[T]`` each;
    - ``task_risks`` ``[T]``, each a mean over the examples of this batch, and optionally
      ``task_present`` ``[T]``. Every present task then counts as many examples as the batch holds,
      which is exact if the means are over examples;

    and, optionally, ``auxiliary_values``: losses of any shape whose mean is added with weight 1,
    outside the balancing.

    Args:
        outputs: what the model returned.
        num_tasks: number of tasks T.
        batch_size: examples in the batch, for ``task_risks``; 1 if None.

    Returns:
        ``[T]``, or ``[T + 1]`` with auxiliary losses.

    Raises:
        ValueError: none or more than one of the three forms, or another number of tasks.
    """
    found = _fields(outputs)
    forms = [name for name in ("task_values", "task_sums", "task_risks") if name in found]
    if len(forms) != 1:
        raise ValueError(
            f"the model should return {_CONTRACT}; found {sorted(found) or type(outputs).__name__}"
        )
    sums = _FORMS[forms[0]](found, num_tasks, batch_size or 1)
    if "auxiliary_values" not in found:
        return sums
    values = found["auxiliary_values"]
    extra = task_sums(values, torch.zeros_like(values, dtype=torch.long), 1)
    return TaskSums(torch.cat([sums.sums, extra.sums]), torch.cat([sums.counts, extra.counts]))


def warn_of_half_precision(outputs: Any, *, mixed: bool) -> None:
    """Warn if the losses that a model returned have been rounded to half precision.

    Under mixed precision the Trainer converts what a model returns to float32, so that the dtype
    says nothing; then the digits are looked at.

    Args:
        outputs: what the model returned.
        mixed: whether the model runs under automatic mixed precision.
    """
    found = _fields(outputs)
    for name in ("task_values", "task_sums", "task_risks", "auxiliary_values"):
        values = found.get(name)
        if values is None or not values.is_floating_point():
            continue
        if values.dtype.itemsize < 4 or (mixed and _fits_in_half(values.detach())):
            warnings.warn(
                f"`{name}` was computed in half precision, which leaves 3 decimal digits or less "
                "of every loss; compute losses in float32: taskrobust.cross_entropy does, or call "
                ".float() on what they are computed from",
                stacklevel=2,
            )


def _fits_in_half(values: Tensor) -> bool:
    """Whether no digit would be lost in half precision, some value being there."""
    return bool(values.any()) and any(
        torch.equal(values, values.to(half).to(values.dtype))
        for half in (torch.bfloat16, torch.float16)
    )


def _fields(outputs: Any) -> dict[str, Tensor]:
    """The tensors of a mapping or of a dataclass, by name."""
    fields = outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    return {key: value for key, value in fields.items() if isinstance(value, Tensor)}


def _from_values(found: dict[str, Tensor], num_tasks: int, batch_size: int) -> TaskSums:  # noqa: ARG001
    groups = _required(found, "task_groups", "task_values")
    return task_sums(found["task_values"], groups, num_tasks)


def _from_sums(found: dict[str, Tensor], num_tasks: int, batch_size: int) -> TaskSums:  # noqa: ARG001
    counts = _required(found, "task_counts", "task_sums")
    sums = _precise("task_sums", found["task_sums"], num_tasks)
    return TaskSums(sums, _shaped("task_counts", counts, num_tasks).to(sums.dtype).detach())


def _from_risks(found: dict[str, Tensor], num_tasks: int, batch_size: int) -> TaskSums:
    risks = _precise("task_risks", found["task_risks"], num_tasks)
    present = found.get("task_present", torch.ones_like(risks, dtype=torch.bool))
    return sums_of_means(risks, _shaped("task_present", present, num_tasks) * batch_size)


_FORMS = {"task_values": _from_values, "task_sums": _from_sums, "task_risks": _from_risks}


def _required(found: dict[str, Tensor], name: str, beside: str) -> Tensor:
    if name not in found:
        raise ValueError(f"the model returned `{beside}` without `{name}`; it should return both")
    return found[name]


def _precise(name: str, values: Tensor, num_tasks: int) -> Tensor:
    if not values.is_floating_point():
        raise TypeError(f"`{name}` should be floating; found dtype {values.dtype}")
    return _shaped(name, values.float() if values.dtype.itemsize < 4 else values, num_tasks)


def _shaped(name: str, values: Tensor, num_tasks: int) -> Tensor:
    if values.shape != (num_tasks,):
        raise ValueError(
            f"`{name}` should have shape ({num_tasks},), one entry a task of the balancer; "
            f"found {tuple(values.shape)}"
        )
    return values
