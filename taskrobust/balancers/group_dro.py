"""GroupDRO: exponentiated-gradient ascent on the task weights (Sagawa et al., 2020)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from taskrobust.balancers._arguments import positive
from taskrobust.balancers.base import NonFinite
from taskrobust.balancers.linear import LinearBalancer

__all__ = ["GroupDRO"]


class GroupDRO(LinearBalancer):
    r"""Online GroupDRO (Sagawa, Koh, Hashimoto and Liang, ICLR 2020, Algorithm 1).

    A call first updates the weights with the current risks, then weights these risks with them:

    .. math:: q_t \leftarrow \frac{q_t e^{\eta\ell_t}}{\sum_sq_se^{\eta\ell_s}}, \qquad
              L = \text{scale}\sum_tq_t\ell_t.

    The weights are a softmax of the *accumulated* risks, where `Minimax` takes the current ones. In
    evaluation mode they are what they are, without an update.

    Deviations: the update uses the risks of all tasks of a batch (as the paper's code does; its
    Algorithm 1 draws one group a step), in log space. Of a batch that lacks tasks only the present
    ones are compared: among them the update is the one above, their total :math:`\sum_tq_t` stays
    as it was, and absent tasks keep their :math:`q_t`, bit for bit. (In the paper's code an absent
    group has loss 0, so that a task loses weight for being rare.) The loss uses the weights of the
    present tasks, renormalised. So a batch of one task changes nothing, and its weight is 1. Tasks
    with non-finite risks (with ``nonfinite="ignore"``) take no part in the update.

    Args:
        num_tasks: number of tasks T.
        step_size: η in 1 / loss units; 0.01 is the default of the paper's code.
        adjustment: C of the generalisation adjustment in loss units: the update uses
            :math:`\ell_t+C/\sqrt{n_t}`. The loss does not contain it. 0 for none.
        group_sizes: number of training examples of each task, n_t; needed by `adjustment`.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Attributes:
        log_weights: buffer ``[T]``, :math:`\log q`. It starts at :math:`-\log T` and is kept above
            a quarter of the lowest number of its dtype. In float32 its rounding adds up to about
            1e-3 in 1e5 calls, after ``balancer.double()`` to nothing.

    Raises:
        TypeError: a step size or an adjustment that is no number.
        ValueError: arguments out of range, or an adjustment without group sizes or the reverse.

    >>> balancer = GroupDRO(2, step_size=1.0)
    >>> for _ in range(2):
    ...     loss = balancer(torch.tensor([1.0, 2.0]))
    ...     print(balancer.last.weights)
    tensor([0.2689, 0.7311])
    tensor([0.1192, 0.8808])
    """

    log_weights: Tensor
    group_sizes: Tensor | None

    def __init__(
        self,
        num_tasks: int,
        *,
        step_size: float = 0.01,
        adjustment: float = 0.0,
        group_sizes: Sequence[int] | Tensor | None = None,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        self.step_size = positive("step_size", step_size)
        self.adjustment = positive("adjustment", adjustment) if adjustment != 0 else 0.0
        if (self.adjustment == 0) != (group_sizes is None):
            raise ValueError(
                "`adjustment` and `group_sizes` should be given together; "
                f"found adjustment={adjustment!r}, group_sizes={group_sizes!r}"
            )
        # Arguments, not state: they do not come back from a checkpoint.
        self.register_buffer("group_sizes", _sizes(num_tasks, group_sizes), persistent=False)
        self.register_buffer("log_weights", torch.full((num_tasks,), -math.log(num_tasks)))

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        adjustment = f", adjustment={self.adjustment:g}" if self.adjustment else ""
        return f"{super().extra_repr()}, step_size={self.step_size:g}{adjustment}"

    def _weights(self, risks: Tensor, present: Tensor | None, counts: Tensor | None) -> Tensor:  # noqa: ARG002
        log_weights = self.log_weights
        if self.training:
            self._ascend(log_weights, risks, present)
        wider = torch.promote_types(log_weights.dtype, risks.dtype)
        if present is None:
            weights = torch.softmax(log_weights, 0, dtype=wider)
        else:
            log_weights = torch.where(present, log_weights, -math.inf)
            weights = torch.where(present, torch.softmax(log_weights, 0, dtype=wider), 0.0)
        return weights.to(risks.dtype)

    def _ascend(self, log_weights: Tensor, risks: Tensor, compared: Tensor | None) -> None:
        """Multiply the weights of the compared tasks by exp(η · risk), their total unchanged."""
        if self.nonfinite == "ignore":  # the other modes have made sure that all are finite
            finite = torch.isfinite(risks)
            compared = finite if compared is None else compared & finite
        if self.group_sizes is not None:
            risks = risks + self.adjustment / self.group_sizes.to(risks.dtype).sqrt()
        before = log_weights
        if compared is not None:
            risks = torch.where(compared, risks, -math.inf)
            before = torch.where(compared, before, -math.inf)
        # Gains are at most 0, so that only -inf can come up, and the floor takes care of it.
        gains = risks - risks.max()
        after = torch.log_softmax(torch.add(before, gains, alpha=self.step_size), 0)
        if compared is not None:
            after = after + torch.logsumexp(before, 0)  # of all tasks it is 0
        after = after.clamp_min(torch.finfo(log_weights.dtype).min / 4)
        log_weights.copy_(after if compared is None else torch.where(compared, after, log_weights))


def _sizes(num_tasks: int, group_sizes: Sequence[int] | Tensor | None) -> Tensor | None:
    if group_sizes is None:
        return None
    sizes = torch.as_tensor(group_sizes).detach()
    integral = not (sizes.is_floating_point() or sizes.is_complex() or sizes.dtype == torch.bool)
    if not integral or sizes.shape != (num_tasks,) or not bool((sizes > 0).all()):
        raise ValueError(
            f"`group_sizes` should be {num_tasks} integers of at least 1; found {sizes.tolist()}"
        )
    return sizes.long()
