"""Counting forward and backward passes of a shared trunk while they happen."""

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.tables.step_cost.shared_trunk import SharedTrunk

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["PassCounter", "Passes"]


@dataclass(frozen=True)
class Passes:
    """Passes of one step; n gradients in one batched call are n passes.

    Attributes:
        forward: forward passes of the trunk.
        heads: gradients through one head, so T where one gradient goes through every head.
        last_shared: gradients of the last shared layer's weights.
        trunk: gradients of the weights at the bottom of the trunk, so whole backward passes.
    """

    forward: int
    heads: int
    last_shared: int
    trunk: int


class PassCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the passes of a model between entering and leaving the context.

    >>> from experiments.tables.step_cost.shared_trunk import MLPTrunk, generate
    >>> model, batch = generate(MLPTrunk(batch=2), 3, 0, torch.device("cpu"))
    >>> with PassCounter(model) as counter:
    ...     model(batch).sum().backward()
    >>> counter.passes
    Passes(forward=1, heads=3, last_shared=1, trunk=1)
    """

    def __init__(self, model: SharedTrunk) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self._counts = dict.fromkeys(Passes.__annotations__, 0)
        self._handles: list[RemovableHandle] = []
        self._expected: tuple[str, int] | None = None

    @property
    def passes(self) -> Passes:
        """What has been counted so far."""
        return Passes(**self._counts)

    def __enter__(self) -> Self:
        model = self._model
        self._handles = [
            model.trunk.register_forward_hook(self._went_forward),
            *(head.register_forward_pre_hook(self._enters_head) for head in model.heads),
            self._watch(model.last_shared.weight, "last_shared"),
            self._watch(model.first_layer.weight, "trunk"),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_value, traceback)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs every operation; the copy that a hook makes shows how many gradients there are."""
        if self._expected is not None and func is torch.ops.aten.clone.default:
            name, size = self._expected
            self._expected = None
            self._counts[name] += args[0].numel() // size
        return func(*args, **(kwargs or {}))

    def _went_forward(self, module: nn.Module, inputs: Any, features: Tensor) -> None:  # noqa: ARG002
        self._counts["forward"] += 1

    def _enters_head(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:  # noqa: ARG002
        """A view of the features for one head: a gradient at the view has come through it."""
        features = inputs[0].view_as(inputs[0])
        if features.requires_grad:
            self._watch(features, "heads")
        return (features,)

    def _watch(self, tensor: Tensor, name: str) -> "RemovableHandle":
        """Count gradients that reach a tensor.

        In a batched call the hook sees one gradient, but an operation on it runs on all of them.
        """

        def arrived(gradient: Tensor) -> None:
            self._expected = (name, gradient.numel())
            gradient.clone()

        handle: RemovableHandle = tensor.register_hook(arrived)  # type: ignore[no-untyped-call]
        return handle
