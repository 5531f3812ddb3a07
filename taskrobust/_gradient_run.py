"""One look at the gradients of some losses: passes through their graph, then products and norms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import Node

from taskrobust._autograd_edges import Edge
from taskrobust._row_products import fewer_rows, inner_is_cheaper, length, norm_by_inner
from taskrobust._sketch import Sketch
from taskrobust._task_graph import TaskGraph
from taskrobust.risks import GradientReduction, ProcessGroup, all_sum, num_ranks

__all__ = ["GradientRun"]

READABLE = {"cpu"}
"""Devices whose values can be looked at without waiting for them."""

BLOCK_BYTES = 2**28
"""Bound on the gradients held at a time where only norms are asked for."""

NOT_BATCHED = ("Batching rule not implemented", "vmap", "doesn't have storage")
"""In the errors of operators that cannot carry batched gradients; the last is of compiled ones."""

PASS_BYTES = {"cpu": 2**20}
"""Bound on one batched gradient: on a CPU as much as caches hold, else `BLOCK_BYTES`."""

WORTH_BATCHING = 4
"""For fewer tasks a batched pass takes longer than one pass after the other."""


class GradientRun:
    """The graph of losses ``[T]``, and what the passes through it give.

    Args:
        losses: with graph.
        parameters: leaves whose gradients are wanted.
        gradient_scale: factor on the gradients on their way through the graph.
        sketch: what of the gradients is wanted; None for all.
        batched: whether to try passes that carry several tasks through what they share.

    Attributes:
        tasks: 0, …, T - 1.
        batched: False from when such a pass has failed.

    Raises:
        ValueError: losses of another shape, without graph, or independent of the parameters.
    """

    def __init__(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],
        *,
        gradient_scale: float,
        sketch: Sketch | None,
        batched: bool,
    ) -> None:
        if losses.ndim != 1 or not len(losses):
            raise ValueError(f"`losses` should have shape [T]; found {list(losses.shape)}")
        if not losses.requires_grad:
            raise ValueError("`losses` should have a graph; found a tensor without one")
        self.tasks = list(range(len(losses)))
        self.batched = batched
        self._scale = gradient_scale
        self._device = losses.device
        with self._plain():
            self._graph = TaskGraph(losses, parameters, gradient_scale)
        if not self._graph.connected:
            raise ValueError(
                "`losses` should depend on the parameters of `shared`; found that none does "
                "(is it a layer of another model, of a copy, or inside reentrant checkpointing?)"
            )
        self._lay_out(parameters, sketch)
        self._inputs: dict[Node, Tensor] = {}
        self._inner: dict[Node, Tensor] = {}

    def _lay_out(self, parameters: Sequence[Tensor], sketch: Sketch | None) -> None:
        """Where in a row ``[n]`` the gradient, or its sketch, of each parameter has its place."""
        self._dtype = torch.float32
        for p in parameters:
            self._dtype = torch.promote_types(self._dtype, p.dtype)
        self._sketches: list[Tensor | None] = [None] * len(parameters)
        if sketch is not None:
            shapes = [p.shape for p in parameters]
            self._sketches = sketch.matrices(shapes, self._dtype, self._device)
        self._slices: list[slice] = []
        self._size = 0
        for p, signs in zip(parameters, self._sketches, strict=True):
            size = p.numel() if signs is None else len(p) * len(signs)
            self._slices.append(slice(self._size, self._size + size))
            self._size += size

    def gradients(self, tasks: list[int]) -> Tensor:
        """Gradients ``[len(tasks), n]`` of some tasks on this rank."""
        total = torch.zeros(len(tasks), self._size, dtype=self._dtype, device=self._device)
        rows = dict(zip(tasks, total, strict=True))
        with self._plain():
            for task, found in self._captured(tasks):
                self._add(rows[task], found)
        return total.div_(self._scale)

    def norms(self) -> Tensor:
        """Norms ``[T]`` of the gradients of all tasks on this rank."""
        norms: dict[int, Tensor] = {}
        with self._plain():
            for task, found in self._captured(self.tasks):
                norms[task] = self._norm(found)
        return torch.stack([norms[task] for task in self.tasks]) / self._scale

    def global_gradients(
        self, tasks: list[int], process_group: ProcessGroup, gradient_reduction: GradientReduction
    ) -> Tensor:
        """Gradients of some tasks over all ranks."""
        total = all_sum(self.gradients(tasks), process_group)
        return total / num_ranks(process_group) if gradient_reduction == "mean" else total

    def global_norms(
        self, process_group: ProcessGroup, gradient_reduction: GradientReduction
    ) -> Tensor:
        """Norms of the gradients of all tasks over all ranks."""
        if num_ranks(process_group) == 1:
            return self.norms()
        # Blocks have to be the same tasks on every rank, whatever its graph and batch.
        size = max(1, BLOCK_BYTES // (self._size * self._dtype.itemsize))
        blocks = (self.tasks[start : start + size] for start in range(0, len(self.tasks), size))
        found = [self.global_gradients(b, process_group, gradient_reduction) for b in blocks]
        return torch.cat([torch.linalg.vector_norm(gradients, dim=1) for gradients in found])

    def _captured(self, tasks: list[int]) -> Iterator[tuple[int, dict[Node, Tensor]]]:
        """For each task, in any order, its gradients at products and parameters."""
        max_bytes = PASS_BYTES.get(self._device.type, BLOCK_BYTES)
        for chunk in self._graph.chunks(tasks, max_bytes):
            found, rows = self._graph.private_pass(chunk)
            size = self._graph.shared_rows(max_bytes)
            size = size if self.batched and size >= WORTH_BATCHING else 1
            for start in range(0, len(chunk), size):
                piece = slice(start, start + size)
                shared = self._shared_pass(rows[piece])
                for task, own, other in zip(chunk[piece], found[piece], shared, strict=True):
                    yield task, own | other

    def _shared_pass(self, rows: list[dict[Edge, Tensor]]) -> list[dict[Node, Tensor]]:
        """A pass for some tasks together, or one after the other where they cannot be batched."""
        try:
            return self._graph.shared_pass(rows)
        except RuntimeError as error:
            if len(rows) == 1 or not any(phrase in str(error) for phrase in NOT_BATCHED):
                raise
        self.batched = False
        return [self._graph.shared_pass([row])[0] for row in rows]

    def _add(self, row: Tensor, found: dict[Node, Tensor]) -> None:
        """Add the parameters' gradients to a row ``[n]``."""
        for node, gradient in found.items():
            gradient = gradient.to(self._dtype)
            if node in self._graph.direct:
                position = self._graph.direct[node]
                row[self._slices[position]] += self._sketched(position, gradient).flatten()
                continue
            product = self._graph.products[node]
            if product.weight is not None:
                delta, inputs = self._factors(node, gradient)
                weight = row[self._slices[product.weight]].view(delta.shape[1], inputs.shape[1])
                torch.addmm(weight, delta.mT, inputs, out=weight)
            if product.bias is not None:
                row[self._slices[product.bias]] += gradient.sum(0)

    def _norm(self, found: dict[Node, Tensor]) -> Tensor:
        """Norm of one task's gradient."""
        products = [self._graph.products[node] for node in found if node in self._graph.products]
        positions = [self._graph.direct[node] for node in found if node in self._graph.direct]
        positions += [i for product in products for i in product.parameters()]
        if len(set(positions)) < len(positions):  # several uses of a parameter: add, then norm
            row = torch.zeros(self._size, dtype=self._dtype, device=self._device)
            self._add(row, found)
            return length(row)
        norms = [torch.zeros((), dtype=self._dtype, device=self._device)]
        for node, gradient in found.items():
            gradient = gradient.to(self._dtype)
            if node in self._graph.direct:
                norms.append(length(self._sketched(self._graph.direct[node], gradient)))
                continue
            product = self._graph.products[node]
            if product.weight is not None:
                norms.append(self._product_norm(node, gradient))
            if product.bias is not None:
                norms.append(length(gradient.sum(0)))
        return length(torch.stack(norms))

    def _sketched(self, position: int, columns: Tensor) -> Tensor:
        """Columns ``[..., d_in]`` of a parameter, or ``[..., k]`` if it is sketched."""
        signs = self._sketches[position]
        return columns if signs is None else columns @ signs.mT

    def _factors(self, node: Node, delta: Tensor) -> tuple[Tensor, Tensor]:
        """A product's output gradients and inputs, with as few rows as their product needs."""
        if node not in self._inputs:
            position = self._graph.products[node].weight
            assert position is not None
            inputs = self._graph.inputs(node).to(self._dtype)
            self._inputs[node] = self._sketched(position, inputs)
        if self._device.type in READABLE:
            return fewer_rows(delta, self._inputs[node])
        return delta, self._inputs[node]

    def _product_norm(self, node: Node, gradient: Tensor) -> Tensor:
        """Norm of a weight's gradient ``deltaᵀ inputs``, in the cheapest way."""
        delta, inputs = self._factors(node, gradient)
        # The inputs' inner products serve all tasks, unless rows have been left out.
        common = inputs is self._inputs[node] and self._graph.shared(node)
        if not inner_is_cheaper(delta, inputs, len(self.tasks) if common else 1):
            return length(delta.mT @ inputs)
        if not common:
            return norm_by_inner(delta, inputs @ inputs.mT)
        if node not in self._inner:
            self._inner[node] = inputs @ inputs.mT
        return norm_by_inner(delta, self._inner[node])

    @contextmanager
    def _plain(self) -> Iterator[None]:
        with torch.autocast(self._device.type, enabled=False), torch.no_grad():
            yield
