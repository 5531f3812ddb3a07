"""Training steps that differ only in how T risks become a gradient: ours, TorchJD's, and others'.

A step is forward, balancer, backward and optimiser. All steps of a case train one model, each with
an optimiser of its own; the step size is so small that the losses stay what they are.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchjd.aggregation import MGDA, Aggregator, UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward
from torchjd.scalarization import DWA, STCH, UW

from taskrobust.balancers import Balancer, balancer_info, create_balancer, list_balancers
from tests.benchmarks.balancer_models import MultiTask

Step = Callable[[], None]
Batch = tuple[Tensor, Tensor]

BASE = "plain sum"
AGAIN = "plain sum, again"
STCH_NAME = "TorchJD STCH"
NORMALISATION = "gradnorm, at the last normalisation"
SKETCH_SIZE = 64
SKETCHED = f"gradnorm, sketches of {SKETCH_SIZE}"
"""At the last linear layer; normalisations have no matrices to sketch."""
NAIVE = "GradNorm, T gradients with graph"
PLAIN = "GradNorm, T gradients"
WHOLE = "GradNorm, T backward passes"
UNCHECKED = "minimax, nonfinite='ignore'"
JACOBIANS = 30
"""Number of tasks above which TorchJD's Jacobians are left out: they take minutes."""
STEP_SIZE = 1e-6
RATE = 1.5
"""GradNorm's exponent of the relative training rates."""


def all_steps(model: MultiTask, batch: Batch) -> dict[str, Step]:
    """Every variant by name, warmed up into its steady state."""
    tasks, device = model.num_tasks, batch[0].device
    steps = {BASE: _scalarized(model, batch, torch.sum)}
    for name in list_balancers():
        steps[name] = balancer_step(model, batch, registered(name, model))
    if model.norm is not None:
        other = create_balancer("gradnorm", tasks, shared=model.norm).to(device)
        steps[NORMALISATION] = balancer_step(model, batch, other)
    sketched = registered("gradnorm", model, sketch_size=SKETCH_SIZE)
    steps[SKETCHED] = balancer_step(model, batch, sketched)
    unchecked = registered("minimax", model, nonfinite="ignore")
    steps[UNCHECKED] = balancer_step(model, batch, unchecked)
    steps[AGAIN] = _scalarized(model, batch, torch.sum)
    stch = STCH(mu=1.0, weights=torch.ones(tasks, device=device))
    steps[STCH_NAME] = _scalarized(model, batch, stch)
    uncertainty = UW(tasks).to(device)
    steps["TorchJD UW"] = _scalarized(model, batch, uncertainty, uncertainty.parameters())
    dwa = DWA()
    steps["TorchJD DWA"] = _scalarized(model, batch, dwa)
    _run_epochs(steps["TorchJD DWA"], dwa.step)
    steps[NAIVE] = _naive_gradnorm(model, batch, graph=True)
    steps[PLAIN] = _naive_gradnorm(model, batch, graph=False)
    steps[WHOLE] = _whole_gradnorm(model, batch)
    if tasks <= JACOBIANS:
        with contextlib.suppress(ImportError):  # its solver is an extra of TorchJD
            steps["TorchJD UPGrad"] = _jacobian_descent(model, batch, UPGrad())
        steps["TorchJD MGDA"] = _jacobian_descent(model, batch, MGDA())
    return steps


def registered(name: str, model: MultiTask, **options: Any) -> Balancer:
    """A balancer of the registry, by default with its defaults, on the model's device."""
    if "shared" in inspect.signature(balancer_info(name).balancer.__init__).parameters:
        options["shared"] = model.shared
    device = model.shared.weight.device
    return create_balancer(name, model.num_tasks, **options).to(device)


def counted(balancer: Balancer, batch: Batch) -> Callable[[Tensor], Tensor]:
    """The balancer, told that every task has all examples of the batch."""
    labels = batch[1]
    counts = torch.full((len(labels),), float(labels.shape[1]), device=labels.device)
    return partial(balancer, counts=counts)


def balancer_step(model: MultiTask, batch: Batch, balancer: Balancer) -> Step:
    """A step of one of ours, past the epochs after which its history is full."""
    own = [p for group in balancer.param_groups() for p in group["params"]]
    step = _scalarized(model, batch, counted(balancer, batch), own)
    _run_epochs(step, balancer.end_epoch)
    return step


def _run_epochs(step: Step, end_epoch: Callable[[], None]) -> None:
    for _ in range(3):
        step()
        end_epoch()


def make_optimizer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """AdamW in one kernel, the fastest there is, with a step size that changes next to nothing."""
    return torch.optim.AdamW(parameters, lr=STEP_SIZE, fused=True)


def _scalarized(
    model: MultiTask,
    batch: Batch,
    combine: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor] = (),
) -> Step:
    """Risks to a loss, one backward pass; `parameters` are trained with the model."""
    optimizer = make_optimizer([*model.parameters(), *parameters])

    def step() -> None:
        optimizer.zero_grad()
        combine(model(*batch)).backward()
        optimizer.step()

    return step


def _naive_gradnorm(model: MultiTask, batch: Batch, *, graph: bool) -> Step:
    """GradNorm as its paper has it: a gradient of each risk at the last shared layer.

    With `graph` autograd differentiates the norms of the *weighted* risks; without, they are the
    weights times norms that are constants, which gives the same derivative for less.
    """
    weights = torch.ones(model.num_tasks, device=batch[0].device, requires_grad=True)
    outer, inner = make_optimizer(model.parameters()), torch.optim.Adam([weights], lr=STEP_SIZE)
    initial = model(*batch).detach()

    def gradient_norm(risk: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(
            risk, model.shared.weight, retain_graph=True, create_graph=graph
        )
        return torch.linalg.vector_norm(gradient)

    def step() -> None:
        outer.zero_grad()
        risks = model(*batch)
        norms = torch.stack([gradient_norm(r) for r in (weights * risks if graph else risks)])
        if not graph:
            norms = weights * norms
        (weights.grad,) = torch.autograd.grad(
            _mismatch(norms, risks, initial), weights, retain_graph=graph
        )
        torch.sum(weights.detach() * risks).backward()
        outer.step()
        inner.step()
        with torch.no_grad():
            weights.mul_(model.num_tasks / weights.sum())

    return step


def _whole_gradnorm(model: MultiTask, batch: Batch) -> Step:
    """GradNorm as LibMTL does it: T backward passes, norms of the gradients of the whole trunk."""
    shared = list(model.trunk.parameters())
    logits = torch.zeros(model.num_tasks, device=batch[0].device, requires_grad=True)
    optimizer = make_optimizer([*model.parameters(), logits])
    initial = model(*batch).detach()

    def flat_gradient(risk: Tensor) -> Tensor:
        risk.backward(retain_graph=True)
        gradient = torch.cat([p.grad.flatten() for p in shared])
        for p in shared:
            p.grad = None
        return gradient

    def step() -> None:
        optimizer.zero_grad()
        risks = model(*batch)
        gradients = torch.stack([flat_gradient(risk) for risk in risks])
        weights = model.num_tasks * torch.softmax(logits, 0)
        norms = torch.linalg.vector_norm(weights[:, None] * gradients, dim=-1)
        _mismatch(norms, risks, initial).backward()
        total = weights.detach() @ gradients
        parts = total.split([p.numel() for p in shared])
        for p, part in zip(shared, parts, strict=True):
            p.grad = part.view_as(p)
        optimizer.step()

    return step


def _mismatch(norms: Tensor, risks: Tensor, initial: Tensor) -> Tensor:
    """GradNorm's own loss: distance of the norms from their targets, which are constants."""
    rates = risks.detach() / initial
    target = norms.detach().mean() * (rates / rates.mean()) ** RATE
    return (norms - target).abs().sum()


def _jacobian_descent(model: MultiTask, batch: Batch, aggregator: Aggregator) -> Step:
    """The Jacobian of all risks in the trunk's parameters, then an aggregator."""
    inputs, labels = batch
    shared: list[nn.Parameter] = list(model.trunk.parameters())
    heads = [list(head.parameters()) for head in model.heads]
    optimizer = make_optimizer(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        features = model.trunk(inputs)
        losses = model.task_losses(features, labels)
        mtl_backward(losses, features, tasks_params=heads, shared_params=shared)
        jac_to_grad(shared, aggregator)
        optimizer.step()

    return step
