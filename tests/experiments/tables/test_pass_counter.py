"""The counter against programs of known passes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tables.step_cost.pass_counter import PassCounter, Passes
from experiments.tables.step_cost.shared_trunk import generate
from tests.experiments.tables.helpers import MLP, TRUNKS

T = 3
CPU = torch.device("cpu")


def together(model, batch):
    model(batch).sum().backward()
    return Passes(1, T, 1, 1)


def one_task_after_the_other(model, batch):
    losses = model.losses(batch)
    for task, loss in enumerate(losses):
        loss.backward(retain_graph=task + 1 < T)
    return Passes(1, T, T, T)


def one_after_the_other_of_a_stacked_tensor(model, batch):
    losses = model(batch)
    for task in range(T):
        losses[task].backward(retain_graph=task + 1 < T)
    return Passes(1, T * T, T, T)  # gradients of zero go through the other heads


def last_layer_only(model, batch):
    for loss in model.losses(batch):
        torch.autograd.grad(loss, model.last_shared.weight, retain_graph=True)
    return Passes(1, T, T, 0)


def batched(model, batch):
    losses = model(batch)
    weights = [model.last_shared.weight, model.first_layer.weight]
    torch.autograd.grad(losses, weights, torch.eye(T), is_grads_batched=True)
    return Passes(1, T * T, T, T)


def vectorised(model, batch):
    losses = model(batch)
    torch.vmap(
        lambda row: torch.autograd.grad(losses, model.first_layer.weight, row, retain_graph=True)
    )(torch.eye(T))
    return Passes(1, T * T, 0, T)


def without_graph(model, batch):
    with torch.no_grad():
        model(batch)
    return Passes(1, 0, 0, 0)


PROGRAMS = [
    together,
    one_task_after_the_other,
    one_after_the_other_of_a_stacked_tensor,
    last_layer_only,
    batched,
    vectorised,
    without_graph,
]


@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
@pytest.mark.parametrize("program", PROGRAMS)
def test_passes_are_counted(program, sizes):
    model, batch = generate(sizes, T, 0, CPU)
    with PassCounter(model) as counter:
        expected = program(model, batch)
    assert counter.passes == expected


@settings(max_examples=30)
@given(st.lists(st.sampled_from(PROGRAMS), max_size=4))
def test_counts_add_up(programs):
    model, batch = generate(MLP, T, 0, CPU)
    with PassCounter(model) as counter:
        expected = [program(model, batch) for program in programs]
    for name, counted in vars(counter.passes).items():
        assert counted == sum(getattr(passes, name) for passes in expected)


def test_nothing_is_counted_before_and_after():
    model, batch = generate(MLP, T, 0, CPU)
    together(model, batch)
    with PassCounter(model) as counter:
        pass
    together(model, batch)
    assert counter.passes == Passes(0, 0, 0, 0)


def test_a_backward_pass_after_the_context_is_not_counted():
    model, batch = generate(MLP, T, 0, CPU)
    with PassCounter(model) as counter:
        loss = model(batch).sum()
    loss.backward()
    assert (counter.passes.last_shared, counter.passes.trunk) == (0, 0)


@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
def test_counting_leaves_gradients_as_they_are(sizes):
    model, batch = generate(sizes, T, 0, CPU)
    together(model, batch)
    expected = [p.grad for p in model.parameters()]
    model.zero_grad()
    with PassCounter(model):
        together(model, batch)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
