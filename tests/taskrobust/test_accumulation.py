"""A plan over micro-batches in one process equals one batch; ranks in tests/taskrobust/distributed.

Ground truth is the ordinary step on the concatenated batch, in float64.
"""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from taskrobust import Average, Minimax, NonFiniteRiskError, plan_accumulation, smooth_max
from taskrobust.balancers.base import Balancer, LinearBalancer, on_simplex
from taskrobust.risks import TaskSums, cross_entropy, grouped_risks, task_sums

TASKS = 4


class Learned(Balancer):
    """A balancer with parameters: Σ e^{-s} ℓ + s over present tasks."""

    def __init__(self, num_tasks):
        super().__init__(num_tasks)
        self.s = nn.Parameter(torch.linspace(-0.5, 0.5, num_tasks))

    def _combine(self, risks, present, counts, task_gradients):  # noqa: ARG002
        weights = torch.where(present, torch.exp(-self.s), 0.0)
        loss = torch.sum(weights * risks) + torch.sum(torch.where(present, self.s, 0.0))
        return loss, on_simplex(weights, present), weights.sum()


class InverseNorm(LinearBalancer):
    """A balancer that looks at task gradients: weights inverse to their norms."""

    needs_task_gradients = True

    def __init__(self, num_tasks, shared):
        super().__init__(num_tasks)
        self.shared = [shared]  # no parameter of this module

    def task_gradients(self, losses):
        rows = [torch.autograd.grad(v, self.shared, retain_graph=True)[0] for v in losses]
        return torch.stack(rows).flatten(1)

    def _combine(self, risks, present, counts, task_gradients):
        found = self.task_gradients(risks) if task_gradients is None else task_gradients
        self.norms = found.norm(dim=1)
        return super()._combine(risks, present, counts, task_gradients)

    def _weights(self, risks, present, counts):  # noqa: ARG002
        return on_simplex(1 / self.norms.clamp(min=1e-9), present)


BALANCERS = {
    "average": lambda model: Average(TASKS, scale=3.0),
    "minimax": lambda model: Minimax(TASKS, alpha=2.0),
    "hard": lambda model: Minimax(TASKS, mode="hard"),
    "attached": lambda model: Minimax(TASKS, alpha=2.0, mode="attached"),
    "min_count": lambda model: Minimax(TASKS, alpha=2.0, min_count=3),
    "ema": lambda model: Minimax(TASKS, alpha=2.0, ema=0.5).double(),
    "learned": lambda model: Learned(TASKS).double(),
    "task gradients": lambda model: InverseNorm(TASKS, model[0].weight),
}
every_balancer = pytest.mark.parametrize("name", BALANCERS)


def network(*extra):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), *extra, nn.Linear(5, 1)).double()


def data(groups, seed=0):
    """Examples whose targets grow with their task, so that risks and gradients differ."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.as_tensor(groups)
    x = torch.randn(len(groups), 3, dtype=torch.float64, generator=generator)
    return x, x.sum(1) * 0.3 + groups, groups


def losses(model, batch):
    x, y, groups = batch
    return (model(x).squeeze(1) - y).square(), groups


def forward_of(model):
    return lambda batch: task_sums(*losses(model, batch), TASKS)


def split(batch, sizes):
    return list(zip(*(field.split(sizes) for field in batch), strict=True))


def gradients(*modules):
    return [p.grad for module in modules for p in module.parameters()]


def one_batch(model, balancer, batch):
    loss = balancer(grouped_risks(*losses(model, batch), TASKS))
    loss.backward()
    return loss.detach()


def planned(model, balancer, batches, **options):
    """Both passes; the plan and the values of the second."""
    forward = forward_of(model)
    plan = plan_accumulation(balancer, forward, batches, **options)
    values = []
    for batch in batches:
        loss = plan.loss(forward(batch))
        loss.backward()
        values.append(loss.detach())
    return plan, torch.stack(values)


def assert_same_step(name, batch, sizes, steps=1):
    single, several = network(), network()
    reference, balancer = BALANCERS[name](single), BALANCERS[name](several)
    for _ in range(steps):
        expected = one_batch(single, reference, batch)
        plan, values = planned(several, balancer, split(batch, sizes))
        torch.testing.assert_close(plan.value, expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(values.sum(), expected, rtol=1e-12, atol=1e-12)
        for a, b in zip(gradients(several, balancer), gradients(single, reference), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        torch.testing.assert_close(balancer.last, reference.last, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(
            balancer.state_dict(), reference.state_dict(), rtol=1e-12, atol=1e-13
        )
        for module in (single, several, reference, balancer):  # and on from there
            with torch.no_grad():
                for p in module.parameters():
                    p -= 0.05 * p.grad
                    p.grad = None


@st.composite
def partitions(draw):
    """Task ids of a batch (some ignored) and how to cut it into micro-batches, empty ones too."""
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    groups = st.integers(-1, TASKS - 1)
    return draw(st.lists(groups, min_size=sum(sizes), max_size=sum(sizes))), sizes


@every_balancer
@given(partition=partitions(), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_any_cut_into_micro_batches_equals_one_batch(name, partition, seed):
    groups, sizes = partition
    assert_same_step(name, data(torch.tensor(groups, dtype=torch.long), seed), sizes)


@every_balancer
@pytest.mark.parametrize("sizes", [[16], [4] * 4, [1, 12, 3]], ids=str)
def test_steps_with_uneven_tasks_equal_steps_on_one_batch(name, sizes):
    # Task 3 is in the last micro-batch only, task 2 in the first two.
    groups = [0, 2, 1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 1, 0, 3, 3]
    assert_same_step(name, data(groups), sizes, steps=3)


@every_balancer
def test_weights_of_each_micro_batch_would_be_another_step(name):
    batch = data([0, 2, 1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 1, 0, 3, 3])
    single, several = network(), network()
    one_batch(single, BALANCERS[name](single), batch)
    balancer = BALANCERS[name](several)
    for micro in split(batch, [4] * 4):
        (balancer(grouped_risks(*losses(several, micro), TASKS)) / 4).backward()
    pairs = zip(gradients(several), gradients(single), strict=True)
    assert max((a - b).abs().max() for a, b in pairs) > 1e-3


def test_the_gradient_is_that_of_the_smooth_maximum_of_the_whole_step():
    model, batch = network(), data([0, 1, 1, 3, 0, 0, 0, 3, 1])
    risks, present, _ = grouped_risks(*losses(model, batch), TASKS)
    expected = torch.autograd.grad(smooth_max(risks, 2.0, present), list(model.parameters()))
    planned(model, Minimax(TASKS, alpha=2.0), split(batch, [4, 5]))
    for a, b in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_auxiliary_terms_are_backpropagated_once():
    model, balancer, batch = network(), Learned(TASKS).double(), data([0, 1, 2, 3, 0, 1])
    plan, _ = planned(model, balancer, split(batch, [2, 2, 2]))
    expected = 1 - torch.exp(-balancer.s.detach()) * plan.risks.risks
    torch.testing.assert_close(balancer.s.grad, expected)


def test_the_balancer_is_asked_once():
    balancer = Minimax(TASKS, alpha=1.0, ema=0.9)
    for step in range(1, 4):
        planned(network(), balancer, split(data([0, 1, 2, 3, 0, 1]), [2, 2, 2]))
        assert balancer.step == step


def test_in_evaluation_mode_no_state_changes():
    balancer = Minimax(TASKS, alpha=1.0, ema=0.9).eval()
    before = copy.deepcopy(balancer.state_dict())
    plan, _ = planned(network(), balancer, split(data([0, 1, 2, 3]), [2, 2]))
    torch.testing.assert_close(balancer.state_dict(), before, rtol=0, atol=0)
    assert plan.value > 0


def test_the_first_pass_leaves_no_gradient_behind():
    model, balancer = network(), Learned(TASKS).double()
    plan_accumulation(balancer, forward_of(model), [data([0, 1, 2])])
    assert all(g is None for g in gradients(model, balancer))


def test_the_second_pass_repeats_the_dropout_of_the_first():
    model = network(nn.Dropout(0.5))
    batches = split(data([0, 1, 2, 3, 0, 1, 1, 2]), [3, 5])
    torch.manual_seed(7)
    plan = plan_accumulation(Minimax(TASKS, alpha=1.0), forward_of(model), batches)
    second = [forward_of(model)(batch) for batch in batches]
    third = [forward_of(model)(batch) for batch in batches]
    assert torch.equal(second[0].plus(second[1]).sums / plan.risks.counts, plan.risks.risks)
    assert not torch.equal(third[0].plus(third[1]).sums, second[0].plus(second[1]).sums)


def test_the_random_state_is_put_back_even_if_the_pass_fails():
    def fail(batch):  # noqa: ARG001
        torch.rand(1)
        raise KeyError("labels")

    torch.manual_seed(7)
    before = torch.get_rng_state()
    with pytest.raises(KeyError, match="labels"):
        plan_accumulation(Average(TASKS), fail, [data([0])])
    assert torch.equal(torch.get_rng_state(), before)


class Counter(nn.Module):
    """Counts forward passes in a buffer that it replaces, as `Minimax` does with its averages."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes = self.passes + 1
        return x


@pytest.mark.parametrize("extra", [nn.BatchNorm1d(5), Counter()], ids=lambda m: type(m).__name__)
def test_buffers_of_the_model_change_once_a_step(extra):
    model = network(copy.deepcopy(extra))
    reference = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    batches = split(data([0, 1, 2, 3, 0, 1, 1, 2]), [3, 5])
    plan_accumulation(Average(TASKS), forward_of(model), batches, model=model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    for batch in batches:
        forward_of(model)(batch), forward_of(reference)(batch)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    assert not torch.equal(*(next(m.buffers()) for m in (model, network(copy.deepcopy(extra)))))


def test_without_the_model_its_buffers_change_in_the_first_pass_too():
    model = network(nn.BatchNorm1d(5))
    plan_accumulation(Average(TASKS), forward_of(model), [data([0, 1, 2, 3])])
    assert model[2].num_batches_tracked == 1


def test_buffers_are_put_back_even_if_the_pass_fails():
    model = network(nn.BatchNorm1d(5))
    batches = [data([0, 1, 2]), data([0])]  # a batch of one is an error of batch normalisation
    with pytest.raises(ValueError, match="more than 1 value"):
        plan_accumulation(Average(TASKS), forward_of(model), batches, model=model)
    assert model[2].num_batches_tracked == 0


def nan_batches():
    batches = split(data([0, 1, 2, 3, 0, 1]), [2, 2, 2])
    batches[1][1][0] = math.nan  # a target of task 2
    return batches


def test_a_skipped_plan_changes_nothing():
    model, balancer = network(), Minimax(TASKS, alpha=1.0, ema=0.5, nonfinite="skip")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    before = copy.deepcopy(model.state_dict())
    plan, values = planned(model, balancer, nan_batches())
    assert plan.skipped
    assert math.isnan(plan.risks.risks[2])
    assert plan.value == 0
    assert values.tolist() == [0, 0, 0]
    assert all(g is None for g in gradients(model))
    optimizer.step()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert (balancer.step, balancer.skipped) == (0, 1)
    assert not balancer.seen.any()


def test_a_plan_is_not_skipped_otherwise():
    plan, values = planned(network(), Minimax(TASKS, alpha=1.0, nonfinite="skip"), [data([0, 1])])
    assert not plan.skipped
    assert values > 0


def test_a_non_finite_risk_raises_before_the_second_pass():
    balancer = Minimax(TASKS, alpha=1.0, task_names=["rgb", "depth", "edges", "text"])
    with pytest.raises(NonFiniteRiskError, match=r"step 0: edges = nan;"):
        planned(network(), balancer, nan_batches())
    assert balancer.step == 0


def test_micro_batches_may_come_from_an_iterator():
    model, batches = network(), split(data([0, 1, 2, 3, 0, 1]), [2, 4])

    def first_loss(source):
        plan = plan_accumulation(Minimax(TASKS, alpha=1.0), forward_of(model), source)
        return plan.loss(forward_of(model)(batches[0]))

    expected = first_loss(batches)
    assert torch.equal(first_loss(iter(batches)), expected)
    assert torch.equal(first_loss(batch for batch in batches), expected)
    assert not torch.equal(first_loss(batches[:1]), expected)


def test_no_micro_batch_is_an_error():
    with pytest.raises(ValueError, match="`batches` should hold at least one micro-batch; found"):
        plan_accumulation(Average(TASKS), forward_of(network()), [])


def test_an_unknown_gradient_reduction_is_an_error():
    with pytest.raises(ValueError, match=r"`gradient_reduction` should be .* found 'max'"):
        plan_accumulation(
            Average(TASKS), forward_of(network()), [data([0])], gradient_reduction="max"
        )


def test_loss_scaling_of_half_precision_training_leaves_the_weights_alone():
    torch.manual_seed(0)
    batches = [(torch.randn(6, 8), torch.randint(0, 5, (6,)), torch.arange(6) % 3)] * 2
    found = {}
    for scale in (None, 2.0**12):
        torch.manual_seed(1)
        model, balancer = nn.Linear(8, 5), Minimax(3, alpha=4.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def forward(batch, model=model):
            x, y, groups = batch
            with torch.autocast("cpu", dtype=torch.float16):
                logits = model(x)
                assert logits.dtype == torch.float16
                return task_sums(cross_entropy(logits, y), groups, 3)

        plan = plan_accumulation(balancer, forward, batches)
        for batch in batches:
            scaler.scale(plan.loss(forward(batch))).backward()
        scaler.unscale_(optimizer)
        found[scale] = [balancer.last.weights, plan.value, *gradients(model)]
    assert torch.equal(found[None][0], found[2.0**12][0])
    assert torch.equal(found[None][1], found[2.0**12][1])
    assert found[None][0].max() > 0.4
    for a, b in zip(found[None][2:], found[2.0**12][2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)  # roundings of half precision


def test_sums_in_half_a_batch_are_not_risks():
    # The plan divides by the counts of the whole step, whatever the micro-batch holds of a task.
    local = TaskSums(torch.tensor([2.0, 6.0], requires_grad=True), torch.tensor([1.0, 3.0]))
    other = TaskSums(torch.tensor([4.0, 0.0], requires_grad=True), torch.tensor([1.0, 0.0]))
    plan = plan_accumulation(Average(2), lambda sums: sums, [local, other])
    assert plan.risks.risks.tolist() == [3.0, 2.0]
    plan.loss(local).backward()
    torch.testing.assert_close(local.sums.grad, torch.tensor([1 / 4, 1 / 6]))
