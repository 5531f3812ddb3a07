"""The average of the task risks, the paper's baseline "None", or of all examples."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from taskrobust.balancers._simplex import on_simplex
from taskrobust.balancers.base import NonFinite
from taskrobust.balancers.linear import LinearBalancer

__all__ = ["Average"]


class Average(LinearBalancer):
    r"""The mean risk over present tasks, :math:`\frac1T\sum_t \ell_t` (Eq. 4; the paper's "None").

    The authors' code sums over tasks instead; ``scale=num_tasks`` gives that.

    Args:
        num_tasks: number of tasks T.
        over: "tasks", or "examples": each task weighted by its count, :math:`w_t = N_t/\sum_s N_s`,
            which is ordinary training on the mean loss of all examples. Needs `counts`.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Raises:
        ValueError: arguments out of range.

    >>> Average(3)(torch.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """

    def __init__(
        self,
        num_tasks: int,
        *,
        over: Literal["tasks", "examples"] = "tasks",
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        if over not in ("tasks", "examples"):
            raise ValueError(f"`over` should be 'tasks' or 'examples'; found {over!r}")
        self.over = over

    def _weights(self, risks: Tensor, present: Tensor | None, counts: Tensor | None) -> Tensor:
        if self.over == "tasks":
            if present is None:
                return torch.full_like(risks, 1 / self.num_tasks)
            return on_simplex(torch.ones_like(risks), present)
        if counts is None:
            raise ValueError(
                "`over` = 'examples' needs `counts`: pass the result of grouped_risks, or counts=…"
            )
        return on_simplex(counts.to(risks.dtype), present)
