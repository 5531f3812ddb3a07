"""Worst-case task weighting: the core of softmax weighted gradient descent (arXiv 2306.12070).

Everything here is a pure function of arrays and works on NumPy and torch alike; torch is optional.

>>> import numpy as np
>>> from taskrobust import softmax_weights
>>> softmax_weights(np.array([0.2, 0.9, 0.4]), alpha=10.0).round(3)
array([0.001, 0.992, 0.007])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskrobust.schedules import (
    alpha_for_tolerance,
    anytime_alpha,
    anytime_step_size,
    constant_alpha,
    constant_step_size,
    paper_alpha,
    sharp_constant,
    sharpened_alpha,
    strongly_convex_alpha,
    strongly_convex_step_size,
)
from taskrobust.weights import smooth_max, softmax_gap, softmax_weights

if TYPE_CHECKING:
    from taskrobust.accumulation import AccumulationPlan, plan_accumulation
    from taskrobust.balancers import (
        Average,
        Balancer,
        DynamicWeightAverage,
        GradNorm,
        GroupDRO,
        Minimax,
        NonFiniteRiskError,
        TorchJDBalancer,
        Uncertainty,
        Weighting,
        create_balancer,
        list_balancers,
    )
    from taskrobust.risks import (
        TaskRisks,
        TaskSums,
        cross_entropy,
        global_risks,
        grouped_risks,
        mean_risks,
        task_sums,
    )
    from taskrobust.trainer import TaskRobustTrainer, last_complete_checkpoint

__version__ = "0.1.0"

_LAZY = {
    "AccumulationPlan": "accumulation",
    "Average": "balancers",
    "Balancer": "balancers",
    "DynamicWeightAverage": "balancers",
    "GradNorm": "balancers",
    "GroupDRO": "balancers",
    "Minimax": "balancers",
    "NonFiniteRiskError": "balancers",
    "TaskRisks": "risks",
    "TaskRobustTrainer": "trainer",
    "TaskSums": "risks",
    "TorchJDBalancer": "balancers",
    "Uncertainty": "balancers",
    "Weighting": "balancers",
    "create_balancer": "balancers",
    "cross_entropy": "risks",
    "global_risks": "risks",
    "grouped_risks": "risks",
    "last_complete_checkpoint": "trainer",
    "list_balancers": "balancers",
    "mean_risks": "risks",
    "plan_accumulation": "accumulation",
    "task_sums": "risks",
}
"""Where the parts that need more than NumPy live; they are imported when they are asked for."""

_EXTRAS = {
    "torch": "torch",
    "torchjd": "torchjd",
    "accelerate": "transformers",
    "safetensors": "transformers",
    "transformers": "transformers",
}
"""The extra that brings a package."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        if _LAZY[name] == "trainer":  # its extra brings torch as well
            extra = "transformers"
        raise ImportError(
            f"taskrobust.{name} needs the package {error.name!r}; "
            f"install the {extra} extra: pip install 'taskrobust[{extra}]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "AccumulationPlan",
    "Average",
    "Balancer",
    "DynamicWeightAverage",
    "GradNorm",
    "GroupDRO",
    "Minimax",
    "NonFiniteRiskError",
    "TaskRisks",
    "TaskRobustTrainer",
    "TaskSums",
    "TorchJDBalancer",
    "Uncertainty",
    "Weighting",
    "__version__",
    "alpha_for_tolerance",
    "anytime_alpha",
    "anytime_step_size",
    "constant_alpha",
    "constant_step_size",
    "create_balancer",
    "cross_entropy",
    "global_risks",
    "grouped_risks",
    "last_complete_checkpoint",
    "list_balancers",
    "mean_risks",
    "paper_alpha",
    "plan_accumulation",
    "sharp_constant",
    "sharpened_alpha",
    "smooth_max",
    "softmax_gap",
    "softmax_weights",
    "strongly_convex_alpha",
    "strongly_convex_step_size",
    "task_sums",
]
