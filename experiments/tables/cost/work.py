"""What is to be computed: training steps, and the floating-point operations of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

__all__ = ["Work", "gradient_flops", "step_flops"]


Shape = list[int]


def _convolution_backward(
    grad: Shape, inputs: Shape, weight: Shape, *options: Any, **_: Any
) -> int:
    """As often the products of the forward pass as there are gradients, of inputs and of weights.

    Torch's own formula takes no account of groups in that of the weights.
    """
    transposed, wanted = options[4], options[7]
    forward = int(conv_flop_count(inputs, weight, grad, transposed=transposed))
    return forward * sum(map(bool, wanted[:2]))


_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


@dataclass(frozen=True)
class Work:
    """Equal training steps of a run.

    Attributes:
        title: what is trained, such as "at 128 pieces" or "MNLI".
        unit: what `units` counts.
        precision: of the matrix products: float32, bf16 or fp16.
        steps: of the optimiser.
        units: tokens or images of a step, padding included.
        flops: of a step, forward and backward.
        parameters: that are trained.
        repeats: runs that differ in nothing but a seed.
    """

    title: str
    unit: Literal["tokens", "images"]
    precision: str
    steps: int
    units: int
    flops: int
    parameters: int
    repeats: int = 1

    @property
    def total(self) -> int:
        """FLOPs of all repeats."""
        return self.repeats * self.steps * self.flops

    @property
    def seen(self) -> int:
        """Tokens or images of one run, each as often as it is seen."""
        return self.steps * self.units


def step_flops(loss: Callable[[], Tensor]) -> int:
    """FLOPs of the matrix products of one forward and backward pass.

    Counted by torch with attention written out, so that what a fused kernel computes twice counts
    once; a multiplication and an addition are two. Element-wise work is left out, as is customary.
    On the meta device nothing is computed.

    Args:
        loss: the forward pass, of which a scalar is returned.
    """
    with sdpa_kernel(SDPBackend.MATH), _counter() as counter:
        torch.autograd.backward(loss())
    return int(counter.get_total_flops())


def gradient_flops(losses: Callable[[], Tensor], shared: Sequence[Tensor]) -> int:
    """FLOPs of the gradients of every single loss at some parameters, as GradNorm needs them.

    With few rows `taskrobust.task_gradients` takes norms from inner products, which is cheaper; in
    batches as large as those of training it computes what is counted here, or less.

    Args:
        losses: the forward pass, of which the losses ``[T]`` are returned; it is not counted.
        shared: parameters.
    """
    with sdpa_kernel(SDPBackend.MATH):
        found = losses()
        with _counter() as counter:
            for loss in found:
                torch.autograd.grad(loss, list(shared), retain_graph=True, allow_unused=True)
    return int(counter.get_total_flops())


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_FORMULAS)
