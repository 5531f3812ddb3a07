"""Balancers: T task risks in, one loss out, as `torch.nn.Module`.

>>> import torch
>>> from taskrobust.balancers import Minimax
>>> balancer = Minimax(num_tasks=3, alpha=1.0)
>>> loss = balancer(torch.tensor([0.2, 0.9, 0.4]))
>>> balancer.last.weights
tensor([0.2361, 0.4755, 0.2884])
"""

from taskrobust.balancers.average import Average
from taskrobust.balancers.base import Balancer, NonFiniteRiskError, Weighting
from taskrobust.balancers.dwa import DynamicWeightAverage
from taskrobust.balancers.gradnorm import GradNorm
from taskrobust.balancers.group_dro import GroupDRO
from taskrobust.balancers.minimax import Minimax
from taskrobust.balancers.registry import (
    BalancerInfo,
    balancer_info,
    create_balancer,
    list_balancers,
)
from taskrobust.balancers.torchjd import TorchJDBalancer
from taskrobust.balancers.uncertainty import Uncertainty

__all__ = [
    "Average",
    "Balancer",
    "BalancerInfo",
    "DynamicWeightAverage",
    "GradNorm",
    "GroupDRO",
    "Minimax",
    "NonFiniteRiskError",
    "TorchJDBalancer",
    "Uncertainty",
    "Weighting",
    "balancer_info",
    "create_balancer",
    "list_balancers",
]
