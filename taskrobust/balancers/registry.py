"""Balancers by name, for configuration files and command lines."""

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskrobust.balancers.average import Average
from taskrobust.balancers.base import Balancer
from taskrobust.balancers.dwa import DynamicWeightAverage
from taskrobust.balancers.gradnorm import GradNorm
from taskrobust.balancers.group_dro import GroupDRO
from taskrobust.balancers.minimax import Minimax
from taskrobust.balancers.torchjd import TorchJDBalancer
from taskrobust.balancers.uncertainty import Uncertainty

__all__ = ["BalancerInfo", "balancer_info", "create_balancer", "list_balancers"]


@dataclass(frozen=True)
class BalancerInfo:
    """One entry of the registry."""

    name: str
    balancer: type[Balancer]
    description: str
    defaults: Mapping[str, Any]


_ENTRIES = (
    BalancerInfo("average", Average, "mean risk, the paper's None (Eq. 4)", {}),
    BalancerInfo(
        "example-mean", Average, "mean over all examples, ordinary training", {"over": "examples"}
    ),
    BalancerInfo("uncertainty", Uncertainty, "learned log-variances (Kendall et al., 2018)", {}),
    BalancerInfo(
        "dwa", DynamicWeightAverage, "softmax of the risks' rates of change (Liu et al., 2019)", {}
    ),
    BalancerInfo(
        "gradnorm", GradNorm, "balanced gradient norms at `shared` (Chen et al., 2018)", {}
    ),
    BalancerInfo("group-dro", GroupDRO, "exponentiated gradient (Sagawa et al., 2020)", {}),
    BalancerInfo("minimax", Minimax, "softmax of α · risks (Eq. 7); α = 1", {"alpha": 1.0}),
    BalancerInfo("hard-max", Minimax, "gradient of the worst task only", {"mode": "hard"}),
    BalancerInfo(
        "minimax-attached",
        Minimax,
        "the authors' released code: weights not detached; α = 1",
        {"alpha": 1.0, "mode": "attached"},
    ),
)
_ADAPTERS = (
    BalancerInfo("torchjd", TorchJDBalancer, "a `method` of TorchJD by name, with `options`", {}),
)
_REGISTRY = {entry.name: entry for entry in (*_ENTRIES, *_ADAPTERS)}


def list_balancers() -> list[str]:
    """Names of methods that `create_balancer` knows.

    It knows "torchjd" as well, which is no method by itself:
    ``create_balancer("torchjd", 3, method="STCH", options={"mu": 0.5})``.

    >>> "minimax" in list_balancers()
    True
    """
    return [entry.name for entry in _ENTRIES]


def balancer_info(name: str) -> BalancerInfo:
    """The registry's entry of a name.

    Raises:
        ValueError: an unknown name; the message lists the valid ones.
    """
    if name not in _REGISTRY:
        near = difflib.get_close_matches(str(name), _REGISTRY, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown balancer {name!r}{hint} (known: {', '.join(_REGISTRY)})")
    return _REGISTRY[name]


def create_balancer(name: str, num_tasks: int, **options: Any) -> Balancer:
    """A balancer by name.

    Args:
        name: one of `list_balancers`, or "torchjd".
        num_tasks: number of tasks T.
        options: arguments of the class; None means the default, so that a configuration may leave
            a field empty. ``tolerance`` given, the default ``alpha`` of "minimax" does not count.

    Raises:
        ValueError: an unknown name or option, a missing one, or a value that the class refuses.

    >>> create_balancer("minimax", 3, tolerance=0.1)
    Minimax(num_tasks=3, mode='softmax', alpha=4.63056)
    """
    entry = balancer_info(name)
    given = {key: value for key, value in options.items() if value is not None}
    known = inspect.signature(entry.balancer.__init__).parameters
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            valid = ", ".join(k for k in known if k not in ("self", "num_tasks"))
            raise ValueError(f"balancer {name!r} has no option {key!r}{hint} (options: {valid})")
    merged = {**entry.defaults, **given}
    if "tolerance" in given and "alpha" not in given:
        merged.pop("alpha", None)
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in ("self", "num_tasks", *merged):
            raise ValueError(f"balancer {name!r} needs the option {key!r}")
    return entry.balancer(num_tasks=num_tasks, **merged)
