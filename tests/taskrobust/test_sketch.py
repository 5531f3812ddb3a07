import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from taskrobust import _gradient_run
from taskrobust.task_gradients import SharedLayer, Sketch
from tests.taskrobust.task_gradient_cases import CASES, INPUTS, TASKS, WIDTH, Model, naive

SEEDS = 600


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def name_of(value):
    return value.__name__ if callable(value) else None


def sketched(rows, parameters, sketch):
    """Sketches of whole gradients ``[T, n]``, parameter by parameter."""
    matrices = sketch.matrices([p.shape for p in parameters], rows.dtype, rows.device)
    found = []
    for part, p, signs in zip(
        rows.split([p.numel() for p in parameters], 1), parameters, matrices, strict=True
    ):
        if signs is None:
            found.append(part)
        else:
            columns = part.unflatten(1, p.shape)
            found.append(torch.einsum("toi,ki->tok", columns, signs).flatten(1))
    return torch.cat(found, 1)


@pytest.mark.parametrize("readable", [True, False], ids=["host", "device"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_sketches_are_those_of_one_backward_pass_a_task(case, readable, monkeypatch):
    if not readable:
        monkeypatch.setattr(_gradient_run, "READABLE", set())
    losses, shared = case(Model())
    layer, sketch = SharedLayer(shared), Sketch(3, seed=5)
    expected = sketched(naive(losses, layer.parameters()), layer.parameters(), sketch)
    for found in (layer.gradients, layer.global_gradients):
        torch.testing.assert_close(found(losses, sketch=sketch), expected, rtol=1e-12, atol=1e-13)
    for found in (layer.norms, layer.global_norms):
        norms = found(losses, sketch=sketch)
        torch.testing.assert_close(norms, expected.norm(dim=1), rtol=1e-12, atol=1e-13)


def estimates(gradient, size):
    """Squared norms of sketches of a gradient ``[d_out, d_in]`` with different seeds."""
    found = []
    for seed in range(SEEDS):
        (signs,) = Sketch(size, seed).matrices([gradient.shape], gradient.dtype, gradient.device)
        found.append((gradient @ signs.mT).square().sum())
    return torch.stack(found)


@given(
    width_out=st.integers(1, 6),
    width_in=st.integers(2, 20),
    size=st.integers(1, 12),
    rank=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, derandomize=True)
def test_squared_norms_are_right_on_average_and_vary_as_the_formula_says(
    width_out, width_in, size, rank, seed
):
    size = min(size, width_in - 1)
    torch.manual_seed(seed)
    gradient = torch.randn(width_out, rank) @ torch.randn(rank, width_in)
    exact = gradient.square().sum()
    inner = gradient.mT @ gradient
    variance = 2 / size * (inner.square().sum() - inner.diagonal().square().sum())
    assert variance <= 2 / size * (inner @ inner).trace() <= 2.000001 / size * exact**2
    found = estimates(gradient, size)
    # 4.5 standard errors; those of a variance for a kurtosis of at most 15, the χ²'s of one degree.
    assert (found.mean() - exact).abs() <= 4.5 * (variance / SEEDS).sqrt()
    assert (found.var() / variance - 1).abs() <= 4.5 * (14 / SEEDS) ** 0.5


def test_ratios_of_norms_are_better_than_norms_where_gradients_point_alike():
    common, first, second = torch.randn(3, 4, 50)
    first, second = common + 0.2 * first, 3 * common + 0.2 * second
    one, other = estimates(first, 16).log(), estimates(second, 16).log()
    alike = (one - other).std()
    independent = (one - other.roll(1)).std()
    assert alike < 0.3 * one.std()
    assert independent > 1.2 * one.std()


def test_a_seed_gives_the_same_signs_again_and_another_seed_other_signs():
    shapes = [torch.Size([3, 40]), torch.Size([3]), torch.Size([2, 40])]
    first, none, third = Sketch(8, 1).matrices(shapes, torch.float32, torch.device("cpu"))
    again = Sketch(8, 1).matrices(shapes, torch.float32, torch.device("cpu"))
    other = Sketch(8, 2).matrices(shapes, torch.float32, torch.device("cpu"))
    assert none is None
    assert first.dtype == torch.float32
    assert torch.equal(first, again[0])
    assert torch.equal(third, again[2])
    assert not torch.equal(first, third)
    assert not torch.equal(first, other[0])
    torch.testing.assert_close(first.abs(), torch.full_like(first, 8**-0.5))


def test_no_other_random_state_is_read_or_changed():
    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate()
    shape = [torch.Size([3, 40])]
    first = Sketch(8, 1).matrices(shape, torch.float32, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    torch.rand(1)
    random.random()
    second = Sketch(8, 1).matrices(shape, torch.float32, torch.device("cpu"))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("layer", "inputs", "length"),
    [
        (nn.Linear(6, 5), (2, 6), 5 * 3 + 5),
        (nn.Embedding(7, 6), (2,), 7 * 3),
        (nn.Linear(3, 5), (2, 3), None),
        (nn.Conv1d(4, 2, 3), (2, 4, 5), None),
        (nn.LayerNorm(9), (2, 9), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_matrices_with_more_columns_than_the_sketch_lose_some(layer, inputs, length):
    x = torch.ones(inputs, dtype=torch.long if len(inputs) == 1 else None)
    outputs = layer.double()(x)
    losses = torch.stack([outputs.square().sum(), outputs.sum()])
    rows = SharedLayer(layer).gradients(losses, sketch=Sketch(3))
    if length is None:
        assert torch.equal(rows, SharedLayer(layer).gradients(losses))
    else:
        assert rows.shape == (2, length)


def test_the_work_a_task_shrinks_with_the_columns():
    tasks, tokens, inputs, width, size = 7, 64, 40, 4, 5
    layer, heads = nn.Linear(inputs, width), [nn.Linear(width, 3) for _ in range(tasks)]
    features = layer(torch.randn(tokens, inputs))
    losses = torch.stack([head(features).square().sum() for head in heads])
    with FlopCounterMode(display=False) as counter:
        SharedLayer(layer).norms(losses, sketch=Sketch(size))
    in_heads, sketch = 2 * tokens * width * 3, 2 * tokens * inputs * size
    assert counter.get_total_flops() == sketch + tasks * (in_heads + 2 * tokens * size * width)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "64", None])
def test_a_size_has_to_be_a_positive_integer(size):
    with pytest.raises(ValueError, match=r"`size` .* should be an integer of at least 1; found"):
        Sketch(size)


def test_gradients_in_half_precision_are_sketched_in_single_precision():
    torch.set_default_dtype(torch.float32)
    model = Model().bfloat16()
    losses = torch.stack(model.losses(model(torch.randn(8, INPUTS, dtype=torch.bfloat16))))
    rows = SharedLayer(model.shared).gradients(losses, sketch=Sketch(2))
    assert rows.dtype == torch.float32
    assert rows.shape == (TASKS, 2 * WIDTH + WIDTH)
