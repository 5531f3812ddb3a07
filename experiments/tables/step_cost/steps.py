"""One training step of every method of Table 3, in every way of executing it that is counted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from experiments.tables.step_cost.shared_trunk import Batch, SharedTrunk
from taskrobust.balancers import Balancer, create_balancer, list_balancers

__all__ = ["EXECUTIONS", "Method", "Step", "methods"]

Step = Callable[[], None]
"""Gradients to None, forward pass, weighting, backward pass: the gradients of one step."""

EXECUTIONS = {
    "one pass": "one forward pass for all losses, one backward pass of the weighted sum",
    "losses apart": "the losses that give the weights in a forward pass of their own",
    "task by task": "a backward pass for every task",
    "gradient norms": "GradNorm that asks for the gradients of one task after the other: "
    "of the last shared layer (as in its paper) or of the whole trunk",
    "Jacobian": "TorchJD: gradients of all tasks through the whole trunk, then aggregated; as a "
    "balancer of ours, or as its own documentation has it (mtl_backward)",
}
"""Ways of executing a step, in the order of the table."""

_PRINTED = ("average", "uncertainty", "dwa", "gradnorm", "minimax")
_OPTIONS: dict[str, dict[str, Any]] = {"dwa": {"window": 1}}  # an epoch a step: the dearest DWA
_TORCHJD: dict[str, dict[str, Any]] = {"STCH": {"options": {"mu": 1.0}}, "MGDA": {}}
_NEEDS_SHARED = "gradnorm"


@dataclass(frozen=True)
class Method:
    """A way of taking a step.

    Attributes:
        balancer: name of the balancer, or TorchJD's class.
        execution: key of `EXECUTIONS`.
        make: gives the step of a model on a batch.
        variant: what tells methods of one balancer and execution apart.
    """

    balancer: str
    execution: str
    make: Callable[[SharedTrunk, Batch], Step]
    variant: str = ""


def methods() -> list[Method]:
    """Every method, the average in one pass first; TorchJD's only where it is installed."""
    names = list_balancers()
    printed = [name for name in _PRINTED if name in names]
    found = [Method(name, "one pass", partial(_one_pass, name)) for name in names]
    found += [
        Method(name, "losses apart", partial(_losses_apart, name))
        for name in printed
        if name not in ("average", _NEEDS_SHARED)  # neither weighs by the losses alone
    ]
    found += [Method(name, "task by task", partial(_task_by_task, name)) for name in printed]
    if _NEEDS_SHARED in names:
        found += [
            Method(_NEEDS_SHARED, "gradient norms", partial(_looped_norms, whole=False), "layer"),
            Method(_NEEDS_SHARED, "gradient norms", partial(_looped_norms, whole=True), "trunk"),
        ]
    return sorted(found + _torchjd_methods(), key=lambda m: list(EXECUTIONS).index(m.execution))


def _one_pass(name: str, model: SharedTrunk, batch: Batch) -> Step:
    balancer = _balancer(name, model)

    def step() -> None:
        _clear(model, balancer)
        balancer(model(batch), counts=batch.counts).backward()

    return step


def _losses_apart(name: str, model: SharedTrunk, batch: Batch) -> Step:
    balancer = _balancer(name, model)

    def step() -> None:
        _clear(model, balancer)
        with torch.no_grad():
            values = model(batch)
        coefficients = _coefficients(balancer, values, batch)
        torch.autograd.backward(torch.sum(coefficients * model(batch)))

    return step


def _task_by_task(name: str, model: SharedTrunk, batch: Batch) -> Step:
    balancer = _balancer(name, model)

    def step() -> None:
        _clear(model, balancer)
        losses = model.losses(batch)
        gradients = None
        if balancer.needs_task_gradients:
            gradients = _looped_gradients(losses, list(model.last_shared.parameters()))
        coefficients = _coefficients(balancer, torch.stack(losses), batch, gradients)
        for task, coefficient in enumerate(coefficients):
            (coefficient * losses[task]).backward(retain_graph=task + 1 < len(losses))

    return step


def _looped_norms(model: SharedTrunk, batch: Batch, *, whole: bool) -> Step:
    """GradNorm whose norms come from T gradient calls, on the last shared layer or the trunk."""
    balancer = _balancer(_NEEDS_SHARED, model)
    measured = list((model.trunk if whole else model.last_shared).parameters())

    def step() -> None:
        _clear(model, balancer)
        losses = model.losses(batch)
        gradients = _looped_gradients(losses, measured)
        risks = torch.stack(losses)
        balancer(risks, counts=batch.counts, task_gradients=gradients).backward()

    return step


def _torchjd_methods() -> list[Method]:
    if find_spec("torchjd") is None:
        return []
    return [
        Method("STCH", "one pass", partial(_one_pass, "STCH")),
        Method("MGDA", "Jacobian", partial(_one_pass, "MGDA"), "balancer"),
        Method("MGDA", "Jacobian", _multi_task_backward, "torchjd"),
    ]


def _multi_task_backward(model: SharedTrunk, batch: Batch) -> Step:
    """TorchJD's own multi-task step, as its documentation has it."""
    from torchjd.aggregation import MGDA
    from torchjd.autojac import jac_to_grad, mtl_backward

    aggregator = MGDA()

    def step() -> None:
        model.zero_grad()
        features = model.trunk(batch.inputs)
        mtl_backward(model.head_losses(features, batch.targets), features=features)
        jac_to_grad(model.trunk.parameters(), aggregator)

    return step


def _balancer(name: str, model: SharedTrunk) -> Balancer:
    options = dict(_OPTIONS.get(name, {}))
    if name == _NEEDS_SHARED:
        options["shared"] = model.last_shared
    if name in _TORCHJD:
        options = _TORCHJD[name] | {"method": name}
        options["shared"] = model.trunk if name == "MGDA" else None
        name = "torchjd"
    balancer = create_balancer(name, model.num_tasks, **options)
    return balancer.to(model.last_shared.weight.device)


def _clear(model: SharedTrunk, balancer: Balancer) -> None:
    model.zero_grad()
    balancer.zero_grad()


def _coefficients(
    balancer: Balancer, losses: Tensor, batch: Batch, task_gradients: Tensor | None = None
) -> Tensor:
    """What multiplies every task's gradient; the balancer's own parameters get theirs here."""
    leaf = losses.detach().requires_grad_()
    balancer(leaf, counts=batch.counts, task_gradients=task_gradients).backward()
    assert leaf.grad is not None
    return leaf.grad


def _looped_gradients(losses: list[Tensor], parameters: list[nn.Parameter]) -> Tensor:
    """Gradients ``[T, n]`` by one call a task."""
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
