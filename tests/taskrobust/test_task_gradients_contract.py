import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from taskrobust.task_gradients import SharedLayer
from tests.taskrobust.task_gradient_cases import (
    CASES,
    EXAMPLES,
    INPUTS,
    WIDTH,
    Model,
    assert_right,
    checkpointed,
    naive,
    token_groups,
)


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def name_of(value):
    return value.__name__ if callable(value) else None


class WithoutBatching(torch.autograd.Function):
    """Looks at its gradient, which no batched pass allows."""

    @staticmethod
    def forward(ctx, x):  # noqa: ARG004
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):  # noqa: ARG004
        return 2 * gradient if float(gradient.abs().max()) >= 0 else gradient


class Broken(WithoutBatching):
    @staticmethod
    def backward(ctx, gradient):  # noqa: ARG004
        raise RuntimeError("broken on purpose")


def test_where_batches_are_impossible_tasks_go_one_after_the_other():
    model = Model()
    losses = torch.stack(model.losses(WithoutBatching.apply(model())))
    layer = assert_right(losses, model.shared)
    assert not layer.batched
    assert assert_right(torch.stack(model.losses(torch.tanh(model()))), model.shared).batched


def test_other_errors_of_the_graph_are_passed_on():
    model = Model()
    losses = torch.stack(model.losses(Broken.apply(model())))
    with pytest.raises(RuntimeError, match="broken on purpose"):
        SharedLayer(model.shared).norms(losses)


@pytest.mark.parametrize("case", [CASES[0], CASES[3], token_groups, checkpointed], ids=name_of)
def test_the_backward_pass_that_follows_finds_everything_as_it_was(case):
    results = []
    for look in (False, True):
        torch.manual_seed(1)
        model = Model()
        losses, shared = case(model)
        if look:
            SharedLayer(shared).gradients(losses)
            SharedLayer(shared).norms(losses)
            assert all(p.grad is None for p in model.parameters())
        losses.sum().backward()
        results.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_the_graph_is_not_kept_alive():
    model = Model()
    layer = SharedLayer(model.shared)
    losses = torch.stack(model.losses(model()))
    layer.norms(losses)
    losses.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        layer.norms(losses)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # dynamo looks at it
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("part", ["trunk", "heads", "all"])
def test_compiled_parts_make_no_difference(part, backend):
    torch.compiler.reset()
    model = Model()
    x = torch.randn(EXAMPLES, INPUTS)

    def compiled(function):
        return torch.compile(function, backend=backend)

    if part == "all":
        losses = compiled(lambda x: torch.stack(model.losses(model(x))))(x)
    elif part == "trunk":
        losses = torch.stack(model.losses(model.shared(compiled(model.trunk)(x))))
    else:
        features = model(x)
        losses = torch.stack([compiled(head)(features).mean() for head in model.heads])
    assert_right(losses, model.shared)
    losses.sum().backward()


def test_half_precision_gradients_are_put_together_in_single_precision():
    torch.set_default_dtype(torch.float32)
    model = Model()
    x = torch.randn(64, INPUTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = torch.stack([loss.float() for loss in model.losses(model(x))])
        layer = SharedLayer(model.shared)
        gradients, norms = layer.gradients(losses), layer.norms(losses)
    assert gradients.dtype == norms.dtype == torch.float32
    # The same output gradients, multiplied in float64.
    rough = naive(losses, layer.parameters())
    torch.testing.assert_close(gradients, rough, rtol=0.03, atol=0.005 * float(rough.abs().max()))
    torch.testing.assert_close(norms, gradients.norm(dim=1), rtol=1e-6, atol=0)
    # Not rounded to half precision, unlike what autograd gives.
    assert torch.equal(rough[:, :WIDTH].bfloat16().float(), rough[:, :WIDTH])
    assert not torch.equal(gradients[:, :WIDTH].bfloat16().float(), gradients[:, :WIDTH])


def test_layers_in_half_precision_have_gradients_in_single_precision():
    torch.set_default_dtype(torch.float32)
    model = Model().bfloat16()
    losses = torch.stack(model.losses(model(torch.randn(8, INPUTS, dtype=torch.bfloat16))))
    layer = SharedLayer(model.shared)
    assert layer.gradients(losses).dtype == layer.norms(losses).dtype == torch.float32


def test_a_gradient_scale_saves_float16_gradients_from_underflow():
    torch.set_default_dtype(torch.float32)
    model = Model()
    x = torch.randn(64, INPUTS)
    exact = SharedLayer(model.shared).norms(torch.stack(model.losses(model(x))) * 1e-7)
    with torch.autocast("cpu", dtype=torch.float16):
        losses = torch.stack([loss.float() for loss in model.losses(model(x))]) * 1e-7
    lost = SharedLayer(model.shared).norms(losses)
    saved = SharedLayer(model.shared, gradient_scale=2.0**16)
    assert torch.all(lost < 0.3 * exact)
    torch.testing.assert_close(saved.norms(losses), exact, rtol=0.02, atol=0)
    gradients = saved.gradients(losses)
    torch.testing.assert_close(gradients.norm(dim=1), exact, rtol=0.02, atol=0)


def test_a_gradient_scale_that_is_a_power_of_two_changes_no_bit():
    model = Model()
    losses = torch.stack(model.losses(model()))
    for method in ("gradients", "norms"):
        plain = getattr(SharedLayer(model.shared), method)(losses)
        scaled = getattr(SharedLayer(model.shared, gradient_scale=2.0**20), method)(losses)
        assert torch.equal(plain, scaled)


def test_gradients_are_laid_out_in_the_order_of_the_parameters():
    model = Model()
    losses = torch.stack(model.losses(model()))
    weight, bias = model.shared.weight, model.shared.bias
    both = SharedLayer([bias, weight]).gradients(losses)
    assert torch.equal(both[:, WIDTH:], SharedLayer([weight]).gradients(losses))
    assert torch.equal(both[:, :WIDTH], SharedLayer([bias]).gradients(losses))


def test_parameters_replaced_later_are_found():
    model = Model()
    layer = SharedLayer(model.shared)
    model.shared.weight = nn.Parameter(torch.randn(WIDTH, INPUTS))
    losses = torch.stack(model.losses(model()))
    torch.testing.assert_close(layer.gradients(losses), naive(losses, layer.parameters()))


def test_a_deep_copy_follows_the_model_it_is_copied_with():
    model = Model()
    for layer in (SharedLayer(model.shared), SharedLayer([model.shared.weight])):
        alone = copy.deepcopy(layer)
        assert [p is q for p, q in zip(alone.parameters(), layer.parameters(), strict=True)]
        other, beside = copy.deepcopy((model, layer))
        assert beside.parameters()[0] is other.shared.weight
        assert_right(torch.stack(other.losses(other())), beside.shared)
        with pytest.raises(ValueError, match="of a copy"):
            layer.norms(torch.stack(other.losses(other())))


def test_pickled_with_its_model_it_stays_with_it():
    model = Model()
    layer = SharedLayer(model.shared)
    layer.norms(torch.stack(model.losses(model())))
    other, beside = pickle.loads(pickle.dumps((model, layer)))
    assert beside.shared is other.shared
    file = io.BytesIO()
    torch.save(model, file)  # no hook in it
    assert not model.shared._forward_hooks


@pytest.mark.parametrize(
    ("shared", "error", "message"),
    [
        ("linear", TypeError, "`shared` should be a module or a list of parameters"),
        ([1.0], TypeError, "`shared` should be a module or a list of parameters"),
        (nn.ReLU(), ValueError, "`shared` should have a parameter that requires gradients"),
        ([], ValueError, "`shared` should have a parameter that requires gradients"),
        (nn.Linear(2, 2).requires_grad_(False), ValueError, "requires gradients"),
    ],
)
def test_what_is_no_layer_is_refused(shared, error, message):
    with pytest.raises(error, match=message):
        SharedLayer(shared)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_gradient_scale_has_to_be_positive(scale):
    with pytest.raises(ValueError, match=r"`gradient_scale` should be in \(0, inf\); found"):
        SharedLayer(nn.Linear(2, 2), gradient_scale=scale)


def test_losses_that_do_not_fit_are_refused():
    model = Model()
    layer = SharedLayer(model.shared)
    good = torch.stack(model.losses(model()))
    with pytest.raises(ValueError, match=r"`losses` should have shape \[T\]; found \[5, 1\]"):
        layer.gradients(good[:, None])
    with pytest.raises(ValueError, match=r"`losses` should have shape \[T\]; found \[0\]"):
        layer.gradients(good[:0])
    with pytest.raises(ValueError, match="`losses` should have a graph"):
        layer.norms(good.detach())
    for alien in (Model(), model):
        inputs = torch.randn(2, INPUTS, requires_grad=True)
        reentrant = checkpoint(alien, inputs, use_reentrant=alien is model)
        losses = torch.stack(alien.losses(reentrant))
        with pytest.raises(ValueError, match="`losses` should depend on the parameters"):
            layer.norms(losses)
