"""GradNorm: weights under which the gradients of all tasks have balanced norms."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from taskrobust.balancers._arguments import positive
from taskrobust.balancers._simplex import on_simplex
from taskrobust.balancers.base import Balancer, NonFinite
from taskrobust.risks import GradientReduction, ProcessGroup, check_gradient_reduction
from taskrobust.task_gradients import Shared, SharedLayer, Sketch

__all__ = ["GradNorm"]


class GradNorm(Balancer):
    r"""GradNorm (Chen, Badrinarayanan, Lee and Rabinovich, ICML 2018, Algorithm 1).

    With W the parameters of the last layer that all tasks share, and weights w that start at 1,

    .. math:: G_t = w_t\,\lVert\nabla_W\ell_t\rVert_2, \qquad
              r_t = \frac{\ell_t/\ell_t(0)}{\mathrm{mean}_s\,\ell_s/\ell_s(0)}, \qquad
              L_\text{grad} = \sum_t\bigl|G_t - \mathrm{mean}_s(G_s)\,r_t^a\bigr|,

    a call takes one step of Adam on w against :math:`L_\text{grad}` (the targets held fixed),
    then scales w so that it sums to T. The loss uses the weights from before that step. The norms
    cost one pass through the heads and one gradient of W a task, see `taskrobust.task_gradients`;
    nothing below W is visited.

    With `sketch_size` k, a departure from the paper, norms are estimated from random sketches of
    the gradients (`taskrobust.task_gradients.Sketch`): for a matrix ``[d_out, d_in]`` this takes
    k/d_in of the work of exact norms, and of the numbers that ranks exchange; vectors stay exact.
    Squared norms are right on average. The relative standard deviation of a norm is at most about
    :math:`1/\sqrt{2k}`, and norms are at most about 1/(4k) too small on average, but all tasks of
    a step share the sketch, so that errors cancel as far as gradients have their input directions
    in common: the weights depend on the ratios of norms only. Each step draws another sketch, and
    Adam averages what remains.

    Deviations: the loss is :math:`\text{scale}\sum_tw_t\ell_t/\sum_sw_s` over present tasks;
    ``scale=num_tasks`` is the paper's. Absent tasks take no part in a step: the means are over
    present tasks, which keep their total :math:`\sum w`, and each task has its own Adam state and
    its own :math:`\ell_t(0)`, its first risk. Weights below `min_weight` after Adam's step are set
    to it (the paper lets them get negative). Tasks whose norm or :math:`r_t` is not a finite number
    of at least 0 (after an overflow in float16, say, or for a negative risk) are left out like
    absent ones. Risks have to be positive for the method to make sense.

    Args:
        num_tasks: number of tasks T.
        shared: W, the last shared layer or a list of parameters, see
            `taskrobust.task_gradients.SharedLayer`. It is not registered: neither `parameters` nor
            `state_dict` contain it.
        asymmetry: a, the paper's α: how much faster tasks that lag behind are to be trained; 0 for
            equal norms. The paper uses 0.12 and 1.5.
        lr: step size of Adam on the weights. The paper's is 0.025.
        betas: Adam's decays of the moments.
        eps: Adam's ε.
        min_weight: lower bound of the weights before they are scaled, in (0, 1).
        initial_risks: :math:`\ell(0)` ``[T]`` instead of the first risks, such as log(number of
            classes) where these are noisy.
        gradient_scale: as in `taskrobust.task_gradients.SharedLayer`; use 2**16, say, under float16
            autocast.
        sketch_size: k, 64, say; None for exact norms. The sketch of a step follows from the number
            of steps, which is saved, so that a resumed run draws what an uninterrupted one would.
        process_group: as in `taskrobust.risks.global_risks`; the same as there.
        gradient_reduction: as in `taskrobust.risks.global_risks`; the same as there.
        scale: as in `Balancer`.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Attributes:
        task_weights: buffer ``[T]``, w; it sums to T.
        initial_risks: buffer ``[T]``, :math:`\ell(0)`; NaN for tasks that have not been present.
        momentum: buffer ``[T]``, Adam's first moment.
        second_moment: buffer ``[T]``, Adam's second moment.
        updates: integer buffer ``[T]``, Adam's step count of each task.

    Raises:
        TypeError: arguments of another type.
        ValueError: arguments out of range, or `shared` without parameters that require gradients.

    >>> shared, heads = torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)
    >>> balancer = GradNorm(3, shared, lr=0.1)
    >>> for _ in range(3):
    ...     risks = heads(shared(torch.ones(4, 2))).square().mean(0)
    ...     balancer(risks).backward()
    >>> round(balancer.task_weights.sum().item(), 5)
    3.0
    """

    needs_task_gradients = True

    task_weights: Tensor
    initial_risks: Tensor
    momentum: Tensor
    second_moment: Tensor
    updates: Tensor

    def __init__(
        self,
        num_tasks: int,
        shared: Shared,
        *,
        asymmetry: float = 1.5,
        lr: float = 0.025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        min_weight: float = 1e-3,
        initial_risks: Tensor | Sequence[float] | None = None,
        gradient_scale: float = 1.0,
        sketch_size: int | None = None,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        self.asymmetry = positive("asymmetry", asymmetry) if asymmetry != 0 else 0.0
        self.lr = positive("lr", lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"`betas` should be two numbers in [0, 1); found {betas}")
        self.betas = betas
        self.eps = positive("eps", eps)
        self.min_weight = positive("min_weight", min_weight)
        if min_weight >= 1:
            raise ValueError(f"`min_weight` should be below 1; found {min_weight}")
        check_gradient_reduction(gradient_reduction)
        self._layer = SharedLayer(shared, gradient_scale=gradient_scale)
        self.sketch_size = sketch_size
        self._sketch()  # or an error
        self._ranks = _Ranks(process_group, gradient_reduction)
        self.register_buffer("task_weights", torch.ones(num_tasks))
        self.register_buffer("initial_risks", _initial(num_tasks, initial_risks))
        self.register_buffer("momentum", torch.zeros(num_tasks))
        self.register_buffer("second_moment", torch.zeros(num_tasks))
        self.register_buffer("updates", torch.zeros(num_tasks, dtype=torch.int64))

    def bind(self, shared: Shared) -> None:
        """Look at another layer from now on.

        A balancer that has been copied or unpickled without its model still looks at the old one.

        Raises:
            TypeError: as `GradNorm`.
            ValueError: as `GradNorm`.
        """
        self._layer = SharedLayer(shared, gradient_scale=self._layer.gradient_scale)

    def task_gradients(self, losses: Tensor) -> Tensor:
        """This rank's gradients ``[n_losses, n]`` of losses ``[n_losses]`` at the shared layer.

        With `sketch_size` they are the sketches of this step, to be given back to this step's call.

        Raises:
            ValueError: losses that do not depend on the shared layer.
        """
        return self._layer.gradients(losses, sketch=self._sketch())

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        sketch = "" if self.sketch_size is None else f", sketch_size={self.sketch_size}"
        return f"{super().extra_repr()}, asymmetry={self.asymmetry:g}, lr={self.lr:g}{sketch}"

    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,  # noqa: ARG002
        task_gradients: Tensor | None,
    ) -> tuple[Tensor, Tensor, float]:
        weights = on_simplex(self.task_weights.to(risks.dtype), present)
        if self.training:
            norms = self._norms(risks, task_gradients)
            if present is None:
                present = torch.ones_like(risks, dtype=torch.bool)
            with torch.no_grad():
                self._update(risks.detach(), present, norms)
        return self._weighted(risks, weights), weights, self.scale

    def _sketch(self) -> Sketch | None:
        """What to take of the gradients in this step."""
        return None if self.sketch_size is None else Sketch(self.sketch_size, seed=self.step)

    def _norms(self, risks: Tensor, task_gradients: Tensor | None) -> Tensor:
        """Norms ``[T]`` of the global gradients of the risks."""
        if task_gradients is None:
            return self._layer.global_norms(
                risks,
                sketch=self._sketch(),
                process_group=self._ranks.process_group,
                gradient_reduction=self._ranks.gradient_reduction,
            )
        if task_gradients.ndim != 2 or len(task_gradients) != self.num_tasks:
            raise ValueError(
                f"`task_gradients` should have shape [{self.num_tasks}, n]; "
                f"found {list(task_gradients.shape)}"
            )
        wide = torch.promote_types(task_gradients.dtype, torch.float32)
        norms: Tensor = torch.linalg.vector_norm(task_gradients.detach(), dim=1, dtype=wide)
        return norms

    def _update(self, risks: Tensor, present: Tensor, norms: Tensor) -> None:
        """One step on the weights of the present tasks."""
        weights = self.task_weights
        risks, norms = risks.to(weights.dtype), norms.to(weights.dtype)
        first = present & torch.isnan(self.initial_risks) & (risks > 0) & torch.isfinite(risks)
        initial = self.initial_risks
        self.initial_risks = torch.where(first, risks.to(initial.dtype), initial)
        progress = risks / self.initial_risks.to(weights.dtype)
        usable = present & torch.isfinite(norms) & torch.isfinite(progress) & (progress >= 0)
        rates = progress / _mean(progress, usable)
        sizes = weights * norms
        targets = _mean(sizes, usable) * rates**self.asymmetry
        gradients = norms * torch.sign(sizes - targets)
        usable = usable & torch.isfinite(gradients)
        stepped = (weights - self._adam(gradients, usable)).clamp(min=self.min_weight)
        # What the other tasks leave of the total T.
        total = self.num_tasks - torch.where(usable, 0.0, weights).sum()
        stepped = stepped * (total / torch.where(usable, stepped, 0.0).sum())
        self.task_weights = torch.where(usable, stepped, weights)

    def _adam(self, gradients: Tensor, usable: Tensor) -> Tensor:
        """Adam's step ``[T]``; moments and counts of other tasks than the usable stay."""
        decay, second_decay = self.betas
        momentum = decay * self.momentum + (1 - decay) * gradients
        second = second_decay * self.second_moment + (1 - second_decay) * gradients**2
        self.momentum = torch.where(usable, momentum, self.momentum)
        self.second_moment = torch.where(usable, second, self.second_moment)
        self.updates = self.updates + usable
        mean = self.momentum / self._weight_sum(decay)
        deviation = (self.second_moment / self._weight_sum(second_decay)).sqrt()
        return self.lr * mean / (deviation + self.eps)

    def _weight_sum(self, decay: float) -> Tensor:
        """1 - decay**updates, to full precision: the sum of an average's weights so far."""
        rate = math.log(decay) if decay > 0 else -math.inf
        return -torch.expm1(rate * self.updates.to(self.momentum.dtype))


class _Ranks(NamedTuple):
    """Which ranks share the gradients, and how; no copy is made of a process group."""

    process_group: ProcessGroup
    gradient_reduction: GradientReduction

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _mean(values: Tensor, usable: Tensor) -> Tensor:
    """Mean over the usable tasks."""
    return torch.where(usable, values, 0.0).sum() / usable.sum()


def _initial(num_tasks: int, risks: Tensor | Sequence[float] | None) -> Tensor:
    if risks is None:
        return torch.full((num_tasks,), math.nan)
    values = torch.as_tensor(risks).detach().clone()
    values = values if values.is_floating_point() else values.float()
    if values.shape != (num_tasks,) or not bool(((values > 0) & torch.isfinite(values)).all()):
        raise ValueError(
            f"`initial_risks` should be {num_tasks} positive finite numbers; "
            f"found {values.tolist()}"
        )
    return values
