import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskrobust import _gradient_run
from taskrobust.task_gradients import SharedLayer
from tests.taskrobust.task_gradient_cases import CASES, INPUTS, WIDTH, Model, assert_right, naive


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def name_of(value):
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize("readable", [True, False], ids=["host", "device"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_gradients_are_those_of_one_backward_pass_a_task(case, readable, monkeypatch):
    if not readable:
        monkeypatch.setattr(_gradient_run, "READABLE", set())
    assert_right(*case(Model()))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_tasks_one_at_a_time_give_the_same(case, monkeypatch):
    monkeypatch.setitem(_gradient_run.PASS_BYTES, "cpu", 1)
    assert_right(*case(Model()))


OPERATIONS = {
    "shared": lambda model, x, y: model.shared(torch.tanh(x @ model.up)),
    "tanh": lambda model, x, y: torch.tanh(x),
    "norm": lambda model, x, y: model.norm(x),
    "mean": lambda model, x, y: x.mean(1, keepdim=True).expand_as(x),
    "first": lambda model, x, y: x[:, :1].expand_as(x),
    "add": lambda model, x, y: x + y,
    "multiply": lambda model, x, y: x * y,
    "detach": lambda model, x, y: x.detach(),
}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 9), st.integers(0, 9)),
        max_size=8,
    ),
    ends=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_any_graph_of_shared_and_private_nodes_is_taken_apart_rightly(steps, ends, seed):
    torch.manual_seed(seed)
    model = Model(tasks=len(ends))
    model.up = torch.randn(WIDTH, INPUTS)
    tensors = [model()]
    for name, i, j in steps:
        x, y = tensors[i % len(tensors)], tensors[j % len(tensors)]
        tensors.append(OPERATIONS[name](model, x, y))
    pairs = [(tensors[i % len(tensors)], tensors[j % len(tensors)]) for i, j in ends]
    losses = [
        head(x).square().mean() + y.sin().mean() + 0.0 * model.shared.bias.sum()
        for head, (x, y) in zip(model.heads, pairs, strict=True)
    ]
    layer = SharedLayer(model.shared)
    losses = torch.stack(losses)
    expected = naive(losses, layer.parameters())
    torch.testing.assert_close(layer.gradients(losses), expected, rtol=1e-10, atol=1e-12)
    norms = layer.norms(losses)
    torch.testing.assert_close(norms, expected.norm(dim=1), rtol=1e-10, atol=1e-12)
