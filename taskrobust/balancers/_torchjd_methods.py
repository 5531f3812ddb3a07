"""TorchJD's methods: by name and from data, told apart by what they need. Imports TorchJD."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torchjd import Stateful, aggregation, scalarization
from torchjd.aggregation._weighting_bases import _GramianWeighting, _MatrixWeighting

__all__ = ["Kind", "Traits", "make_method", "traits_of", "usable_methods"]

Kind = Literal["scalarizer", "aggregator", "matrix", "gramian"]
"""What is called: a scalarizer with the risks, an aggregator's weighting or a bare weighting with
the Jacobian, or a bare weighting with its Gramian."""


class Traits(NamedTuple):
    """What `TorchJDBalancer` has to know of a method."""

    kind: Kind
    remembers: bool  # something about each task, so that it needs all of them
    has_epochs: bool  # and wants to hear of their ends
    trains_itself: bool  # its parameter is no business of the caller's optimiser
    on_host: frozenset[str]  # paths of parts that compute, and keep their state, on the CPU


_BASES = (
    scalarization.Scalarizer,
    aggregation.Aggregator,
    aggregation.WeightedAggregator,
    aggregation.GramianWeightedAggregator,
    aggregation.Weighting,
)
_TWO_BATCHES = (aggregation.MoDoWeighting, aggregation.SDMGradWeighting)
_ON_HOST = (aggregation.GradVacWeighting, aggregation.PCDWeighting)


def make_method(name: str, num_tasks: int, options: Mapping[str, Any]) -> nn.Module:
    """A scalarizer, or else an aggregator or a weighting, by the name of its class.

    Args:
        name: of a class of `torchjd.scalarization` or `torchjd.aggregation`; the former wins.
        num_tasks: number of tasks T, for classes that ask for it.
        options: arguments of the class; sequences of numbers become tensors.

    Raises:
        ValueError: an unknown name, or options that the class does not take.
    """
    classes = {**_classes(aggregation), **_classes(scalarization)}
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"TorchJD has no method {name!r}{hint} ({usable_methods()})")
    parameters = inspect.signature(classes[name]).parameters
    sizes = {key: num_tasks for key in ("shape", "n_tasks") if key in parameters}
    arguments = {**sizes, **{key: _as_argument(value) for key, value in options.items()}}
    try:
        inspect.signature(classes[name]).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"`options` should be arguments of {name}{inspect.signature(classes[name])}; "
            f"found {dict(options)}: {error}"
        ) from error
    method: nn.Module = classes[name](**arguments)
    return method


def traits_of(method: nn.Module) -> Traits:
    """What a method is and needs.

    Raises:
        TypeError: a method that is neither a function of the risks nor a weighting of gradients.
    """
    return Traits(
        kind=_kind_of(method),
        remembers=any(isinstance(part, Stateful) for part in method.modules()),
        has_epochs=isinstance(method, scalarization.DWA),
        trains_itself=isinstance(method, scalarization.FAMO),
        on_host=frozenset(
            path for path, part in method.named_modules() if isinstance(part, _ON_HOST)
        ),
    )


def usable_methods() -> str:
    """The names that `TorchJDBalancer` takes, for messages."""
    # NashMTL keeps the problem of its solver, which no checkpoint can hold.
    weighted = [
        name
        for name, found in _classes(aggregation).items()
        if issubclass(found, aggregation.WeightedAggregator) and name != "NashMTL"
    ]
    return (
        f"scalarizers: {', '.join(_classes(scalarization))}; "
        f"aggregators: {', '.join(weighted)}; and weightings of these"
    )


def _kind_of(method: nn.Module) -> Kind:
    """How a method is to be called, or a TypeError that says why it cannot be."""
    if not isinstance(method, nn.Module):
        raise _no_method(method)
    if any(isinstance(part, _TWO_BATCHES) for part in method.modules()):
        raise TypeError(
            "`method` should be a function of one batch; MoDo and SDMGrad need the gradients of "
            f"two independent batches ({usable_methods()})"
        )
    if isinstance(method, scalarization.Scalarizer):
        return "scalarizer"
    if isinstance(method, aggregation.WeightedAggregator):
        return "aggregator"
    innermost: nn.Module = method
    while isinstance(innermost, aggregation.CRMOGMWeighting):
        innermost = innermost.weighting
    if isinstance(innermost, _GramianWeighting):
        return "gramian"
    if isinstance(innermost, _MatrixWeighting):
        return "matrix"
    name = type(method).__name__
    if isinstance(method, aggregation.Weighting):
        raise TypeError(
            f"`method` should say what {name} weighs: pass GramianWeightedAggregator({name}(…)) "
            f"or WeightedAggregator({name}(…))"
        )
    if isinstance(method, aggregation.Aggregator):
        raise TypeError(
            f"`method` should give weights of the tasks; {name} gives only an aggregated gradient, "
            "which is no loss to backpropagate (GradDrop and TrimmedMean choose coordinate by "
            f"coordinate): use torchjd.autojac with it ({usable_methods()})"
        )
    raise _no_method(method)


def _no_method(method: object) -> TypeError:
    return TypeError(
        "`method` should be a TorchJD scalarizer, aggregator or weighting, or the name of one; "
        f"found {method!r}"
    )


def _classes(module: Any) -> dict[str, Any]:
    """The methods that a module of TorchJD exports, by name."""
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in found.items() if value not in _BASES}


def _as_argument(value: Any) -> Any:
    """An option as the class wants it: tensors for sequences, in float64 until a risk is seen."""
    if isinstance(value, list | tuple) and all(isinstance(entry, int | float) for entry in value):
        return torch.tensor(value, dtype=torch.float64)
    return value
