"""What surrounds a step, alone: a balancer's call, accumulation, grouped risks, sketches."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchjd.scalarization import STCH

from taskrobust import Minimax, TaskSums, grouped_risks, plan_accumulation, task_sums
from taskrobust.balancers import list_balancers
from taskrobust.task_gradients import SharedLayer, Sketch
from tests.benchmarks.balancer_models import SIZES, MultiTask, random_batch
from tests.benchmarks.balancer_steps import (
    BASE,
    STCH_NAME,
    UNCHECKED,
    counted,
    make_optimizer,
    registered,
)
from tests.benchmarks.timing import Spread, interleaved

Sample = Callable[[Callable[[], object], int], Callable[[], float]]
"""One of `timing.CLOCKS`."""

CALLS = 50
"""Calls timed at once."""
MICRO_BATCHES = 4
TOKENS, GROUPS = 100_000, 9
SKETCH_SIZES, SKETCHES = (32, 64, 128), 50


def calls(num_tasks: int, device: torch.device, sample: Sample, rounds: int) -> dict[str, Spread]:
    """Microseconds of one call, forward and backward to the T risks, of balancers without graph."""
    size = SIZES["MLP"]
    model = MultiTask(size, num_tasks).to(device)
    batch = random_batch(size, num_tasks, device)
    combine: dict[str, Callable[[Tensor], Tensor]] = {BASE: torch.sum}
    for name in list_balancers():
        balancer = registered(name, model)
        if not balancer.needs_task_gradients:
            combine[name] = counted(balancer, batch)
    combine[UNCHECKED] = counted(registered("minimax", model, nonfinite="ignore"), batch)
    combine[STCH_NAME] = STCH(1.0, torch.ones(num_tasks, device=device))
    risks = torch.rand(num_tasks, device=device, requires_grad=True)

    def once(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(risks), risks)

    variants = {name: sample(once(function), CALLS) for name, function in combine.items()}
    seconds = interleaved(variants, rounds)
    return {name: Spread.of(1e6 * found) for name, found in seconds.items()}


def accumulation(device: torch.device, sample: Sample, rounds: int) -> dict[str, Spread]:
    """A step over micro-batches: `plan_accumulation` relative to weighting each batch alone."""
    size = SIZES["transformer"]
    model = MultiTask(size, GROUPS).to(device)
    batches = [random_batch(size, GROUPS, device) for _ in range(MICRO_BATCHES)]
    groups = torch.arange(GROUPS, device=device)[:, None].expand(-1, size.batch)
    optimizer = make_optimizer(model.parameters())
    balancer = Minimax(GROUPS, alpha=1.0)

    def losses(batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        return torch.stack(model.task_losses(model.trunk(inputs), labels, "none"))

    def sums(batch: tuple[Tensor, Tensor]) -> TaskSums:
        return task_sums(losses(batch), groups, GROUPS)

    def micro() -> None:
        optimizer.zero_grad()
        for batch in batches:
            loss = balancer(grouped_risks(losses(batch), groups, GROUPS))
            (loss / MICRO_BATCHES).backward()
        optimizer.step()

    def exact() -> None:
        optimizer.zero_grad()
        plan = plan_accumulation(balancer, sums, batches)
        for batch in batches:
            plan.loss(sums(batch)).backward()
        optimizer.step()

    seconds = interleaved({"micro": sample(micro, 1), "exact": sample(exact, 1)}, rounds)
    return {"exact / micro": Spread.of(seconds["exact"] / seconds["micro"])}


def grouping(device: torch.device, sample: Sample, rounds: int) -> dict[str, Spread]:
    """Risks of `GROUPS` tasks from `TOKENS` losses, forward and backward, and a plain mean."""
    values = torch.rand(TOKENS, device=device, requires_grad=True)
    groups = torch.randint(GROUPS, (TOKENS,), device=device)
    work = {
        "mean": lambda: torch.autograd.grad(values.mean(), values),
        "grouped": lambda: torch.autograd.grad(
            grouped_risks(values, groups, GROUPS).risks.sum(), values
        ),
    }
    seconds = interleaved({name: sample(once, 10) for name, once in work.items()}, rounds)
    found = {f"{name}, µs": Spread.of(1e6 * seconds[name]) for name in work}
    return {**found, "grouped / mean": Spread.of(seconds["grouped"] / seconds["mean"])}


def sketching(device: torch.device) -> dict[str, dict[str, Spread]]:
    """Errors in per cent of norms by sketches, by size: over tasks and `SKETCHES` seeds.

    Of the norms as they are, and of the norms over their mean, which is what GradNorm looks at.
    """
    size = SIZES["transformer"]
    model = MultiTask(size, GROUPS).to(device)
    layer, losses = SharedLayer(model.shared), model(*random_batch(size, GROUPS, device))
    exact = layer.norms(losses)

    def norms(k: int) -> Tensor:
        seeds = range(SKETCHES)
        return torch.stack([layer.norms(losses, sketch=Sketch(k, seed)) for seed in seeds])

    def error(found: Tensor, expected: Tensor) -> Spread:
        return Spread.of(100 * (found / expected - 1).abs().cpu().numpy().ravel())

    found = {str(k): norms(k) for k in SKETCH_SIZES}
    return {
        k: {
            "norm": error(of_size, exact),
            "norm / mean": error(of_size / of_size.mean(1, keepdim=True), exact / exact.mean()),
        }
        for k, of_size in found.items()
    }
