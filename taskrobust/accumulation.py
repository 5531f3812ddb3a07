r"""Exact weighting under gradient accumulation: two passes over the micro-batches of a step.

Softmax weights are not linear in the losses, so an average over micro-batches of weighted losses is
not the weighted loss of the whole batch. `plan_accumulation` runs the forward passes of all
micro-batches first, without graph, reduces sums and counts over micro-batches and ranks, asks the
balancer once, and fixes the coefficients; the second pass, with graph, then costs one ordinary step
(about a third more in all). The result equals one large batch on one process.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from taskrobust.balancers.base import Balancer, NonFiniteRiskError
from taskrobust.risks import (
    GradientReduction,
    ProcessGroup,
    TaskRisks,
    TaskSums,
    all_sum,
    check_gradient_reduction,
    global_risks,
    num_ranks,
)

__all__ = ["AccumulationPlan", "balanced_loss", "plan_accumulation"]

Batch = TypeVar("Batch")


class AccumulationPlan:
    """Fixed coefficients for one optimiser step; made by `plan_accumulation`.

    Attributes:
        value: loss of the whole step over all micro-batches and ranks, 0-dim, detached.
        risks: the global risks the coefficients were computed from.
        skipped: the balancer skipped the step (a non-finite risk): losses are 0 without graph.
    """

    def __init__(
        self,
        value: Tensor,
        risks: TaskRisks,
        coefficients: Tensor | None,
        own: Sequence[tuple[Tensor, Tensor]] = (),
        *,
        ranks: int = 1,
        gradient_reduction: GradientReduction = "mean",
    ) -> None:
        mean = gradient_reduction == "mean"
        self.value = value
        self.risks = risks
        self.skipped = coefficients is None
        self._own = own  # the balancer's parameters and their gradients
        self._once = 1.0 if mean else 1.0 / ranks  # factor of what is added once; 0 afterwards
        if coefficients is not None:
            self._rest = value - torch.sum(coefficients * risks.risks)
            self._share = coefficients * (ranks if mean else 1) / risks.counts.clamp(min=1.0)

    def loss(self, local: TaskSums) -> Tensor:
        """Loss of one micro-batch to backpropagate, once for each micro-batch of the plan.

        Added over micro-batches and averaged (or added, see `plan_accumulation`) over ranks, the
        gradients are those of the whole step, the balancer's own parameters included, and the
        values add up to `value`. Do not divide by the number of micro-batches. Every loss holds
        the balancer's parameters in its graph, as data-parallel wrappers around both want it.
        """
        _check_sums(local)
        if self.skipped:
            return self.value.clone().requires_grad_()
        loss = torch.sum(self._share * local.sums) + self._once * self._rest
        for parameter, gradient in self._own:
            loss = loss + torch.sum((parameter - parameter.detach()) * (self._once * gradient))
        self._once = 0.0
        return loss


def plan_accumulation(
    balancer: Balancer,
    forward: Callable[[Batch], TaskSums],
    batches: Iterable[Batch],
    *,
    model: nn.Module | None = None,
    process_group: ProcessGroup = None,
    gradient_reduction: GradientReduction = "mean",
) -> AccumulationPlan:
    """First pass over the micro-batches of one step; the second is the caller's.

    ::

        plan = plan_accumulation(balancer, forward, batches, model=model)
        for batch in batches:
            plan.loss(forward(batch)).backward()
        optimizer.step()

    The random states (torch's on the CPU and on the current accelerator, NumPy's global one and
    Python's) are put back afterwards, so that the second pass draws the same dropout masks if it
    runs the same forwards in the same order.

    Args:
        balancer: asked once, in its current mode.
        forward: maps a micro-batch to `taskrobust.risks.task_sums` of its losses on this rank;
            entries past the balancer's tasks are auxiliary risks (see `balanced_loss`).
        batches: micro-batches of this rank; ranks may have different numbers of them.
        model: its buffers (the running statistics of batch normalisation, say) are put back after
            the pass; None if it has none that training changes. With `DistributedDataParallel`, the
            wrapped model, whose ``no_sync`` the pass runs in.
        process_group: as in `taskrobust.risks.global_risks`.
        gradient_reduction: as in `taskrobust.risks.global_risks`.

    Returns:
        The plan, whose `AccumulationPlan.loss` the second pass uses.

    Raises:
        ValueError: no micro-batch, and whatever the balancer raises.
    """
    check_gradient_reduction(gradient_reduction)
    if iter(batches) is batches:
        raise ValueError(
            "`batches` should be a list or the like, since the second pass reads it again; "
            "found an iterator"
        )
    gradients: Tensor | None = None
    total: TaskSums | None = None
    # Without `no_sync`, a forward with graph would arm DDP's hooks for the second pass.
    unsynchronised = getattr(model, "no_sync", nullcontext)
    with (
        _rehearsal(model),
        unsynchronised(),
        torch.set_grad_enabled(balancer.needs_task_gradients),
    ):
        for batch in batches:
            local = forward(batch)
            _check_sums(local)
            if balancer.needs_task_gradients:
                found = balancer.task_gradients(local.sums[: balancer.num_tasks])
                gradients = found if gradients is None else gradients + found
            local = TaskSums(local.sums.detach(), local.counts)
            total = local if total is None else total.plus(local)
    if total is None:
        raise ValueError("`batches` should hold at least one micro-batch; found none")
    risks = global_risks(total, process_group=process_group)
    if gradients is not None:
        divisor = risks.counts[: balancer.num_tasks].clamp(min=1.0).to(gradients.dtype)
        gradients = all_sum(gradients, process_group) / divisor[:, None]
    leaf = risks.risks.detach().requires_grad_()
    with torch.enable_grad():
        loss = balanced_loss(balancer, risks._replace(risks=leaf), gradients)
    coefficients = None
    own: list[tuple[Tensor, Tensor]] = []
    if balancer.last is not None:
        parameters = [p for group in balancer.param_groups() for p in group["params"]]
        coefficients, *own_gradients = torch.autograd.grad(
            loss, [leaf, *parameters], allow_unused=True, materialize_grads=True
        )
        own = list(zip(parameters, own_gradients, strict=True))
    return AccumulationPlan(
        loss.detach(),
        risks._replace(risks=risks.risks.detach()),
        coefficients,
        own,
        ranks=num_ranks(process_group),
        gradient_reduction=gradient_reduction,
    )


def balanced_loss(
    balancer: Balancer, risks: TaskRisks, task_gradients: Tensor | None = None
) -> Tensor:
    """The balancer's loss of the first T risks, plus every auxiliary risk that follows them.

    An auxiliary risk (next-sentence prediction beside masked-token tasks, say) is added with weight
    1, outside the balancing; it is global like the others.

    Args:
        balancer: of T tasks.
        risks: ``[T + E]``.
        task_gradients: as in `Balancer.forward`.

    Returns:
        The loss, 0-dim.

    Raises:
        NonFiniteRiskError: also for a non-finite auxiliary risk, if the balancer does not ignore
            non-finite risks.
    """
    tasks = balancer.num_tasks
    main = TaskRisks(*(field[:tasks] for field in risks))
    auxiliary = risks.risks[tasks:]
    if auxiliary.numel() == 0:
        return balancer(main, task_gradients=task_gradients)  # type: ignore[no-any-return]
    if balancer.nonfinite != "ignore" and not bool(torch.isfinite(auxiliary.detach()).all()):
        if balancer.nonfinite == "skip":
            return balancer.skip(risks.risks)
        raise NonFiniteRiskError(
            f"non-finite auxiliary risk at step {balancer.step}: {auxiliary.tolist()}"
        )
    loss = balancer(main, task_gradients=task_gradients)
    if balancer.last is None:  # a skipped step
        return loss  # type: ignore[no-any-return]
    return loss + auxiliary.sum()  # type: ignore[no-any-return]


@contextmanager
def _rehearsal(model: nn.Module | None) -> Iterator[None]:
    """Put random states and the model's buffers back afterwards, however the pass ends."""
    # Some modules write into a buffer, others replace it: both the object and its content go back.
    buffers = [
        (module._buffers, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in (() if model is None else model.modules())
        for name, buffer in module._buffers.items()
    ]
    # DDP broadcasts buffers in the first forward after a synchronised one: the second pass's, too.
    broadcast = getattr(model, "require_forward_param_sync", None)
    drawn = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that models draw from
    try:
        with torch.random.fork_rng(**_devices()):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])  # noqa: NPY002
        if model is not None and broadcast is not None:
            model.require_forward_param_sync = broadcast
        for holder, name, buffer, before in buffers:
            holder[name] = buffer
            if buffer is not None and before is not None:
                with torch.no_grad():
                    buffer.copy_(before)


def _check_sums(local: object) -> None:
    if not isinstance(local, TaskSums):
        raise TypeError(
            "`forward` should return task_sums(losses, tasks, T), this rank's sums and counts; "
            f"found {type(local).__name__}"
        )


def _devices() -> dict[str, Any]:
    """The current accelerator, as arguments of `torch.random.fork_rng`."""
    if torch.cuda.is_available():
        return {"devices": [torch.cuda.current_device()], "device_type": "cuda"}
    return {"devices": []}
