"""Dynamic weight average: weight to the tasks whose risks fall slowest (Liu et al., 2019)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from taskrobust.balancers._arguments import positive
from taskrobust.balancers.base import NonFinite
from taskrobust.balancers.linear import LinearBalancer

__all__ = ["DynamicWeightAverage"]


class DynamicWeightAverage(LinearBalancer):
    r"""Dynamic weight average (Liu, Johns and Davison, CVPR 2019).

    .. math:: w = \mathrm{softmax}(r/\tau), \qquad
              r_t = \frac{\text{mean risk of task t in the last window}}
                         {\text{mean risk of task t in the window before}},

    over present tasks. A window is an epoch in the paper. In the first two windows the weights are
    uniform.

    Deviations: the weights sum to 1 (the paper's sum to T: ``scale=num_tasks``), and masks. A
    window's mean is over the calls that had the task; a task's last two windows are the last two
    that had it, so that a window without it leaves its ratio as it was. Where the ratio is not
    defined it is 1, "no change": before two windows have had the task, and after a window of mean
    0 (or so small that the ratio overflows). Non-finite risks (with ``nonfinite="ignore"``) enter
    no mean.

    Risks should be positive: for negative ones a ratio below 1 says that they grew.

    Args:
        num_tasks: number of tasks T.
        window: number of calls in training mode (skipped ones left out) after which a window ends
            by itself; None: windows end when `end_epoch` is called, as they have to be.
        temperature: τ, without unit; the weights get more uniform as it grows. The paper's is 2.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Attributes:
        ratios: buffer ``[T]``, r; 1 where not defined.
        means: buffer ``[T]``, mean risks of each task's last finished window; NaN before its first.
        sums: buffer ``[T]``, sums of the risks in the current window.
        counts: integer buffer ``[T]``, number of calls in the current window that had the task.

    Raises:
        TypeError: a temperature that is no number.
        ValueError: a window or a temperature out of range.

    >>> balancer = DynamicWeightAverage(2, temperature=1.0)
    >>> for risks in ([1.0, 4.0], [1.0, 1.0], [0.5, 0.5]):
    ...     loss = balancer(torch.tensor(risks))
    ...     balancer.end_epoch()
    >>> balancer.last.weights  # softmax of (1, 1/4): task 0 stood still from window 1 to window 2
    tensor([0.6792, 0.3208])
    """

    ratios: Tensor
    means: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        num_tasks: int,
        *,
        window: int | None = None,
        temperature: float = 2.0,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        if window is not None and (
            isinstance(window, bool) or not isinstance(window, int) or window < 1
        ):
            raise ValueError(
                f"`window` should be an integer of at least 1 or None; found {window!r}"
            )
        self.window = window
        self.temperature = positive("temperature", temperature)
        self.register_buffer("ratios", torch.ones(num_tasks))
        self.register_buffer("means", torch.full((num_tasks,), torch.nan))
        self.register_buffer("sums", torch.zeros(num_tasks))
        self.register_buffer("counts", torch.zeros(num_tasks, dtype=torch.int64))

    def end_epoch(self) -> None:
        """End the window, in either mode (calls in evaluation mode are in none).

        Nothing happens if the window has no call, or if `window` is a number.
        """
        if self.window is None:
            self._end_window()

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        return f"{super().extra_repr()}, window={self.window}, temperature={self.temperature:g}"

    def _weights(self, risks: Tensor, present: Tensor | None, counts: Tensor | None) -> Tensor:  # noqa: ARG002
        exponents = self.ratios / self.temperature
        if present is None:
            weights = torch.softmax(exponents, 0, dtype=risks.dtype)
        else:
            exponents = torch.where(present, exponents, -math.inf)
            weights = torch.softmax(exponents, 0, dtype=risks.dtype)
            weights = torch.where(present, weights, 0.0)
        if self.training:
            self._remember(risks, present)
            if self.window is not None and (self.step + 1) % self.window == 0:
                self._end_window()
        return weights

    def _remember(self, risks: Tensor, present: Tensor | None) -> None:
        if self.nonfinite == "ignore":  # the other modes have made sure that all are finite
            finite = torch.isfinite(risks)
            risks = torch.where(finite, risks, 0.0)
            present = finite if present is None else present & finite
        self.sums.add_(risks)  # 0 where absent
        self.counts.add_(1 if present is None else present)

    def _end_window(self) -> None:
        seen = self.counts > 0
        means = self.sums / self.counts
        ratios = means / self.means
        ratios = torch.where(torch.isfinite(ratios / self.temperature), ratios, 1.0)
        self.ratios.copy_(torch.where(seen, ratios, self.ratios))
        self.means.copy_(torch.where(seen, means, self.means))
        self.sums.zero_()
        self.counts.zero_()
