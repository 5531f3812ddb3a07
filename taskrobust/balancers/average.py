"""The average of the task risks: the paper's baseline "None"."""

import torch
from torch import Tensor

from taskrobust.balancers.base import LinearBalancer, on_simplex

__all__ = ["Average"]


class Average(LinearBalancer):
    r"""The mean risk over present tasks, :math:`\frac1T\sum_t \ell_t` (Eq. 4; the paper's "None").

    It is a mean over *tasks*: a mean over examples weights each task by its count. The authors'
    code sums instead; ``scale=num_tasks`` gives that.

    Args:
        num_tasks: number of tasks T.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    >>> Average(3)(torch.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """

    def _weights(self, risks: Tensor, present: Tensor, counts: Tensor | None) -> Tensor:  # noqa: ARG002
        return on_simplex(torch.ones_like(risks), present)
