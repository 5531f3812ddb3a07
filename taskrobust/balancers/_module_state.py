"""State that a module keeps in plain attributes: read, saved as a tensor, put back, moved.

`torch.nn.Module.state_dict` knows parameters and buffers only. Other people's modules keep history
in lists of tensors, in buffers that are None at first, and in optimisers of their own; all of it is
lost on resume unless somebody looks.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = [
    "fit_state",
    "from_tensor",
    "hide_buffers",
    "read_state",
    "subset_state",
    "to_tensor",
    "write_state",
]

State = dict[str, dict[str, Any]]
"""Submodule path -> attribute -> value: tensors, numbers, strings, and containers of them."""

_TORCHS_OWN = frozenset(vars(nn.Module()))
_LEAVES = (bool, int, float, str, torch.dtype, torch.device, torch.Size, type(None))
_LEFT_OUT = object()
_OPTIMIZER = "torch.optim"


def hide_buffers(module: nn.Module) -> None:
    """Make all buffers non-persistent: they belong to `read_state`.

    A buffer that is None at first would make the `state_dict` of a used module one that a fresh
    module refuses ("unexpected key").
    """
    for part in module.modules():
        for name, buffer in list(part._buffers.items()):
            part.register_buffer(name, buffer, persistent=False)


def read_state(module: nn.Module) -> State:
    """A copy of everything but parameters: plain attributes, buffers and inner optimisers.

    Attributes that can be called (functions, solvers) count as configuration and are left out.

    Raises:
        TypeError: an attribute that can be neither saved nor called.
    """
    state: State = {}
    for path, part in module.named_modules():
        saved = {name: _saved(part, name, value) for name, value in _attributes(part)}
        state[path] = {name: value for name, value in saved.items() if value is not _LEFT_OUT}
    return state


def write_state(module: nn.Module, state: State) -> None:
    """Put back what `read_state` gave, of the same module or of one made alike."""
    for path, attributes in state.items():
        part = module.get_submodule(path)
        for name, value in attributes.items():
            setattr(part, name, _restored(part, value))


def fit_state(part: nn.Module, dtype: torch.dtype | None, device: torch.device) -> None:
    """Move plain tensors and buffers of one module, submodules left out, to a device and dtype.

    Tensors of integers keep their dtype, and with None all do. A dtype or device that is kept as
    such follows too, so that a cache key made on another device still fits.
    """

    def fit(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, dtype if value.is_floating_point() else None)
        if isinstance(value, torch.device):
            return device
        return dtype if dtype and isinstance(value, torch.dtype) else value

    for name, value in _attributes(part):
        if isinstance(value, Optimizer):
            _fit_optimizer(value)
        else:
            fitted = _mapped(fit, value)
            if fitted is not value:
                setattr(part, name, fitted)


@contextmanager
def subset_state(module: nn.Module, present: Tensor) -> Iterator[None]:
    """Cut tensors ``[T]`` of a module, one entry a task, to the present tasks for a while."""
    cut = [
        (part, name, value)
        for part in module.modules()
        for name, value in _attributes(part)
        if isinstance(value, Tensor) and value.shape == present.shape
    ]
    try:
        for part, name, value in cut:
            setattr(part, name, value[present])
        yield
    finally:
        for part, name, value in cut:
            setattr(part, name, value)


def to_tensor(state: Any) -> Tensor:
    """Nested tensors, numbers, strings and containers as the bytes of a file, in a uint8 tensor."""
    file = io.BytesIO()
    torch.save(state, file)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def from_tensor(tensor: Tensor) -> Any:
    """What `to_tensor` was given, on the CPU; nothing in it can run code."""
    file = io.BytesIO(tensor.cpu().numpy().tobytes())
    return torch.load(file, map_location="cpu", weights_only=True)


def _attributes(part: nn.Module) -> list[tuple[str, Any]]:
    """Names and values of a module's attributes that torch does not save, and of its buffers."""
    plain = [(name, value) for name, value in vars(part).items() if name not in _TORCHS_OWN]
    return plain + list(part._buffers.items())


def _saved(part: nn.Module, name: str, value: Any) -> Any:
    """A copy of one attribute that `to_tensor` accepts; `_LEFT_OUT` for configuration."""
    if isinstance(value, Optimizer):
        return _saved_optimizer(part, name, value)
    try:
        return _mapped(_copied, value)
    except TypeError as error:
        if callable(value):
            return _LEFT_OUT
        raise TypeError(
            f"{type(part).__name__} keeps {error} in `{name}`, which a checkpoint cannot hold"
        ) from error


def _saved_optimizer(part: nn.Module, name: str, optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser of the module's own parameters: its class and its state."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    own = list(part.parameters(recurse=False))
    known = getattr(torch.optim, type(optimizer).__name__, None) is type(optimizer)
    if not known or [id(p) for p in held] != [id(p) for p in own]:
        raise TypeError(
            f"{type(part).__name__} keeps {type(optimizer).__name__} in `{name}`; only optimisers "
            "of torch.optim that hold the parameters of their module can be restored"
        )
    state = _mapped(_copied, optimizer.state_dict())
    return {_OPTIMIZER: type(optimizer).__name__, "state": state}


def _restored(part: nn.Module, value: Any) -> Any:
    if not (isinstance(value, dict) and _OPTIMIZER in value):
        return _mapped(_copied, value)
    make = getattr(torch.optim, value[_OPTIMIZER])
    optimizer = make(part.parameters(recurse=False))
    optimizer.load_state_dict(value["state"])
    return optimizer


def _fit_optimizer(optimizer: Optimizer) -> None:
    """Bring an optimiser's state to its parameters after they moved."""
    moved = any(
        (value.device, value.dtype) != (parameter.device, parameter.dtype)
        for parameter, state in optimizer.state.items()
        for name, value in state.items()
        if isinstance(value, Tensor) and name != "step"  # which stays on the host
    )
    if moved:
        optimizer.load_state_dict(optimizer.state_dict())  # which casts to the parameters


def _copied(value: Any) -> Any:
    """A leaf of the state, independent of the original; a TypeError names what is no such leaf."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, _LEAVES):
        return value
    raise TypeError(type(value).__name__)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A function applied to what lists, tuples and dictionaries hold; the containers are new."""
    if type(value) is dict:
        return {key: _mapped(function, entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_mapped(function, entry) for entry in value)
    return function(value)
