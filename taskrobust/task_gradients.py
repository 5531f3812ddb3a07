r"""Gradients of all task losses with respect to the last shared layer, without T backward passes.

Methods that look at single tasks (GradNorm, MGDA, …) need :math:`\nabla_W\ell_t` for each task t,
which done naively costs T passes through every head. `SharedLayer` takes one pass through the heads
(`taskrobust._task_graph`), carries all tasks together through what they share above the layer, goes
no deeper than the layer's output, and leaves the trunk below it alone. For the weight of a linear
layer, :math:`\nabla_W\ell_t = \Delta_t^\top X` with the inputs X ``[n, d_in]`` and the gradients
:math:`\Delta_t` ``[n, d_out]`` at its output: examples or tokens without gradient are left out of
the product on the CPU, and norms come from :math:`\langle\Delta_t\Delta_t^\top, XX^\top\rangle`
where that is cheaper.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from torch import Tensor, nn

from taskrobust._gradient_run import GradientRun
from taskrobust._sketch import Sketch
from taskrobust.risks import GradientReduction, ProcessGroup

__all__ = ["Shared", "SharedLayer", "Sketch"]

Shared = nn.Module | Sequence[nn.Parameter]
"""A layer that all tasks share, or the parameters themselves."""


class SharedLayer:
    """The layer at which gradients of single tasks are taken.

    It is no module: holding one registers neither the layer nor its parameters. A deep copy keeps
    the layer, unless that has been copied before in the same `copy.deepcopy` (a model, then the
    balancer beside it). Nothing is hooked into the model.

    Losses of separate heads should be put together by `torch.stack` (elementwise operations and
    `taskrobust.risks.global_risks` may follow): then each head is run once. If they come from one
    sum over groups, what lies above the layer is run for every task. The cost that remains is a
    weight gradient a task, so the fewer parameters the cheaper: the last normalisation of a
    transformer costs next to nothing. Where it is a matrix ``[d_out, d_in]`` with large d_in and
    norms may be estimates, a `Sketch` of size k does with k/d_in of the work, and of the numbers
    that ranks exchange. A weight that is tied to the input embeddings is no good
    choice, since its gradient goes down through the whole model.

    A layer that is called several times counts with all its calls; one inside (non-reentrant)
    activation checkpointing is recomputed once more. Parameters have to be whole, not FSDP's or
    ZeRO's shards. A model compiled as a whole is one node to autograd and costs T backward passes:
    compile trunk and heads apart.

    Args:
        shared: the last shared layer, or a list of parameters. Linear layers are fastest; of other
            modules each parameter is differentiated.
        gradient_scale: factor on the gradients on their way through the graph, taken out again in
            float32, so that they do not underflow under float16 autocast: 2**16, say.

    Raises:
        TypeError: neither a module nor parameters.
        ValueError: no parameter that requires gradients, or a scale that is not positive.
    """

    def __init__(self, shared: Shared, *, gradient_scale: float = 1.0) -> None:
        if not isinstance(shared, nn.Module):
            shared = list(shared)
            if not all(isinstance(p, Tensor) and p.is_leaf for p in shared):
                raise TypeError("`shared` should be a module or a list of parameters")
        if not 0 < gradient_scale < math.inf:
            raise ValueError(f"`gradient_scale` should be in (0, inf); found {gradient_scale}")
        self.shared = shared
        self.gradient_scale = gradient_scale
        self.batched = True
        self.parameters()  # or an error

    def parameters(self) -> list[Tensor]:
        """The parameters in the order in which gradients are laid out.

        Raises:
            ValueError: none that requires gradients.
        """
        shared = self.shared
        found = shared.parameters() if isinstance(shared, nn.Module) else shared
        required: list[Tensor] = [p for p in found if p.requires_grad]
        if not required:
            raise ValueError("`shared` should have a parameter that requires gradients; found none")
        return required

    def gradients(self, losses: Tensor, *, sketch: Sketch | None = None) -> Tensor:
        """This rank's gradients ``[T, n]`` of losses ``[T]``, detached, in float32 or wider.

        The parameters follow each other, each flattened. A loss that does not depend on one of them
        has gradient 0 there. The graph is kept, no ``.grad`` is touched, and a later
        ``loss.backward()`` finds everything as it was.

        Args:
            losses: with graph.
            sketch: take random sketches instead: rows that are shorter, and whose squared norms
                are those of the gradients on average.

        Raises:
            ValueError: losses of another shape, or none of which depends on the parameters.
        """
        with self._run(losses, sketch) as run:
            return run.gradients(run.tasks)

    def norms(self, losses: Tensor, *, sketch: Sketch | None = None) -> Tensor:
        """Euclidean norms ``[T]`` of `gradients`, without holding those; arguments as there."""
        with self._run(losses, sketch) as run:
            return run.norms()

    def global_gradients(
        self,
        losses: Tensor,
        *,
        sketch: Sketch | None = None,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
    ) -> Tensor:
        """Gradients ``[T, n]`` over all ranks, of risks from `taskrobust.risks.global_risks`.

        Args:
            losses: ``[T]`` with graph; every rank of the group has to call.
            sketch: as in `gradients`; the same on every rank.
            process_group: as in `taskrobust.risks.global_risks`.
            gradient_reduction: as there: with "mean" the graph of the losses carries the number of
                ranks as a factor, which is divided out.

        Raises:
            ValueError: as `gradients`.
        """
        with self._run(losses, sketch) as run:
            return run.global_gradients(run.tasks, process_group, gradient_reduction)

    def global_norms(
        self,
        losses: Tensor,
        *,
        sketch: Sketch | None = None,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
    ) -> Tensor:
        """Norms ``[T]`` of `global_gradients`, without holding those; arguments as there."""
        with self._run(losses, sketch) as run:
            return run.global_norms(process_group, gradient_reduction)

    @contextmanager
    def _run(self, losses: Tensor, sketch: Sketch | None) -> Iterator[GradientRun]:
        run = GradientRun(
            losses,
            self.parameters(),
            gradient_scale=self.gradient_scale,
            sketch=sketch,
            batched=self.batched,
        )
        yield run
        self.batched = run.batched

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        shared = self.shared
        copied = type(self)(
            memo.get(id(shared), shared)
            if isinstance(shared, nn.Module)
            else [memo.get(id(p), p) for p in shared],
            gradient_scale=self.gradient_scale,
        )
        memo[id(self)] = copied
        return copied
