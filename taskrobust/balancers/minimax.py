r"""Softmax weighting of the task risks, Eq. (7) and Algorithm 1, and its labelled departures."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from taskrobust.balancers._arguments import positive
from taskrobust.balancers._simplex import softmax
from taskrobust.balancers.base import Balancer, NonFinite
from taskrobust.schedules import alpha_for_tolerance, paper_alpha, sharpened_alpha

__all__ = ["Minimax"]

Schedule = Callable[[int], float]
SCHEDULES: Mapping[str, Callable[..., Any]] = {"paper": paper_alpha, "sharpened": sharpened_alpha}


class Minimax(Balancer):
    r"""Softmax weighted gradient descent: :math:`w=\mathrm{softmax}(\alpha\ell)`, detached (Eq. 7).

    The gradient :math:`\sum_t w_t\nabla\ell_t` is that of the smooth maximum
    :math:`F_\alpha = \frac1\alpha\log\sum_t e^{\alpha\ell_t}`, and
    :math:`\max_t\ell_t - \sum_t w_t\ell_t \le c_T/\alpha`.

    Exactly one of `alpha` and `tolerance` says how sharp; the paper's experiments have α = 1.

    Departures from Algorithm 1, each off by default: `reference`, `ema`, `min_count`, and
    ``mode="attached"``, which is what the authors' released code does: it backpropagates through
    the weights, so that the coefficient of :math:`\nabla\ell_t` is
    :math:`w_t(1+\alpha(\ell_t-\sum_s w_s\ell_s))`. It differs from Eq. (7) by
    :math:`\alpha\,\mathrm{Cov}_w(\ell,\nabla\ell)`, sums to 1 and is **negative** once
    :math:`\ell_t` is more than 1/α below the weighted mean: the loss of an easy task is then
    *maximised*. Its loss lies between the mean and the maximum, but is neither
    monotone in the risks nor convex for convex risks.

    Args:
        num_tasks: number of tasks T.
        alpha: sharpness in 1 / loss units, at least 0: a number; a function of the step (0, 1, …);
            or a schedule of the theory as a mapping, ``{"schedule": "sharpened", "radius": R0,
            "lipschitz": L}`` or ``"paper"`` with ``"loss_bound"`` as well (see
            `taskrobust.schedules`).
        tolerance: in loss units, instead of `alpha`: :math:`\alpha = c_T/\text{tolerance}`, with
            which the weighted risk is within `tolerance` of the worst.
        mode: "softmax"; "hard", all weight on the worst task (ties split), which takes no `alpha`;
            or "attached".
        reference: risks ``[T]`` of a reference model; then weights come from the *excess* risks
            :math:`\ell_t - \text{reference}_t` (minimax excess risk; DoReMi's choice), since raw
            losses of different tasks have different floors.
        ema: decay in [0, 1) of an average of the risks from which weights are computed. The current
            batch is left out of it (a task never seen before contributes its current risk), so that
            the gradient is unbiased for the frozen weights; the price is a lag.
        min_count: tasks with fewer examples in the batch get no weight (unless all have fewer), so
            that one example of a rare task cannot outweigh hundreds. Needs `counts`.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Raises:
        ValueError: arguments out of range, or that contradict each other; at a call, a sharpness
            that is infinite with mode "attached".

    >>> balancer = Minimax(3, tolerance=0.1)
    >>> losses = torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    >>> balancer(losses).backward()
    >>> losses.grad  # the weights
    tensor([0.0344, 0.8789, 0.0868])
    """

    reference: Tensor | None
    averaged: Tensor
    seen: Tensor

    def __init__(
        self,
        num_tasks: int,
        alpha: float | Schedule | Mapping[str, Any] | None = None,
        *,
        tolerance: float | None = None,
        mode: Literal["softmax", "hard", "attached"] = "softmax",
        reference: Tensor | Sequence[float] | None = None,
        ema: float | None = None,
        min_count: int = 1,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        if mode not in ("softmax", "hard", "attached"):
            raise ValueError(f"`mode` should be 'softmax', 'hard' or 'attached'; found {mode!r}")
        if mode == "attached" and (reference is not None or ema is not None or min_count != 1):
            raise ValueError(
                "`mode` 'attached' is the authors' code, which has no `reference`, `ema` or "
                "`min_count`; leave them out or use mode 'softmax'"
            )
        if ema is not None and not 0 <= ema < 1:
            raise ValueError(f"`ema` should be in [0, 1); found {ema}")
        if isinstance(min_count, bool) or not isinstance(min_count, int) or min_count < 1:
            raise ValueError(f"`min_count` should be an integer of at least 1; found {min_count!r}")
        self.mode = mode
        self.ema = ema
        self.min_count = min_count
        self._alpha = _sharpness(num_tasks, alpha, tolerance, mode)
        self.register_buffer("reference", _reference(num_tasks, reference))
        if ema is not None:
            self.register_buffer("averaged", torch.zeros(num_tasks))
            self.register_buffer("seen", torch.zeros(num_tasks, dtype=torch.bool))

    def alpha(self, step: int | None = None) -> float:
        """The sharpness at a step, that of the next call if None.

        Raises:
            ValueError: the schedule gives a negative number or NaN.
        """
        if isinstance(self._alpha, _Constant):
            return self._alpha.value
        step = self.step if step is None else step
        alpha = float(self._alpha(step))
        if not alpha >= 0:
            raise ValueError(f"`alpha` should be at least 0; found {alpha} at step {step}")
        return alpha

    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,
        task_gradients: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor, float]:
        alpha = self.alpha()
        if self.mode == "attached" and alpha > torch.finfo(risks.dtype).max:
            raise ValueError(f"`alpha` should be finite with mode 'attached'; found {alpha}")
        fixed = risks.detach()
        # In this order: the first may raise, the second changes state.
        eligible = self._eligible(present, counts)
        signal = self._signal(fixed, present)
        finite = signal is fixed and self.nonfinite != "ignore"
        weights = softmax(signal, alpha, eligible, finite=finite)
        if self.mode != "attached":
            return self._weighted(risks, weights), weights, self.scale
        value = torch.dot(weights, fixed)
        # Far below the average a slope may overflow, but there is no weight.
        slopes = (alpha * (fixed - value)).clamp_min(torch.finfo(risks.dtype).min)
        slopes = torch.addcmul(weights, weights, slopes)
        loss = self._weighted(risks, slopes)
        # Its value is that of the softmax weights.
        return loss + (self.scale * value - loss.detach()), slopes, self.scale

    def _signal(self, risks: Tensor, present: Tensor | None) -> Tensor:
        """What the weights are computed from: risks, averaged or not, above the reference."""
        signal = risks
        if self.ema is not None:
            signal = torch.where(self.seen, self.averaged.to(risks.dtype), risks)
            if self.training:
                mixed = torch.where(self.seen, torch.lerp(risks, signal, self.ema), risks)
                known = torch.isfinite(risks)  # no NaN stays for ever
                if present is not None:
                    known = known & present
                self.averaged.copy_(torch.where(known, mixed, self.averaged))
                self.seen.logical_or_(known)
        reference = self.reference
        return signal if reference is None else signal - reference.to(risks.dtype)

    def _eligible(self, present: Tensor | None, counts: Tensor | None) -> Tensor | None:
        """Tasks that may get weight: those with enough examples, or all if none has."""
        if self.min_count == 1:
            return present
        if counts is None:
            raise ValueError(
                f"`min_count` = {self.min_count} needs `counts`: pass the result of grouped_risks, "
                "or counts=…"
            )
        enough = counts >= self.min_count
        if present is None:
            return enough | ~enough.any()
        enough = enough & present
        return torch.where(enough.any(), enough, present)

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        parts = [super().extra_repr(), f"mode={self.mode!r}", f"alpha={self.alpha():g}"]
        if self.ema is not None:
            parts.append(f"ema={self.ema:g}")
        if self.min_count != 1:
            parts.append(f"min_count={self.min_count}")
        return ", ".join(parts)


def _sharpness(
    num_tasks: int,
    alpha: float | Schedule | Mapping[str, Any] | None,
    tolerance: float | None,
    mode: str,
) -> Schedule:
    """The sharpness as a function of the step."""
    if mode == "hard":
        if alpha is not None or tolerance is not None:
            raise ValueError(
                "`mode` 'hard' is infinite sharpness; leave out `alpha` and `tolerance`"
            )
        return _Constant(math.inf)
    if (alpha is None) == (tolerance is None):
        raise ValueError(
            "exactly one of `alpha` and `tolerance` should be given; "
            f"found alpha={alpha!r}, tolerance={tolerance!r}"
        )
    if tolerance is not None:
        return _Constant(float(alpha_for_tolerance(num_tasks, positive("tolerance", tolerance))))
    if isinstance(alpha, Mapping):
        options = dict(alpha)
        name = options.pop("schedule", None)
        if name not in SCHEDULES:
            raise ValueError(
                f"`alpha` should name a schedule ({', '.join(SCHEDULES)}); found {name!r}"
            )
        try:
            schedule = partial(SCHEDULES[name], num_tasks=num_tasks, **options)
            schedule(0)
        except TypeError as error:
            raise ValueError(f"`alpha`: schedule {name!r}: {error}") from error
        return schedule
    if callable(alpha):
        return alpha
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha >= 0:
        raise ValueError(f"`alpha` should be a number of at least 0; found {alpha!r}")
    return _Constant(float(alpha))


class _Constant:
    """A constant schedule that can be pickled and copied."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, step: int) -> float:  # noqa: ARG002
        return self.value


def _reference(num_tasks: int, reference: Tensor | Sequence[float] | None) -> Tensor | None:
    if reference is None:
        return None
    values = torch.as_tensor(reference).detach().clone()
    if not values.is_floating_point() or values.dtype.itemsize < 4:
        values = values.float()
    if values.shape != (num_tasks,) or not bool(torch.isfinite(values).all()):
        raise ValueError(f"`reference` should be {num_tasks} finite risks; found {values.tolist()}")
    return values
