"""Balancers, a network and steps for the tests of accumulation over micro-batches."""

import torch
from torch import nn

from taskrobust import Average, Minimax, plan_accumulation
from taskrobust.balancers._simplex import on_simplex
from taskrobust.balancers.base import Balancer
from taskrobust.balancers.linear import LinearBalancer
from taskrobust.risks import grouped_risks, task_sums

TASKS = 4


class Learned(Balancer):
    """A balancer with parameters: Σ e^{-s} ℓ + s over present tasks."""

    def __init__(self, num_tasks):
        super().__init__(num_tasks)
        self.s = nn.Parameter(torch.linspace(-0.5, 0.5, num_tasks))

    def _combine(self, risks, present, counts, task_gradients):  # noqa: ARG002
        weights = torch.where(present, torch.exp(-self.s), 0.0)
        loss = torch.sum(weights * risks) + torch.sum(torch.where(present, self.s, 0.0))
        return loss, on_simplex(weights, present), weights.sum()


class InverseNorm(LinearBalancer):
    """A balancer that looks at task gradients: weights inverse to their norms."""

    needs_task_gradients = True

    def __init__(self, num_tasks, shared):
        super().__init__(num_tasks)
        self.shared = [shared]  # no parameter of this module

    def task_gradients(self, losses):
        rows = [torch.autograd.grad(v, self.shared, retain_graph=True)[0] for v in losses]
        return torch.stack(rows).flatten(1)

    def _combine(self, risks, present, counts, task_gradients):
        found = self.task_gradients(risks) if task_gradients is None else task_gradients
        self.norms = found.norm(dim=1)
        return super()._combine(risks, present, counts, task_gradients)

    def _weights(self, risks, present, counts):  # noqa: ARG002
        return on_simplex(1 / self.norms.clamp(min=1e-9), present)


BALANCERS = {
    "average": lambda model: Average(TASKS, scale=3.0),
    "minimax": lambda model: Minimax(TASKS, alpha=2.0),
    "hard": lambda model: Minimax(TASKS, mode="hard"),
    "attached": lambda model: Minimax(TASKS, alpha=2.0, mode="attached"),
    "min_count": lambda model: Minimax(TASKS, alpha=2.0, min_count=3),
    "ema": lambda model: Minimax(TASKS, alpha=2.0, ema=0.5).double(),
    "learned": lambda model: Learned(TASKS).double(),
    "task gradients": lambda model: InverseNorm(TASKS, model[0].weight),
}


def network(*extra):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), *extra, nn.Linear(5, 1)).double()


def data(groups, seed=0):
    """Examples whose targets grow with their task, so that risks and gradients differ."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.as_tensor(groups)
    x = torch.randn(len(groups), 3, dtype=torch.float64, generator=generator)
    return x, x.sum(1) * 0.3 + groups, groups


def losses(model, batch):
    x, y, groups = batch
    return (model(x).squeeze(1) - y).square(), groups


def forward_of(model):
    return lambda batch: task_sums(*losses(model, batch), TASKS)


def split(batch, sizes):
    return list(zip(*(field.split(sizes) for field in batch), strict=True))


def gradients(*modules):
    return [p.grad for module in modules for p in module.parameters()]


def one_batch(model, balancer, batch):
    loss = balancer(grouped_risks(*losses(model, batch), TASKS))
    loss.backward()
    return loss.detach()


def planned(model, balancer, batches, **options):
    """Both passes; the plan and the values of the second."""
    forward = forward_of(model)
    plan = plan_accumulation(balancer, forward, batches, **options)
    values = []
    for batch in batches:
        loss = plan.loss(forward(batch))
        loss.backward()
        values.append(loss.detach())
    return plan, torch.stack(values)


def assert_same_step(name, batch, sizes, steps=1):
    single, several = network(), network()
    reference, balancer = BALANCERS[name](single), BALANCERS[name](several)
    for _ in range(steps):
        expected = one_batch(single, reference, batch)
        plan, values = planned(several, balancer, split(batch, sizes))
        torch.testing.assert_close(plan.value, expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(values.sum(), expected, rtol=1e-12, atol=1e-12)
        for a, b in zip(gradients(several, balancer), gradients(single, reference), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        torch.testing.assert_close(balancer.last, reference.last, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(
            balancer.state_dict(), reference.state_dict(), rtol=1e-12, atol=1e-13
        )
        for module in (single, several, reference, balancer):  # and on from there
            with torch.no_grad():
                for p in module.parameters():
                    p -= 0.05 * p.grad
                    p.grad = None
