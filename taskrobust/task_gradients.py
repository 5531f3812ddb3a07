"""Gradients of all task losses with respect to the last shared layer, without T backward passes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskrobust.risks import GradientReduction, ProcessGroup, all_sum, num_ranks

__all__ = ["Shared", "SharedLayer"]

Shared = nn.Module | Sequence[nn.Parameter]
"""A layer that all tasks share, or the parameters themselves."""


class SharedLayer:
    """Where gradients of single tasks are taken; no module, so nothing of it is registered.

    Args:
        shared: the last shared layer, or a list of parameters.

    Raises:
        TypeError: neither a module nor parameters.
        ValueError: no parameter that requires gradients.
    """

    def __init__(self, shared: Shared) -> None:
        self.parameters = _parameters(shared)

    def gradients(self, losses: Tensor) -> Tensor:
        """This rank's gradients ``[T, n]`` of losses ``[T]``, detached, in float32 or wider.

        Parameters are flattened one after the other. The graph is kept for a later backward.
        """
        basis = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
        found = torch.autograd.grad(
            losses,
            self.parameters,
            basis,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
            is_grads_batched=True,
        )
        return torch.cat([g.flatten(1) for g in found], dim=1)

    def global_gradients(
        self,
        losses: Tensor,
        *,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
    ) -> Tensor:
        """Gradients ``[T, n]`` of global risks (`taskrobust.risks.global_risks`), over all ranks.

        Args:
            losses: ``[T]`` with graph; every rank of the group has to call.
            process_group: as in `taskrobust.risks.global_risks`.
            gradient_reduction: as in `taskrobust.risks.global_risks`.
        """
        total = all_sum(self.gradients(losses), process_group)
        return total / num_ranks(process_group) if gradient_reduction == "mean" else total


def _parameters(shared: Shared) -> tuple[nn.Parameter, ...]:
    found = tuple(shared.parameters() if isinstance(shared, nn.Module) else shared)
    if not all(isinstance(p, Tensor) for p in found):
        raise TypeError(f"`shared` should be a module or parameters; found {shared!r}")
    found = tuple(p for p in found if p.requires_grad)
    if not found:
        raise ValueError("`shared` should have parameters that require gradients; found none")
    return found
