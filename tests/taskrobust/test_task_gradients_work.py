import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from taskrobust import _gradient_run
from taskrobust._row_products import fewer_rows
from taskrobust.task_gradients import SharedLayer
from tests.taskrobust.task_gradient_cases import EXAMPLES, INPUTS, TASKS, Model, assert_right, naive


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def flops(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class WideModel(nn.Module):
    """Linear heads on tokens of a linear layer, all of known cost."""

    def __init__(self, tasks, tokens=64, inputs=8, width=4, classes=3):
        super().__init__()
        self.tokens = tokens
        self.trunk, self.shared = nn.Linear(inputs, inputs), nn.Linear(inputs, width)
        self.heads = nn.ModuleList(nn.Linear(width, classes) for _ in range(tasks))
        self.head_flops = 2 * tokens * width * classes  # of one pass through one head
        self.weight_flops = 2 * tokens * inputs * width  # of one gradient of the weight
        self.x = torch.randn(tokens, inputs)

    def losses(self):
        features = self.shared(self.trunk(self.x))
        return [head(features).square().sum() for head in self.heads]


@pytest.mark.parametrize("tasks", [2, 7])
def test_the_work_is_one_pass_through_the_heads_and_a_product_a_task(tasks):
    model = WideModel(tasks)
    losses = torch.stack(model.losses())
    for run in (SharedLayer(model.shared).gradients, SharedLayer(model.shared).norms):
        assert flops(lambda run=run: run(losses)) == tasks * (model.head_flops + model.weight_flops)


def test_the_usual_ways_run_every_head_for_every_task():
    tasks = 7
    model = WideModel(tasks)
    losses = torch.stack(model.losses())
    parameters = list(model.shared.parameters())
    batched = flops(
        lambda: torch.autograd.grad(
            losses, parameters, torch.eye(tasks), retain_graph=True, is_grads_batched=True
        )
    )
    assert batched >= tasks * (tasks * model.head_flops + model.weight_flops)
    assert flops(lambda: naive(losses, parameters)) == batched


def test_nothing_below_the_layer_is_visited_and_each_head_once():
    model = Model()
    below = torch.tanh(model.trunk(torch.randn(EXAMPLES, INPUTS)))
    features = model.shared(below)
    hidden = [head[0](features) for head in model.heads]
    visits = dict.fromkeys(["below", *range(TASKS)], 0)

    def count(name):
        visits[name] += 1

    below.register_hook(lambda g: count("below"))
    for task, tensor in enumerate(hidden):
        tensor.register_hook(lambda g, task=task: count(task))
    losses = torch.stack([h.sin().sum() for h in hidden])
    SharedLayer(model.shared).norms(losses)
    assert visits == {"below": 0, **dict.fromkeys(range(TASKS), 1)}
    losses.sum().backward()
    assert visits == {"below": 1, **dict.fromkeys(range(TASKS), 2)}


def test_tokens_without_gradient_take_no_part_in_the_product():
    model = WideModel(4)
    features = model.shared(model.x)[:8]
    losses = torch.stack([head(features).square().sum() for head in model.heads])
    found = flops(lambda: SharedLayer(model.shared).gradients(losses))
    assert found == 4 * (model.head_flops + model.weight_flops) / 8


def test_tokens_with_the_same_gradient_take_part_once():
    model = WideModel(4)
    features = model.shared(model.x).view(8, 8, -1).mean(1)
    losses = torch.stack([head(features).square().sum() for head in model.heads])
    found = flops(lambda: SharedLayer(model.shared).gradients(losses))
    assert found == 4 * (model.head_flops + model.weight_flops) / 8


def test_norms_of_few_examples_come_from_inner_products():
    model = WideModel(10, tokens=3, inputs=40, width=30)
    losses = torch.stack(model.losses())
    found = flops(lambda: SharedLayer(model.shared).norms(losses))
    assert found == 10 * model.head_flops + 2 * 3 * 3 * (40 + 10 * 30)
    assert found < 10 * (model.head_flops + model.weight_flops) / 3
    assert_right(losses, model.shared)


class LargestTensor(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numel = max([self.numel, *sizes])
        return result


@pytest.mark.parametrize("pass_bytes", [2**21, 2**14])
def test_norms_hold_neither_all_gradients_nor_large_batches(pass_bytes, monkeypatch):
    monkeypatch.setitem(_gradient_run.PASS_BYTES, "cpu", pass_bytes)
    tasks, width = 32, 30
    model = WideModel(tasks, tokens=16, inputs=20, width=width)
    features = torch.tanh(model.shared(model.x))  # a node that the tasks share
    losses = torch.stack([head(features).square().sum() for head in model.heads])
    with LargestTensor() as seen:
        SharedLayer(model.shared).norms(losses)
    assert seen.numel <= max(pass_bytes // 8, width * 20)
    assert seen.numel < tasks * width * 20
    if pass_bytes == 2**21:
        assert seen.numel == tasks * 16 * width
    assert_right(losses, model.shared)


@given(data=st.data())
def test_fewer_rows_have_the_same_product(data):
    entries = st.integers(-2, 2)
    row = st.lists(entries, min_size=2, max_size=2)
    # Few different rows, so that zeros and equal neighbours are frequent.
    chosen = data.draw(st.lists(st.sampled_from([[0, 0], [1, 2], [1, 0], data.draw(row)])))
    delta = torch.tensor(chosen, dtype=torch.float64).view(-1, 2)
    inputs = torch.randint(-9, 10, (len(delta), 3)).double()
    less, summed = fewer_rows(delta, inputs)
    assert torch.equal(less.mT @ summed, delta.mT @ inputs)
    assert len(less) == len(summed) <= len(delta)
    assert torch.all(less.any(1))
    if len(less) == len(delta):
        assert less is delta
        assert summed is inputs
