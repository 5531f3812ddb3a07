"""Algorithm 1 with traces: steps along Σ w_t ∇f_t, w = softmax(α_k f), over all examples."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.problem import Problem, gram
from experiments.mechanisms.nonconvex.stationarity import clarke_distance, weighted_norm
from taskrobust import smooth_max, softmax_weights

__all__ = ["Recipe", "Trace", "descend", "points"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """How a direction becomes a step.

    Attributes:
        steps: K.
        learning_rate: step size of plain gradient descent, which keeps it; or of Adam at the
            start, which lets it fall linearly to 0.
        adam: which of both.
        risk_points: steps at which risks are recorded, at most.
        gradient_points: steps at which gradients of all tasks are.
        active: see `clarke_distance`.
        averaging: whether the mean of the iterates so far is evaluated, too.
    """

    steps: int
    learning_rate: float
    adam: bool
    risk_points: int
    gradient_points: int
    active: float
    averaging: bool = False


@dataclass
class Trace:
    """What was seen at the iterates θ_0 … θ_K; risks in nats, gradients in nats per unit of θ.

    Attributes:
        steps: k of each recorded iterate.
        alpha: sharpness at it; None for infinity.
        risks: training risks ``[T]`` at it.
        held_out: held-out risks ``[T]``; empty without.
        averaged_worst: largest training risk of the mean of θ_0 … θ_{k-1}; empty without.
        smoothing: F_α − F ∈ [0, log T / α]; None for the average, which has none.
        gradient_steps: k of each iterate at which gradients were measured.
        gradient_norm: ‖Σ w_t ∇f_t‖, which is ‖∇F_α‖.
        clarke: distance of 0 from the ε-subdifferential of the maximum.
        steepest: largest ‖∇f_t‖ of a task.
        moved: ‖θ_K − θ_0‖.
    """

    steps: list[int] = field(default_factory=list)
    alpha: list[float | None] = field(default_factory=list)
    risks: list[list[float]] = field(default_factory=list)
    held_out: list[list[float]] = field(default_factory=list)
    averaged_worst: list[float] = field(default_factory=list)
    smoothing: list[float | None] = field(default_factory=list)
    gradient_steps: list[int] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    clarke: list[float] = field(default_factory=list)
    steepest: list[float] = field(default_factory=list)
    moved: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON, with six significant digits."""
        found: dict[str, Any] = _rounded(asdict(self))
        return found


def points(steps: int, count: int) -> list[int]:
    """At most `count` of 0 … K, the ends among them: half spaced evenly, half geometrically."""
    even = np.linspace(0, steps, max(2, count - count // 2))
    geometric = np.geomspace(1, steps, max(1, count // 2))
    return sorted({int(k) for k in np.concatenate([even, geometric]).round()})


def descend(problem: Problem, alpha: Floats, recipe: Recipe) -> Trace:
    """Change the parameters of a problem by softmax weighted descent, in place.

    Args:
        problem: at its start.
        alpha: sharpness ``[K]``; at θ_K, that of the last step is recorded.
        recipe: how.

    Raises:
        ConfigurationError: a risk is not finite.
    """
    start = _flat(problem)
    rate = recipe.learning_rate
    kind = torch.optim.Adam if recipe.adam else torch.optim.SGD
    optimiser = kind(problem.parameters, lr=rate)
    total = torch.zeros_like(start)
    trace = Trace()
    cheap = set(points(recipe.steps, recipe.risk_points))
    dear = set(points(recipe.steps, recipe.gradient_points))
    for step in range(recipe.steps + 1):
        sharp = float(alpha[min(step, recipe.steps - 1)])
        if recipe.averaging and step in cheap:  # before there is a graph of the parameters
            trace.averaged_worst.append(_worst_at(problem, total / max(1, step), step))
        risks = problem.risks()
        if not torch.isfinite(risks).all():
            raise ConfigurationError(
                f"risks should be finite; found {risks.tolist()} after {step} steps: lower the "
                "learning rate"
            )
        weights = softmax_weights(risks.detach(), sharp)
        if step in dear:
            _record_gradients(trace, step, problem, risks, weights, recipe.active)
        if step in cheap:
            _record(trace, step, problem, risks, sharp)
        if step == recipe.steps:
            break
        if recipe.averaging:
            total += _flat(problem)
        optimiser.zero_grad()
        (weights @ risks).backward()
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / recipe.steps) if recipe.adam else rate
        optimiser.step()
        problem.project()
    trace.moved = float((_flat(problem) - start).norm())
    return trace


def _record(trace: Trace, step: int, problem: Problem, risks: Tensor, alpha: float) -> None:
    found = risks.detach().numpy()
    trace.steps.append(step)
    trace.alpha.append(alpha if math.isfinite(alpha) else None)
    trace.risks.append(found.tolist())
    trace.smoothing.append(float(smooth_max(found, alpha) - found.max()) if alpha > 0 else None)
    held_out = problem.held_out_risks()
    if held_out is not None:
        trace.held_out.append(held_out.tolist())


def _record_gradients(
    trace: Trace, step: int, problem: Problem, risks: Tensor, weights: Tensor, active: float
) -> None:
    products = gram(problem, risks)
    trace.gradient_steps.append(step)
    trace.gradient_norm.append(weighted_norm(products, weights.numpy()))
    trace.clarke.append(clarke_distance(products, risks.detach().numpy(), active)[0])
    trace.steepest.append(float(np.sqrt(np.diag(products).max())))


def _worst_at(problem: Problem, point: Tensor, step: int) -> float:
    """Largest risk at another point; at the start there is no average yet."""
    here = _flat(problem)
    _set(problem, here if step == 0 else point)
    with torch.no_grad():
        worst = float(problem.risks().max())
    _set(problem, here)
    return worst


def _flat(problem: Problem) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in problem.parameters])


@torch.no_grad()
def _set(problem: Problem, point: Tensor) -> None:
    first = 0
    for parameter in problem.parameters:
        last = first + parameter.numel()
        parameter.copy_(point[first:last].view_as(parameter))
        first = last


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
