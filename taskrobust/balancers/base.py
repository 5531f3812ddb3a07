"""What every balancer shares: checks, precision, masks, the step count, and the log of a call."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from taskrobust.balancers._arguments import checked, positive
from taskrobust.risks import TaskRisks

__all__ = ["Balancer", "NonFinite", "NonFiniteRiskError", "Weighting"]

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
        step: number of calls in training mode, skipped ones left out.
        skipped: number of skipped calls.
    """

    needs_task_gradients: bool = False
    """Whether a call looks at the gradients of single tasks (see `taskrobust.task_gradients`)."""

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
        self.step = 0
        self.skipped = 0
        self._last: Weighting | tuple[Any, ...] | None = None

    @property
    def last(self) -> Weighting | None:
        """The `Weighting` of the last call, None before the first and after a skipped one."""
        if self._last is not None and not isinstance(self._last, Weighting):
            self._last = self._weighting(*self._last)
        return self._last

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
        if torch.compiler.is_dynamo_compiling():
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
        # The first is the cheap question: a device's name alone takes longer.
        if _any_autocast() and _autocasts(losses.device.type):
            with torch.autocast(losses.device.type, enabled=False):
                return self._balance(losses, present, counts, task_gradients)
        risks, present, counts = checked(self.num_tasks, losses, present, counts)
        fixed = risks.detach()
        if not self._finite(fixed):
            return self.skip(losses)
        loss, weights, scale = self._combine(risks, present, counts, task_gradients)
        attributes = vars(self)  # setting them through torch.nn.Module takes longer than a softmax
        attributes["_last"] = fixed, weights, scale, present, counts
        if self.training:
            attributes["step"] += 1
        return loss

    # Bookkeeping on T numbers: compiled, it would be compiled anew at every step.
    _balance_uncompiled = torch.compiler.disable(_balance)  # type: ignore[no-untyped-call]

    @abstractmethod
    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,
        task_gradients: Tensor | None,
    ) -> tuple[Tensor, Tensor, float | Tensor]:
        """The loss, and what `_weighting` needs to know; changes state when training.

        Args:
            risks: ``[T]`` in float32 or wider, 0 where absent.
            present: boolean ``[T]``, or None if all tasks are.
            counts: as in `forward`.
            task_gradients: as in `forward`.

        Returns:
            The loss, the detached weights ``[T]`` on the simplex of present tasks, and their scale.
        """

    def _weighting(
        self,
        risks: Tensor,
        weights: Tensor,
        scale: float | Tensor,
        present: Tensor | None,
        counts: Tensor | None,
    ) -> Weighting:
        """What `last` says, from what `_combine` got and gave; made when somebody looks."""
        if not isinstance(scale, Tensor):
            scale = risks.new_full((), scale)
        if present is None:
            present = torch.ones_like(risks, dtype=torch.bool)
        return Weighting(risks, weights.detach(), scale.detach(), present, counts)

    def _weighted(self, risks: Tensor, weights: Tensor) -> Tensor:
        """The loss ``scale * Σ w_t risk_t``."""
        return torch.dot(weights if self.scale == 1 else self.scale * weights, risks)

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
        self._last = None
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
        self._last = None

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

    def _finite(self, risks: Tensor) -> bool:
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
            for name, value in zip(self.task_names, risks.tolist(), strict=True)
            if not math.isfinite(value)  # absent tasks have 0 by now
        )
        raise NonFiniteRiskError(
            f"non-finite task risk at step {self.step}: {found}; nothing has been updated "
            "(a mean over no example? pass `present`, or use grouped_risks; nonfinite='skip' would "
            "leave such steps out)"
        )


# Private to torch; where it is missing, the dear question is asked.
_any_autocast: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)


def _autocasts(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
