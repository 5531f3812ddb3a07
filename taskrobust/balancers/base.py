"""What every balancer shares: checks, precision, masks, the step count, and the log of a call."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from taskrobust.risks import TaskRisks

__all__ = ["Balancer", "LinearBalancer", "NonFiniteRiskError", "Weighting"]

NonFinite = Literal["raise", "skip", "ignore"]
"""What to do about a NaN or infinite risk of a present task."""


class Weighting(NamedTuple):
    """What a balancer did with one batch, detached, on the device of the losses.

    The gradient of the returned loss in the risks is ``scale * weights``.
    """

    risks: Tensor  # [T], as weighted; 0 where absent
    weights: Tensor  # [T], sum 1 over present tasks, 0 where absent
    scale: Tensor  # 0-dim
    present: Tensor  # bool [T]
    counts: Tensor | None = None  # examples [T], if the call was told


class NonFiniteRiskError(ArithmeticError):
    """A present task has a NaN or infinite risk."""


class Balancer(nn.Module, ABC):
    """Combines the risks of T tasks into one loss: ``loss = balancer(losses, present=None)``.

    Everything that changes from call to call is in `state_dict`, so that stop, load and continue
    equals never stopped. In evaluation mode (``balancer.eval()``) no state changes. State is kept
    in float32 or wider, even if a module that holds the balancer is cast to half precision.

    Args:
        num_tasks: number of tasks T.
        scale: factor on the loss. At 1 the weights sum to 1, so that changing the balancer does not
            change the learning rate; ``scale=T`` gives the forms that sum (rather than average)
            over tasks.
        task_names: T names for errors and logs; "task 0", … if None.
        nonfinite: about a NaN or infinite risk of a present task: "raise" `NonFiniteRiskError`
            before anything is changed; "skip" the step: the loss is a 0 without graph, so that no
            parameter gets a gradient, and no state changes; "ignore" it. The first two read a
            number back to the host, on an accelerator the only synchronisation of a call. A
            `torch.amp.GradScaler` refuses a step without gradients: after a skipped call, when
            `last` is None, leave out ``scaler.step`` and ``scaler.update``.

    Attributes:
        last: the `Weighting` of the last call, None before the first and after a skipped one.
        step: number of calls in training mode, skipped ones left out.
        skipped: number of skipped calls.
    """

    needs_task_gradients: bool = False
    """Whether a call looks at the gradients of single tasks (see `taskrobust.task_gradients`)."""

    last: Weighting | None

    def __init__(
        self,
        num_tasks: int,
        *,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__()
        if isinstance(num_tasks, bool) or not isinstance(num_tasks, int) or num_tasks < 1:
            raise ValueError(f"`num_tasks` should be an integer of at least 1; found {num_tasks!r}")
        if nonfinite not in ("raise", "skip", "ignore"):
            raise ValueError(
                f"`nonfinite` should be 'raise', 'skip' or 'ignore'; found {nonfinite!r}"
            )
        names = tuple(task_names) if task_names else tuple(f"task {t}" for t in range(num_tasks))
        if len(names) != num_tasks or len(set(names)) != num_tasks:
            raise ValueError(
                f"`task_names` should be {num_tasks} different names; found {list(names)}"
            )
        self.num_tasks = num_tasks
        self.scale = positive("scale", scale)
        self.task_names = names
        self.nonfinite = nonfinite
        self.last = None
        self.step = 0
        self.skipped = 0

    def forward(
        self,
        losses: Tensor | TaskRisks,
        present: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        task_gradients: Tensor | None = None,
    ) -> Tensor:
        """Combine the risks of one batch into a loss to backpropagate.

        Args:
            losses: global task risks ``[T]``, unscaled, or the result of
                `taskrobust.risks.grouped_risks`, which brings presence and counts.
            present: boolean ``[T]``; None for all. Absent tasks get weight 0 and their values are
                not looked at (their graph has to be finite all the same: 0 · NaN is NaN).
            counts: examples per task ``[T]``, for balancers with a `min_count`.
            task_gradients: ``[T, n]`` global gradients of the risks, for balancers that need them
                and cannot find them in the graph of `losses`.

        Returns:
            The loss, 0-dim, in float32 or wider. Its value is the same on all ranks.

        Raises:
            TypeError: losses that are not floating, or a mask that is not boolean.
            ValueError: losses, mask or counts of another shape than ``[T]``.
            NonFiniteRiskError: a NaN or infinite risk of a present task, if `nonfinite` is "raise".
        """
        if isinstance(losses, TaskRisks):
            if present is not None or counts is not None:
                raise ValueError("`losses` already bring `present` and `counts`; pass only them")
            losses, present, counts = losses
        if torch.compiler.is_compiling():
            loss: Tensor = self._balance_uncompiled(losses, present, counts, task_gradients)
            return loss
        return self._balance(losses, present, counts, task_gradients)

    def _balance(
        self,
        losses: Tensor,
        present: Tensor | None,
        counts: Tensor | None,
        task_gradients: Tensor | None,
    ) -> Tensor:
        """What `forward` does."""
        if not isinstance(losses, Tensor):
            raise TypeError(
                f"`losses` should be a tensor; found {type(losses).__name__} (torch.stack(losses)?)"
            )
        device = losses.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._balance(losses, present, counts, task_gradients)
        risks, mask, counts = self._checked(losses, present, counts)
        fixed = risks.detach()
        if not self._finite(fixed, mask):
            return self.skip(losses)
        loss, weights, scale = self._combine(risks, mask, counts, task_gradients)
        self.last = Weighting(fixed, weights.detach(), scale.detach(), mask, counts)
        if self.training:
            self.step += 1
        return loss

    # Bookkeeping on T numbers: compiled, it would be compiled anew at every step.
    _balance_uncompiled = torch.compiler.disable(_balance)  # type: ignore[no-untyped-call]

    @abstractmethod
    def _combine(
        self,
        risks: Tensor,
        present: Tensor,
        counts: Tensor | None,
        task_gradients: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the simplex weights ``[T]`` and their scale; changes state when training."""

    def task_gradients(self, losses: Tensor) -> Tensor:
        """This rank's gradients ``[n_losses, n]`` of given losses, for accumulation over batches.

        Args:
            losses: ``[n_losses]`` with graph.

        Raises:
            NotImplementedError: this balancer needs none (see `needs_task_gradients`).
        """
        raise NotImplementedError(f"{type(self).__name__} needs no task gradients")

    def skip(self, losses: Tensor) -> Tensor:
        """Leave a step out: no state changes but the count; the loss is a 0 without graph."""
        self.last = None
        self.skipped += 1
        return losses.new_zeros((), requires_grad=True)

    def end_epoch(self) -> None:
        """Tell the balancer that an epoch ends; only some have a use for it."""

    def param_groups(self, **options: Any) -> list[dict[str, Any]]:
        """Optimiser groups of the balancer's own parameters, never decayed; empty if it has none.

        Args:
            options: more entries of the group, such as ``lr``.

        >>> from taskrobust import Uncertainty
        >>> Uncertainty(3).param_groups(lr=0.1)[0]["weight_decay"]
        0.0
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [{**options, "params": parameters, "weight_decay": 0.0}] if parameters else []

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        scale = "" if self.scale == 1 else f", scale={self.scale:g}"
        return f"num_tasks={self.num_tasks}{scale}"

    def get_extra_state(self) -> Any:
        """Steps, skipped steps and T, as a tensor so that safetensors can hold it."""
        return torch.tensor([self.step, self.skipped, self.num_tasks])

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` gave.

        Raises:
            ValueError: the state of another number of tasks.
        """
        step, skipped, tasks = (int(n) for n in state)
        if tasks != self.num_tasks:
            raise ValueError(f"the state is of {tasks} tasks; this balancer has {self.num_tasks}")
        self.step, self.skipped = step, skipped
        self.last = None

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """As `torch.nn.Module`; in float32 or wider, even if torch's default is half precision."""
        if tensor is not None and tensor.is_floating_point() and tensor.dtype.itemsize < 4:
            tensor = tensor.float()
        super().register_buffer(name, tensor, persistent)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep_precise(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.is_floating_point() and moved.dtype.itemsize < 4:
                return tensor.to(moved.device)
            return moved

        return cast("Self", super()._apply(keep_precise, recurse))  # type: ignore[no-untyped-call]

    def _checked(
        self, losses: Tensor, present: Tensor | None, counts: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments with the right shapes, dtypes and device; risks 0 where absent."""
        shape = (self.num_tasks,)
        for name, argument in (("present", present), ("counts", counts)):
            if argument is not None and not isinstance(argument, Tensor):
                raise TypeError(f"`{name}` should be a tensor; found {type(argument).__name__}")
        if not losses.is_floating_point():
            raise TypeError(f"`losses` should be floating; found dtype {losses.dtype}")
        if losses.shape != shape:
            raise ValueError(
                f"`losses` should have shape {shape}, one risk a task; found {tuple(losses.shape)}"
            )
        if losses.dtype.itemsize < 4:
            losses = losses.float()
        if present is not None and present.dtype != torch.bool:
            raise TypeError(f"`present` should be boolean; found dtype {present.dtype}")
        for name, argument in (("present", present), ("counts", counts)):
            if argument is not None and argument.shape != shape:
                raise ValueError(
                    f"`{name}` should have shape {shape}; found {tuple(argument.shape)}"
                )
        if counts is not None:
            counts = counts.to(losses.device)
        if present is None:
            return losses, torch.ones_like(losses, dtype=torch.bool), counts
        present = present.to(losses.device)
        return torch.where(present, losses, 0.0), present, counts

    def _finite(self, risks: Tensor, present: Tensor) -> bool:
        """Whether the step can go on; raises if that is asked for."""
        # One number usually tells; a sum of finite risks that overflows is looked at again.
        if self.nonfinite == "ignore" or math.isfinite(risks.sum().item()):
            return True
        if bool(torch.isfinite(risks).all()):
            return True
        if self.nonfinite == "skip":
            return False
        found = ", ".join(
            f"{name} = {value}"
            for name, value, there in zip(
                self.task_names, risks.tolist(), present.tolist(), strict=True
            )
            if there and not math.isfinite(value)
        )
        raise NonFiniteRiskError(
            f"non-finite task risk at step {self.step}: {found}; nothing has been updated "
            "(a mean over no example? pass `present`, or use grouped_risks; nonfinite='skip' would "
            "leave such steps out)"
        )


class LinearBalancer(Balancer):
    """A balancer whose loss is ``scale * Σ w_t risk_t`` with detached weights."""

    def _combine(
        self,
        risks: Tensor,
        present: Tensor,
        counts: Tensor | None,
        task_gradients: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            weights = self._weights(risks.detach(), present, counts)
            coefficients = weights if self.scale == 1 else self.scale * weights
        return torch.sum(coefficients * risks), weights, risks.new_full((), self.scale)

    @abstractmethod
    def _weights(self, risks: Tensor, present: Tensor, counts: Tensor | None) -> Tensor:
        """Weights ``[T]`` on the simplex of present tasks (all 0 if none is)."""


def positive(name: str, value: float) -> float:
    """A finite positive number, or a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` should be a number; found {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` should be positive and finite; found {value}")
    return float(value)


def on_simplex(weights: Tensor, present: Tensor) -> Tensor:
    """Nonnegative numbers ``[T]``, normalised over the present tasks; all 0 if none is."""
    weights = torch.where(present, weights, 0.0)
    total = weights.sum()
    return weights / torch.where(total > 0, total, 1.0)
