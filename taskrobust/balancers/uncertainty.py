"""Uncertainty weighting: log-variances learned with the model (Kendall et al., 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskrobust.balancers._simplex import on_simplex
from taskrobust.balancers.base import Balancer, NonFinite, Weighting

__all__ = ["Uncertainty"]


class Uncertainty(Balancer):
    r"""Homoscedastic uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018).

    With a learned log-variance :math:`s_t=\log\sigma_t^2` a task and P present tasks,

    .. math:: L = \frac{\text{scale}}{P}\sum_{t\text{ present}}(e^{-s_t}\ell_t + s_t),

    the same form for every kind of loss and without ½. For fixed risks the minimum is at
    :math:`s_t=\log\ell_t`, where the coefficient of :math:`\nabla\ell_t` is proportional to
    :math:`1/\ell_t`: tasks with *small* risks get the weight.

    Forms in the literature, with all tasks present:

    - the authors' code of arXiv 2306.12070 sums, ``scale=num_tasks``;
    - the paper's regression loss :math:`\sum_t\frac12e^{-s_t}\ell_t+\log\sigma_t` (TorchJD's and
      LibMTL's form for every loss) is ``scale=num_tasks / 2``; LibMTL starts at ``initial=-0.5``;
    - the paper's classification loss :math:`\sum_te^{-s_t}\ell_t+\log\sigma_t` has the ½ on one
      term only. That is the former with :math:`s_t-\log2` for :math:`s_t` and a constant added:
      ``scale=num_tasks / 2`` with ``initial=-math.log(2)`` for such a task.

    Deviations: a mean over present tasks at the default scale; absent tasks are masked, and their
    log-variance gets a gradient of exactly 0 (an optimiser with momentum may still move it); the
    log-variances are not decayed if the optimiser takes `param_groups`.

    Risks should be positive: for others the minimum over :math:`s_t` is at minus infinity. The
    gradient of the log-variances is whole on every rank, so a data-parallel wrapper should average
    gradients, not add them.

    Args:
        num_tasks: number of tasks T.
        initial: log-variances to start from, one for all or one a task. At 0, the value of the
            authors' code, the first step is that of the average.
        scale: as in `Balancer`. What multiplies the risks is :math:`\text{scale}\,e^{-s_t}/P`; the
            `Weighting` of a call splits it into weights that sum to 1 and their scale.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Attributes:
        log_variances: parameter ``[T]``, float32 or wider.

    Raises:
        ValueError: initial values of the wrong number, or not finite.

    >>> balancer = Uncertainty(2)
    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.AdamW(
    ...     [{"params": model.parameters()}, *balancer.param_groups()], weight_decay=0.05
    ... )
    >>> balancer(torch.tensor([1.0, 3.0])).item()
    2.0
    """

    def __init__(
        self,
        num_tasks: int,
        *,
        initial: float | Sequence[float] | Tensor = 0.0,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        self.log_variances = nn.Parameter(_initial(num_tasks, initial))

    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,  # noqa: ARG002
        task_gradients: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor, float | Tensor]:
        log_variances = self.log_variances.to(risks.dtype)
        share: float | Tensor = self.scale / self.num_tasks
        if present is not None:
            log_variances = torch.where(present, log_variances, 0.0)
            share = self.scale / present.sum(dtype=risks.dtype).clamp(min=1.0)
        precisions = torch.exp(-log_variances)
        loss = share * torch.sum(torch.addcmul(log_variances, precisions, risks))
        return loss, precisions.detach(), share

    def _weighting(
        self,
        risks: Tensor,
        weights: Tensor,
        scale: float | Tensor,
        present: Tensor | None,
        counts: Tensor | None,
    ) -> Weighting:
        """Splits the derivative of the loss in the risks into weights and their scale."""
        if present is not None:
            weights = torch.where(present, weights, 0.0)
        total = weights.sum()
        return super()._weighting(risks, on_simplex(weights, None), scale * total, present, counts)


def _initial(num_tasks: int, initial: float | Sequence[float] | Tensor) -> Tensor:
    values = torch.as_tensor(initial).detach()
    if values.dtype.itemsize < 4 or not values.is_floating_point():
        values = values.float()
    if values.shape not in ((), (num_tasks,)) or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"`initial` should be one finite number or {num_tasks} of them; found {values.tolist()}"
        )
    return values.expand(num_tasks).clone()
