r"""The autograd graph between task losses and shared parameters: whose gradient runs where.

One backward pass carries one gradient through a node; T of them need a batched pass, which is T
times the work. Where T losses are stacked from T heads, though, most nodes belong to a single task.
One ordinary pass over these *private* nodes gives every task's gradient at the first *shared*
nodes, and only from there on is it batched. `TaskGraph` finds both kinds by walking the graph of
the losses, so that it needs no hooks on the model, keeps nothing alive and cannot be stale.

It also finds where a weight enters a matrix product :math:`Y = XW^\top`. The pass stops at Y, and
the weight's gradient :math:`\Delta_t^\top X` is left to the caller. Every other use of a parameter
is left to autograd.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from taskrobust._autograd_edges import (
    Divert,
    Edge,
    backward,
    node_bytes,
    out_edges,
    root_of,
    row_or_zeros,
    shape_at,
)

__all__ = ["Product", "TaskGraph"]

Kids = list[tuple[int, Edge]]
"""Where a node's gradients go: at which of its inputs, and to what."""

SHARED = -1
"""Label of a node that several tasks run through; other labels are a task's number."""

PRODUCTS = {"AddmmBackward0": (2, 0, "_saved_mat1"), "MmBackward0": (1, None, "_saved_self")}
"""Matrix products ``X Wᵀ (+ b)``: the inputs that are Wᵀ and b, and where the node keeps X."""


class Product(NamedTuple):
    """A node ``Y = X Wᵀ (+ b)``: positions of W and b among the parameters, None if not there."""

    weight: int | None
    bias: int | None
    inputs: str  # the node's attribute that holds X

    def parameters(self) -> list[int]:
        """Positions of those that are there."""
        return [i for i in (self.weight, self.bias) if i is not None]


class TaskGraph:
    """What lies between losses ``[T]`` and parameters.

    Args:
        losses: ``[T]`` with graph.
        parameters: leaves that require gradients.
        seed: factor on all gradients, so that half precision does not underflow.

    Attributes:
        products: matrix products that parameters enter; gradients are captured at their output.
        direct: nodes of the parameters that enter otherwise, and their positions.
    """

    products: dict[Node, Product]
    direct: dict[Node, int]

    def __init__(self, losses: Tensor, parameters: Sequence[Tensor], seed: float = 1.0) -> None:
        self._root, seeds = root_of(losses, seed)
        self._losses: list[Edge | None] | None = None
        if self._root[0].name() == "StackBackward0":
            self._losses = out_edges(self._root[0])
            self._seeds = seeds.unbind()
        else:
            self._seeds = seeds.diag().unbind()
        self._leaves = {get_gradient_edge(p).node: i for i, p in enumerate(parameters)}
        self._kids = self._walk()
        self._find_products(parameters)
        self._labels = self._label()
        self._frontiers = self._find_frontiers()

    @property
    def connected(self) -> bool:
        """Whether any loss depends on any of the parameters."""
        return bool(self._kids)

    def inputs(self, node: Node) -> Tensor:
        """X of a product, ``[n, d_in]``."""
        inputs: Tensor = getattr(node, self.products[node].inputs).detach()
        return inputs

    def shared(self, node: Node) -> bool:
        """Whether several tasks run through a product."""
        return self._labels[node] == SHARED

    def chunks(self, tasks: Collection[int], max_bytes: int) -> Iterator[list[int]]:
        """Tasks for one `private_pass`: those with the same shared nodes, as memory allows.

        Args:
            tasks: which tasks to divide.
            max_bytes: bound on the gradients that the pass returns (but one task at least).
        """
        groups: dict[frozenset[Node], list[int]] = {}
        for task in tasks:
            frontier = frozenset(edge[0] for _, _, edge in self._frontiers[task])
            groups.setdefault(frontier, []).append(task)
        for frontier, group in groups.items():
            own = [self._stops((task,)) for task in group]
            found = sum(map(node_bytes, frontier)) + max(sum(map(node_bytes, s)) for s in own)
            size = max(1, max_bytes // max(found, 1))
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def private_pass(
        self, tasks: list[int]
    ) -> tuple[list[dict[Node, Tensor]], list[dict[Edge, Tensor]]]:
        """One pass through the private nodes of some tasks.

        Args:
            tasks: one of `chunks`.

        Returns:
            Each task's gradients at its private products and parameters, those of products
            ``[n, d_out]``; and those that enter shared nodes, for `shared_pass`.
        """
        stops = self._stops(tasks)
        targets: dict[Edge, None] = {(node, 0): None for node in stops}
        starts: dict[Edge, Tensor] = {}
        passed: set[Edge] = set()
        rows: list[dict[Edge, Tensor]] = [{} for _ in tasks]
        with ExitStack() as stack:
            for task, of_task in zip(tasks, rows, strict=True):
                root = self._roots()[task]
                if root is not None and self._labels[root[0]] == task and root[0] in self._kids:
                    starts[root] = self._seeds[task]
                diverted: dict[Node, dict[int, Edge]] = {}
                for node, index, edge in self._frontiers[task]:
                    if node is None:
                        of_task[edge] = self._seeds[task]
                    else:
                        diverted.setdefault(node, {})[index] = edge
                        targets[edge] = None
                for node, edges in diverted.items():
                    stack.callback(node.register_hook(Divert(edges, of_task, passed)).remove)
            captured = dict(zip(stops, backward(starts, targets), strict=False))
        found = [
            {n: g for n, g in captured.items() if g is not None and self._labels[n] == task}
            for task in tasks
        ]
        return found, rows

    def shared_rows(self, max_bytes: int) -> int:
        """How many tasks a `shared_pass` can carry.

        Args:
            max_bytes: bound on each of its gradients (but one task at least).
        """
        shared = [node_bytes(node) for node in self._kids if self._labels[node] == SHARED]
        return max(1, max_bytes // max([*shared, 1]))

    def shared_pass(self, rows: list[dict[Edge, Tensor]]) -> list[dict[Node, Tensor]]:
        """A pass through the shared nodes, batched if it is for several tasks.

        Args:
            rows: for each task what `private_pass` has returned.

        Returns:
            For each task the gradients at shared products and parameters, as there.
        """
        stops = self._stops((SHARED,))
        targets = [(node, 0) for node in stops]
        if len(rows) == 1:
            found = zip(stops, backward(rows[0], targets), strict=False)
            return [{node: gradient for node, gradient in found if gradient is not None}]
        edges = dict.fromkeys(edge for of_task in rows for edge in of_task)
        stacked = {e: torch.stack([row_or_zeros(of_task, e) for of_task in rows]) for e in edges}
        batches = zip(stops, backward(stacked, targets, batched=True), strict=False)
        unbound = {node: batch.unbind() for node, batch in batches if batch is not None}
        return [{node: of_node[i] for node, of_node in unbound.items()} for i in range(len(rows))]

    def _roots(self) -> list[Edge | None]:
        """Where the gradient of each task starts."""
        return [self._root] * len(self._seeds) if self._losses is None else self._losses

    def _walk(self) -> dict[Node, Kids]:
        """Nodes that lead to a parameter, children first, with their children that do."""
        found: dict[Node, Kids] = {}
        seen: set[Node] = set()
        stack: list[tuple[Node, Kids | None]] = [(e[0], None) for e in self._roots() if e]
        while stack:
            node, kids = stack.pop()
            if kids is not None:  # all its children are done
                kids = [(i, edge) for i, edge in kids if edge[0] in found]
                if kids or node in self._leaves:
                    found[node] = kids
            elif node not in seen:
                seen.add(node)
                kids = [(i, edge) for i, edge in enumerate(out_edges(node)) if edge is not None]
                stack.append((node, kids))
                stack.extend((edge[0], None) for _, edge in kids if edge[0] not in seen)
        return found

    def _find_products(self, parameters: Sequence[Tensor]) -> None:
        """Tell products from other uses of parameters, and cut the graph between Y and W."""
        # A parameter with hooks is left to autograd, which runs them.
        direct = {i for i, p in enumerate(parameters) if p._backward_hooks}
        views: dict[Node, tuple[int, bool]] = {}  # casts and transposes of parameters
        products: dict[Node, Product] = {}
        for node, kids in self._kids.items():
            if node in self._leaves:
                views[node] = self._leaves[node], False
            used = {i: views[edge[0]] for i, edge in kids if edge[0] in views}
            if not used:
                continue
            name = node.name()
            if name in ("TBackward0", "ToCopyBackward0"):
                views[node] = used[0][0], used[0][1] != (name == "TBackward0")
            else:
                products[node], others = _product(node, name, used, parameters)
                direct |= others
        # So is a product through which the pass goes on: autograd captures gradients at a node
        # that it also runs before hooks on the node's output have seen them.
        while True:
            cut = {node for node, (i, _) in views.items() if i not in direct}
            run = [n for n in products if any(e[0] not in cut for _, e in self._kids[n])]
            found = {i for n in run for i in products[n].parameters()} - direct
            if not found:
                break
            direct |= found
        self.direct = {node: i for node, i in self._leaves.items() if i in direct}
        self.products = {n: p for n, p in products.items() if not direct.issuperset(p.parameters())}
        for node in cut:
            del self._kids[node]
        for node, kids in self._kids.items():
            self._kids[node] = [(i, edge) for i, edge in kids if edge[0] in self._kids]

    def _label(self) -> dict[Node, int]:
        """The task of each node, or `SHARED`."""
        labels: dict[Node, int] = {}

        def meet(node: Node, label: int) -> None:
            labels[node] = label if labels.get(node, label) == label else SHARED

        for task, edge in enumerate(self._roots()):
            if edge is not None:
                meet(edge[0], task if self._losses is not None else SHARED)
        for node, kids in reversed(self._kids.items()):
            for _, (child, _) in kids:
                meet(child, labels[node])
        return labels

    def _find_frontiers(self) -> list[list[tuple[Node | None, int, Edge]]]:
        """For each task the edges into shared nodes: from which private node, at which input."""
        found: list[list[tuple[Node | None, int, Edge]]] = [[] for _ in self._seeds]
        for node, kids in self._kids.items():
            if (task := self._labels[node]) != SHARED:
                found[task] += [(node, i, e) for i, e in kids if self._labels[e[0]] == SHARED]
        for frontier, edge in zip(found, self._roots(), strict=True):
            if edge and edge[0] in self._kids and self._labels[edge[0]] == SHARED:
                frontier.append((None, 0, edge))
        return found

    def _stops(self, labels: Collection[int]) -> list[Node]:
        """Products and parameters with one of some labels."""
        return [n for n in (*self.products, *self.direct) if self._labels.get(n) in labels]


def _product(
    node: Node, name: str, used: dict[int, tuple[int, bool]], parameters: Sequence[Tensor]
) -> tuple[Product, set[int]]:
    """A node as a product, and the parameters that take part in it otherwise than as W and b."""
    weight_slot, bias_slot, inputs = PRODUCTS.get(name, (None, None, ""))
    plain = getattr(node, "_saved_alpha", 1) == getattr(node, "_saved_beta", 1) == 1
    weight = bias = None
    others: set[int] = set()
    for slot, (position, transposed) in used.items():
        if plain and slot == weight_slot and transposed:
            weight = position
        elif plain and slot == bias_slot and parameters[position].shape == shape_at((node, 0))[1:]:
            bias = position
        else:
            others.add(position)
    return Product(weight, bias, inputs), others
