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

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from taskrobust._row_products import fewer_rows, inner_is_cheaper, length, norm_by_inner
from taskrobust._task_graph import TaskGraph
from taskrobust.risks import GradientReduction, ProcessGroup, all_sum, num_ranks

__all__ = ["Shared", "SharedLayer"]

Shared = nn.Module | Sequence[nn.Parameter]
"""A layer that all tasks share, or the parameters themselves."""

READABLE = {"cpu"}
"""Devices whose values can be looked at without waiting for them."""

BLOCK_BYTES = 2**28
"""Bound on the gradients held at a time where only norms are asked for."""

NOT_BATCHED = ("Batching rule not implemented", "vmap", "doesn't have storage")
"""In the errors of operators that cannot carry batched gradients; the last is of compiled ones."""

PASS_BYTES = {"cpu": 2**21}
"""Bound on one batched gradient: on a CPU as much as caches hold, else `BLOCK_BYTES`."""


class SharedLayer:
    """The layer at which gradients of single tasks are taken.

    It is no module: holding one registers neither the layer nor its parameters. A deep copy keeps
    the layer, unless that has been copied before in the same `copy.deepcopy` (a model, then the
    balancer beside it). Nothing is hooked into the model.

    Losses of separate heads should be put together by `torch.stack` (elementwise operations and
    `taskrobust.risks.global_risks` may follow): then each head is run once. If they come from one
    sum over groups, what lies above the layer is run for every task. The cost that remains is a
    weight gradient a task, so the fewer parameters the cheaper: the last normalisation of a
    transformer costs next to nothing. A weight that is tied to the input embeddings is no good
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

    def gradients(self, losses: Tensor) -> Tensor:
        """This rank's gradients ``[T, n]`` of losses ``[T]``, detached, in float32 or wider.

        The parameters follow each other, each flattened. A loss that does not depend on one of them
        has gradient 0 there. The graph is kept, no ``.grad`` is touched, and a later
        ``loss.backward()`` finds everything as it was.

        Args:
            losses: with graph.

        Raises:
            ValueError: losses of another shape, or none of which depends on the parameters.
        """
        run = _Run(self, losses)
        return run.gradients(run.tasks)

    def norms(self, losses: Tensor) -> Tensor:
        """Euclidean norms ``[T]`` of `gradients`, without holding those."""
        return _Run(self, losses).norms()

    def global_gradients(
        self,
        losses: Tensor,
        *,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
    ) -> Tensor:
        """Gradients ``[T, n]`` over all ranks, of risks from `taskrobust.risks.global_risks`.

        Args:
            losses: ``[T]`` with graph; every rank of the group has to call.
            process_group: as in `taskrobust.risks.global_risks`.
            gradient_reduction: as there: with "mean" the graph of the losses carries the number of
                ranks as a factor, which is divided out.

        Raises:
            ValueError: as `gradients`.
        """
        run = _Run(self, losses)
        return run.global_gradients(run.tasks, process_group, gradient_reduction)

    def global_norms(
        self,
        losses: Tensor,
        *,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
    ) -> Tensor:
        """Norms ``[T]`` of `global_gradients`, without holding those; arguments as there."""
        run = _Run(self, losses)
        if num_ranks(process_group) == 1:
            return run.norms()
        # Blocks have to be the same tasks on every rank, whatever its graph and batch.
        size = max(1, BLOCK_BYTES // run.row_bytes)
        blocks = (run.tasks[start : start + size] for start in range(0, len(losses), size))
        found = [run.global_gradients(b, process_group, gradient_reduction) for b in blocks]
        return torch.cat([torch.linalg.vector_norm(gradients, dim=1) for gradients in found])

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


class _Run:
    """One call: the graph of its losses, and what the passes through it give."""

    def __init__(self, layer: SharedLayer, losses: Tensor) -> None:
        if losses.ndim != 1 or not len(losses):
            raise ValueError(f"`losses` should have shape [T]; found {list(losses.shape)}")
        if not losses.requires_grad:
            raise ValueError("`losses` should have a graph; found a tensor without one")
        parameters = layer.parameters()
        self.layer = layer
        self.tasks = list(range(len(losses)))
        self.device = losses.device
        with self._plain():
            self.graph = TaskGraph(losses, parameters, layer.gradient_scale)
        if not self.graph.connected:
            raise ValueError(
                "`losses` should depend on the parameters of `shared`; found that none does "
                "(is it a layer of another model, of a copy, or inside reentrant checkpointing?)"
            )
        self.dtype = torch.float32
        self.slices: list[slice] = []
        for p in parameters:
            self.dtype = torch.promote_types(self.dtype, p.dtype)
            start = self.slices[-1].stop if self.slices else 0
            self.slices.append(slice(start, start + p.numel()))
        self.size = self.slices[-1].stop
        self.row_bytes = self.size * self.dtype.itemsize
        self._inputs: dict[Node, Tensor] = {}
        self._inner: dict[Node, Tensor] = {}

    def global_gradients(
        self, tasks: list[int], process_group: ProcessGroup, gradient_reduction: GradientReduction
    ) -> Tensor:
        """Gradients of some tasks over all ranks."""
        total = all_sum(self.gradients(tasks), process_group)
        return total / num_ranks(process_group) if gradient_reduction == "mean" else total

    def gradients(self, tasks: list[int]) -> Tensor:
        """Gradients of some tasks on this rank."""
        total = torch.zeros(len(tasks), self.size, dtype=self.dtype, device=self.device)
        rows = dict(zip(tasks, total, strict=True))
        with self._plain():
            for task, found in self._captured(tasks):
                self._add(rows[task], found)
        return total.div_(self.layer.gradient_scale)

    def norms(self) -> Tensor:
        """Norms of the gradients of all tasks on this rank."""
        norms: dict[int, Tensor] = {}
        with self._plain():
            for task, found in self._captured(self.tasks):
                norms[task] = self._norm(found)
        return torch.stack([norms[task] for task in self.tasks]) / self.layer.gradient_scale

    def _captured(self, tasks: list[int]) -> Iterator[tuple[int, dict[Node, Tensor]]]:
        """For each task, in any order, its gradients at products and parameters."""
        for chunk in self.graph.chunks(tasks, PASS_BYTES.get(self.device.type, BLOCK_BYTES)):
            yield from zip(chunk, self._passes(chunk), strict=True)

    def _passes(self, chunk: list[int]) -> list[dict[Node, Tensor]]:
        """Backward passes for some tasks, one after the other where they cannot be batched."""
        if self.layer.batched:
            try:
                return self.graph.gradients(chunk, batched=True)
            except RuntimeError as error:
                if not any(phrase in str(error) for phrase in NOT_BATCHED):
                    raise
                self.layer.batched = False
        return self.graph.gradients(chunk, batched=False)

    def _add(self, row: Tensor, found: dict[Node, Tensor]) -> None:
        """Add the parameters' gradients to a row ``[n]``."""
        for node, gradient in found.items():
            gradient = gradient.to(self.dtype)
            if node in self.graph.direct:
                row[self.slices[self.graph.direct[node]]] += gradient.flatten()
                continue
            product = self.graph.products[node]
            if product.weight is not None:
                delta, inputs = self._factors(node, gradient)
                weight = row[self.slices[product.weight]].view(delta.shape[1], inputs.shape[1])
                torch.addmm(weight, delta.mT, inputs, out=weight)
            if product.bias is not None:
                row[self.slices[product.bias]] += gradient.sum(0)

    def _norm(self, found: dict[Node, Tensor]) -> Tensor:
        """Norm of one task's gradient."""
        products = [self.graph.products[node] for node in found if node in self.graph.products]
        positions = [self.graph.direct[node] for node in found if node in self.graph.direct]
        positions += [i for product in products for i in product.parameters()]
        if len(set(positions)) < len(positions):  # several uses of a parameter: add, then norm
            row = torch.zeros(self.size, dtype=self.dtype, device=self.device)
            self._add(row, found)
            return length(row)
        norms = [torch.zeros((), dtype=self.dtype, device=self.device)]
        for node, gradient in found.items():
            gradient = gradient.to(self.dtype)
            if node in self.graph.direct:
                norms.append(length(gradient))
                continue
            product = self.graph.products[node]
            if product.weight is not None:
                norms.append(self._product_norm(node, gradient))
            if product.bias is not None:
                norms.append(length(gradient.sum(0)))
        return length(torch.stack(norms))

    def _factors(self, node: Node, delta: Tensor) -> tuple[Tensor, Tensor]:
        """A product's output gradients and inputs, with as few rows as their product needs."""
        if node not in self._inputs:
            self._inputs[node] = self.graph.inputs(node).to(self.dtype)
        if self.device.type in READABLE:
            return fewer_rows(delta, self._inputs[node])
        return delta, self._inputs[node]

    def _product_norm(self, node: Node, gradient: Tensor) -> Tensor:
        """Norm of a weight's gradient ``deltaᵀ inputs``, in the cheapest way."""
        delta, inputs = self._factors(node, gradient)
        # The inputs' inner products serve all tasks, unless rows have been left out.
        common = inputs is self._inputs[node] and self.graph.shared(node)
        if not inner_is_cheaper(delta, inputs, len(self.tasks) if common else 1):
            return length(delta.mT @ inputs)
        if not common:
            return norm_by_inner(delta, inputs @ inputs.mT)
        if node not in self._inner:
            self._inner[node] = inputs @ inputs.mT
        return norm_by_inner(delta, self._inner[node])

    @contextmanager
    def _plain(self) -> Iterator[None]:
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            yield
