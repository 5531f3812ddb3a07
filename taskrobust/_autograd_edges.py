"""Edges of the autograd graph, and backward passes between them that leave no gradients behind."""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

__all__ = [
    "Divert",
    "Edge",
    "backward",
    "node_bytes",
    "out_edges",
    "root_of",
    "row_or_zeros",
    "shape_at",
]

Edge = tuple[Node, int]
"""A node and one of its outputs (those of the forward pass)."""


ELEMENTWISE = {
    "AliasBackward0",
    "CloneBackward0",
    "DivBackward0",
    "MulBackward0",
    "ToCopyBackward0",
    "WhereBackward0",
    "_GlobalRiskBackward",
}
"""Nodes whose Jacobian is diagonal if input and output have shape ``[T]``."""


class Divert:
    """Hook on a node: take the gradients of some of its inputs, and spare the engine their sum.

    Args:
        edges: where the gradients go, by input.
        found: what this node and others send there, added up.
        passed: edges to which a gradient has been let through. One has to be: hooks of the user
            wait there, and do not expect None.
    """

    def __init__(
        self, edges: dict[int, Edge], found: dict[Edge, Tensor], passed: set[Edge]
    ) -> None:
        self._edges = edges
        self._found = found
        self._passed = passed

    def __call__(
        self,
        gradients: Sequence[Tensor | None],
        outputs: Sequence[Tensor | None],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        """Called by autograd with the gradients of the node's inputs; returns what goes on."""
        going = list(gradients)
        for index, edge in self._edges.items():
            gradient = gradients[index]
            if gradient is None:
                continue
            before = self._found.get(edge)
            self._found[edge] = gradient if before is None else before + gradient
            if edge in self._passed:
                going[index] = None
            self._passed.add(edge)
        return tuple(going)


def root_of(losses: Tensor, seed: float) -> tuple[Edge, Tensor]:
    """The end of the elementwise nodes behind losses ``[T]``, and the losses' derivatives there.

    Args:
        losses: with graph.
        seed: factor on the derivatives.
    """
    start = get_gradient_edge(losses)
    edge = start.node, start.output_nr
    seeds = torch.full_like(losses, seed, requires_grad=False)
    while True:
        node, output = edge
        kids = [(kid, i) for kid, i in node.next_functions if kid is not None]
        if _is_sink(node):
            edge = cast("Edge", node.next_functions[output])
        elif node.name() in ELEMENTWISE and len(kids) == 1 and shape_at(kids[0]) == losses.shape:
            (found,) = backward({edge: seeds}, kids)
            edge, seeds = kids[0], torch.zeros_like(seeds) if found is None else found
        else:
            return edge, seeds


def out_edges(node: Node) -> list[Edge | None]:
    """Where the gradients of a node's inputs go; None for those without.

    Raises:
        ValueError: they go through what must not run yet, see `_past_sinks`.
    """
    return [_past_sinks(*pair) for pair in node.next_functions]


def shape_at(edge: Edge) -> torch.Size:
    """Shape of the gradient at an edge."""
    return torch.Size(edge[0]._input_metadata[edge[1]].shape)


def node_bytes(node: Node) -> int:
    """Size of the gradients that enter a node."""
    return sum(math.prod(m.shape) * m.dtype.itemsize for m in node._input_metadata)


def row_or_zeros(found: dict[Edge, Tensor], edge: Edge) -> Tensor:
    """The gradient at an edge; zeros if none has come."""
    if edge in found:
        return found[edge]
    metadata = edge[0]._input_metadata[edge[1]]
    return torch.zeros(metadata.shape, dtype=metadata.dtype, device=metadata.device)


def backward(
    starts: dict[Edge, Tensor], targets: Iterable[Edge], *, batched: bool = False
) -> Sequence[Tensor | None]:
    """Gradients at targets; the graph is kept, and no leaf gets a gradient.

    Args:
        starts: edges and the gradients that enter there.
        targets: edges; empty, or with no starts, nothing is run and nothing returned.
        batched: whether gradients have a leading batch dimension.
    """
    inputs = [GradientEdge(*edge) for edge in targets]
    if not starts or not inputs:
        return ()
    return torch.autograd.grad(
        [GradientEdge(*edge) for edge in starts],
        inputs,
        list(starts.values()),
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=batched,
    )


def _is_sink(node: Node) -> bool:
    """Whether a node is the identity that `DistributedDataParallel` puts behind a model."""
    return type(node).__name__ == "_DDPSinkBackward"


def _past_sinks(node: Node | None, output: int) -> Edge | None:
    """An edge past such identities, so that each of their outputs goes its own way."""
    while node is not None and _is_sink(node):
        model = node.ddp_weakref()  # type: ignore[attr-defined]
        if model.static_graph and not model._static_graph_delay_allreduce_enqueued:
            raise ValueError(
                "in the first step of DistributedDataParallel(static_graph=True) no gradients "
                "should be taken through the model's outputs: return the losses [T] from it"
            )
        node, output = node.next_functions[output]
    return None if node is None else (node, output)
