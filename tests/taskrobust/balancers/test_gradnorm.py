import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from taskrobust import GradNorm, create_balancer, plan_accumulation
from taskrobust.risks import TaskRisks, TaskSums, global_risks, task_sums

TASKS, WIDTH = 4, 5


class Network(nn.Module):
    """A trunk, a shared layer and a head a task; the tasks have targets of different sizes."""

    def __init__(self, seed=0, dropout=0.0, tasks=TASKS):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk, self.shared = nn.Linear(3, 6), nn.Linear(6, WIDTH)
            self.heads = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(tasks))
        self.dropout = nn.Dropout(dropout)
        self.double()

    def forward(self, x):
        features = torch.tanh(self.shared(self.dropout(torch.tanh(self.trunk(x)))))
        outputs = torch.cat([head(self.dropout(features)) for head in self.heads], dim=1)
        targets = torch.arange(1, len(self.heads) + 1) * x.sum(1, keepdim=True).sin()
        return (outputs - targets).square()  # [n, tasks]

    def risks(self, x):
        return torch.stack(list(self(x).mean(0).unbind()))


def batch(seed, n=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


class PaperGradNorm:
    """Algorithm 1 of Chen et al. as it stands: autograd for L_grad, torch's Adam, T passes.

    Tasks that are absent from a step are not in its list of tasks.
    """

    def __init__(self, num_tasks, parameters, asymmetry, lr, min_weight, initial=None):
        self.weights = [torch.ones((), dtype=torch.float64) for _ in range(num_tasks)]
        for weight in self.weights:
            weight.requires_grad_()
        self.optimizers = [torch.optim.Adam([weight], lr=lr) for weight in self.weights]
        self.parameters = list(parameters)
        self.asymmetry, self.min_weight = asymmetry, min_weight
        self.initial = dict(enumerate(initial or []))

    def __call__(self, losses, present):
        tasks = [t for t in range(len(losses)) if present[t]]
        for t in tasks:
            self.initial.setdefault(t, losses[t].item())
        loss = sum(self.weights[t].item() * losses[t] for t in tasks)
        norms = []
        for t in tasks:
            found = torch.autograd.grad(losses[t], self.parameters, retain_graph=True)
            norm = torch.sqrt(sum(g.square().sum() for g in found))
            norms.append(self.weights[t] * norm)
        progress = [losses[t].item() / self.initial[t] for t in tasks]
        mean_norm = sum(norm.item() for norm in norms) / len(tasks)
        mean_progress = sum(progress) / len(tasks)
        objective = sum(
            (norm - mean_norm * (p / mean_progress) ** self.asymmetry).abs()
            for norm, p in zip(norms, progress, strict=True)
        )
        total = sum(self.weights[t].item() for t in tasks)
        for t in tasks:
            self.optimizers[t].zero_grad()
        objective.backward()
        for t in tasks:
            self.optimizers[t].step()
        with torch.no_grad():
            for t in tasks:
                self.weights[t].clamp_(min=self.min_weight)
            factor = total / sum(self.weights[t].item() for t in tasks)
            for t in tasks:
                self.weights[t].mul_(factor)
        return loss


def train(network, loss_of, steps):
    """Losses of some steps of gradient descent."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(network, step)
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return torch.stack(found)


masks = st.lists(
    st.lists(st.booleans(), min_size=TASKS, max_size=TASKS).filter(any), min_size=1, max_size=8
)


@pytest.mark.parametrize("layer", ["shared", "trunk"])
@given(
    masks=masks,
    asymmetry=st.sampled_from([0.0, 0.12, 1.5]),
    lr=st.sampled_from([0.025, 0.4]),
    initial=st.sampled_from([None, [0.5, 1.0, 2.0, 8.0]]),
)
@settings(max_examples=15)
def test_training_is_that_of_the_algorithm_as_printed(layer, masks, asymmetry, lr, initial):
    expected_network, network = Network(), Network()
    parameters = getattr(expected_network, layer).parameters()
    paper = PaperGradNorm(TASKS, parameters, asymmetry, lr, 0.01, initial)
    balancer = GradNorm(
        TASKS,
        getattr(network, layer),
        asymmetry=asymmetry,
        lr=lr,
        min_weight=0.01,
        initial_risks=initial,
    ).double()

    def expected_loss(model, step):
        return paper(list(model(batch(step)).mean(0).unbind()), masks[step])

    def loss(model, step):
        present = torch.tensor(masks[step])
        total = balancer.task_weights[present].sum()
        return total * balancer(model.risks(batch(step)), present)

    losses = train(network, loss, len(masks))
    expected = train(expected_network, expected_loss, len(masks))
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=1e-12)
    weights = torch.stack(paper.weights).detach()
    torch.testing.assert_close(balancer.task_weights, weights, rtol=1e-10, atol=1e-12)
    for found, wanted in zip(network.parameters(), expected_network.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_scale_of_the_number_of_tasks_is_the_papers_loss():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, scale=TASKS, lr=0.3).double()
    for step in range(5):
        weights = balancer.task_weights.clone()
        risks = network.risks(batch(step))
        loss = balancer(risks)
        torch.testing.assert_close(loss, weights @ risks, rtol=1e-14, atol=0)
        torch.testing.assert_close(balancer.last.scale * balancer.last.weights, weights)
    assert (weights - 1).abs().min() > 0.1


def test_gradient_norms_of_risks_that_do_not_change_end_up_equal():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, asymmetry=0.0, lr=0.05).double()
    sizes = torch.tensor([1.0, 3.0, 0.5, 8.0], dtype=torch.float64)
    common = network.risks(batch(0))[0]
    for _ in range(300):
        balancer(torch.stack([size * common for size in sizes]))
        balancer.lr *= 0.985
    expected = TASKS / sizes / (1 / sizes).sum()
    torch.testing.assert_close(balancer.task_weights, expected, rtol=0, atol=0.02)


def test_with_asymmetry_a_task_that_lags_behind_gets_the_larger_gradient():
    network = Network()
    common = network.risks(batch(0))[0]
    slow, fast = 0.9, 0.3
    value = float(common.detach())
    initial = [value / slow, value / fast]
    balancer = GradNorm(2, network.shared, asymmetry=1.0, lr=0.05, initial_risks=initial).double()
    for _ in range(200):
        balancer(torch.stack([common, common * 1]))
        balancer.lr *= 0.98
    ratio = balancer.task_weights[0] / balancer.task_weights[1]
    assert ratio == pytest.approx(slow / fast, rel=0.02)


@given(masks=masks)
@settings(max_examples=20)
def test_weights_stay_positive_and_sum_to_the_number_of_tasks(masks):
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=2.0, min_weight=1e-3).double()
    for step, mask in enumerate(masks):
        before = balancer.task_weights.clone()
        present = torch.tensor(mask)
        balancer(network.risks(batch(step)), present)
        after = balancer.task_weights
        assert torch.all(after > 0)
        assert after.sum() == pytest.approx(TASKS, rel=1e-12)
        assert after[present].sum() == pytest.approx(float(before[present].sum()), rel=1e-12)
        assert torch.equal(after[~present], before[~present])


def test_weights_that_adam_takes_below_the_bound_are_set_to_it():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=5.0, min_weight=0.5).double()
    balancer(network.risks(batch(0)))
    # Adam's first step has size lr: up for small gradients, down to the bound for large ones.
    small, large = balancer.task_weights.min(), balancer.task_weights.max()
    assert large / small == pytest.approx((1 + 5) / 0.5)


def test_the_first_risk_of_a_task_is_remembered_until_it_is_given():
    network = Network()
    balancer = GradNorm(3, network.shared).double()
    assert torch.isnan(balancer.initial_risks).all()
    first = network.risks(batch(0))[:3]
    balancer(first, torch.tensor([True, False, True]))
    second = network.risks(batch(1))[:3]
    balancer(second)
    expected = torch.stack([first[0], second[1], first[2]]).detach()
    assert torch.equal(balancer.initial_risks, expected)
    given = GradNorm(3, network.shared, initial_risks=torch.tensor([1, 2, 3])).double()
    given(first)
    assert given.initial_risks.tolist() == [1, 2, 3]


@pytest.mark.parametrize("trouble", ["overflow", "negative", "zero at first"])
def test_tasks_without_a_usable_norm_or_rate_are_left_out_like_absent_ones(trouble):
    network = Network()
    found, expected = (GradNorm(TASKS, network.shared, lr=0.3).double() for _ in range(2))
    if trouble != "zero at first":
        for balancer in (found, expected):
            balancer(network.risks(batch(0)))
    risks = network.risks(batch(1))
    factor = torch.ones(TASKS, dtype=torch.float64)
    if trouble == "overflow":  # a gradient of task 2 that is too large, with a normal risk
        large = torch.tensor([0, 0, 1e300, 0], dtype=torch.float64)
        risks = risks + large * (risks - risks.detach())
    else:
        factor[2] = -1.0 if trouble == "negative" else 0.0
    found(risks * factor)
    expected(network.risks(batch(1)), torch.tensor([True, True, False, True]))
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), equal_nan=True)
    assert (found.task_weights - 1).abs()[[0, 1, 3]].min() > 1e-3


def test_losses_are_weighted_with_the_weights_from_before_the_step():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=0.5).double()
    balancer(network.risks(batch(0)))
    assert torch.equal(balancer.last.weights, torch.full((TASKS,), 0.25, dtype=torch.float64))
    before = balancer.task_weights / TASKS
    balancer(network.risks(batch(1)))
    torch.testing.assert_close(balancer.last.weights, before)
    assert (before - 0.25).abs().min() > 0.01


def test_in_evaluation_mode_nothing_is_differentiated():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=0.5).double()
    balancer(network.risks(batch(0)))
    before = copy.deepcopy(balancer.state_dict())
    balancer.eval()
    with torch.no_grad():
        balancer(network.risks(batch(1)))
    torch.testing.assert_close(balancer.last.weights, balancer.task_weights / TASKS)
    torch.testing.assert_close(balancer.state_dict(), before, rtol=0, atol=0)
    balancer.train()
    with pytest.raises(ValueError, match="`losses` should have a graph"):
        balancer(network.risks(batch(1)).detach())


def test_given_task_gradients_count_instead_of_the_graph():
    network = Network()
    from_graph, given = (GradNorm(TASKS, network.shared, lr=0.3).double() for _ in range(2))
    for step in range(3):
        risks = network.risks(batch(step))
        gradients = given.task_gradients(risks)
        assert gradients.shape == (TASKS, 7 * WIDTH)
        from_graph(risks)
        given(risks.detach(), task_gradients=gradients)
    torch.testing.assert_close(given.state_dict(), from_graph.state_dict(), rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match=r"`task_gradients` should have shape \[4, n\]; found"):
        given(risks, task_gradients=gradients[:3])


class Micro(nn.Module):
    """Sums of a micro-batch; an example has one task."""

    def __init__(self, dropout):
        super().__init__()
        self.network = Network(dropout=dropout)

    def forward(self, inputs):
        x, groups = inputs
        return task_sums(self.network(x).gather(1, groups[:, None])[:, 0], groups, TASKS)

    def state(self):
        return torch.cat([p.detach().flatten() for p in self.parameters()])


def micro_batches(step, pieces):
    # Task 3 is in the last micro-batch only, task 2 is absent from every third step.
    groups = torch.tensor([0, 1, 2, 0, 1, 0, 0, 1, 2, 2, 1, 0, 1, 0, 3, 3])
    groups = torch.where((groups == 2) & torch.tensor(step % 3 == 2), 0, groups)
    return list(zip(batch(step, 16).chunk(pieces), groups.chunk(pieces), strict=True))


def planned(model, balancer, step):
    batches = micro_batches(step, 4)
    plan = plan_accumulation(balancer, model, batches, model=model)
    for one in batches:
        plan.loss(model(one)).backward()


def at_once(model, balancer, step, pieces):
    total = None
    for one in micro_batches(step, pieces):
        local = model(one)
        total = local if total is None else total.plus(local)
    balancer(global_risks(total)).backward()


@pytest.mark.parametrize(("dropout", "pieces"), [(0.0, 1), (0.0, 4), (0.4, 4)])
def test_four_micro_batches_are_one_batch(dropout, pieces):
    states = []
    for step_of in (planned, partial(at_once, pieces=pieces)):
        torch.manual_seed(3)
        model = Micro(dropout)
        balancer = GradNorm(TASKS, model.network.shared, lr=0.3).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for step in range(5):
            optimizer.zero_grad()
            step_of(model, balancer, step)
            optimizer.step()
        states.append((model.state(), dict(balancer.state_dict())))
    torch.testing.assert_close(*states, rtol=1e-12, atol=1e-13)
    assert (states[0][1]["task_weights"] - 1).abs().min() > 0.02


def test_the_layer_is_neither_registered_nor_saved_nor_moved():
    network = Network()
    balancer = GradNorm(TASKS, network.shared)
    assert list(balancer.parameters()) == list(balancer.modules())[1:] == balancer.param_groups()
    assert all(value.numel() <= TASKS for value in balancer.state_dict().values())
    balancer.float()
    assert network.shared.weight.dtype == torch.float64


def test_copies_and_pickles_follow_the_model_they_are_made_with():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, lr=0.3).double()
    balancer(network.risks(batch(0)))
    both = nn.ModuleDict({"network": network, "balancer": balancer})
    for other in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        for step in (1, 2):
            other["balancer"](other["network"].risks(batch(step)))
    for step in (1, 2):
        balancer(network.risks(batch(step)))
    torch.testing.assert_close(
        other["balancer"].state_dict(), balancer.state_dict(), rtol=0, atol=0
    )


def test_a_copy_without_its_model_looks_at_the_old_layer_until_it_is_bound():
    network, other = Network(), Network(seed=1)
    balancer = GradNorm(TASKS, network.shared)
    alone = copy.deepcopy(balancer)
    alone(network.risks(batch(0)))
    for stray in (alone, pickle.loads(pickle.dumps(balancer))):
        with pytest.raises(ValueError, match="of a copy"):
            stray(other.risks(batch(0)))
        stray.bind(other.shared)
        stray(other.risks(batch(0)))


def test_under_float16_autocast_a_gradient_scale_keeps_the_weights():
    found = {}
    for name, autocast, scale in (("exact", False, 1.0), ("lost", True, 1.0), ("kept", True, 2e5)):
        network = Network().float()
        balancer = GradNorm(
            TASKS, network.shared, asymmetry=0.0, lr=0.3, gradient_scale=max(1.0, scale)
        )
        for step in range(6):
            with torch.autocast("cpu", dtype=torch.float16, enabled=autocast):
                balancer(network.risks(batch(step).float()) * 1e-8)
        found[name] = balancer.task_weights
    torch.testing.assert_close(found["kept"], found["exact"], rtol=0.05, atol=0.02)
    assert (found["lost"] - found["exact"]).abs().max() > 0.2


def test_the_registry_asks_for_the_layer():
    with pytest.raises(ValueError, match="balancer 'gradnorm' needs the option 'shared'"):
        create_balancer("gradnorm", 3)
    layer = nn.Linear(2, 2)
    assert isinstance(create_balancer("gradnorm", 3, shared=layer, asymmetry=0.12), GradNorm)
    assert repr(GradNorm(3, layer)) == "GradNorm(num_tasks=3, asymmetry=1.5, lr=0.025)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"asymmetry": -0.1}, ValueError, "`asymmetry` should be positive"),
        ({"asymmetry": True}, TypeError, "`asymmetry` should be a number"),
        ({"lr": 0.0}, ValueError, "`lr` should be positive"),
        ({"eps": 0.0}, ValueError, "`eps` should be positive"),
        ({"betas": (0.9, 1.0)}, ValueError, "`betas` should be two numbers in"),
        ({"betas": (0.9,)}, ValueError, "`betas` should be two numbers in"),
        ({"min_weight": 0.0}, ValueError, "`min_weight` should be positive"),
        ({"min_weight": 1.0}, ValueError, "`min_weight` should be below 1; found 1"),
        ({"initial_risks": [1.0, 2.0]}, ValueError, "`initial_risks` should be 3 positive finite"),
        ({"initial_risks": [1.0, 2.0, 0.0]}, ValueError, "`initial_risks` should be 3 positive"),
        ({"initial_risks": [1.0, 2.0, float("inf")]}, ValueError, "`initial_risks` should be 3"),
        ({"gradient_scale": 0.0}, ValueError, "`gradient_scale` should be positive"),
        ({"gradient_reduction": "max"}, ValueError, "`gradient_reduction` should be"),
        ({"shared": nn.ReLU()}, ValueError, "`shared` should have a parameter"),
        ({"shared": "trunk.3"}, TypeError, "`shared` should be a module or a list"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(options, error, message):
    with pytest.raises(error, match=message):
        GradNorm(3, **{"shared": nn.Linear(2, 2), **options})


def test_risks_with_presence_and_counts_are_taken_as_they_are():
    network = Network()
    present = torch.tensor([True, True, False, True])
    first, second = (GradNorm(TASKS, network.shared).double() for _ in range(2))
    sums = TaskSums(network(batch(0)).sum(0), 8.0 * present)
    risks = global_risks(sums)
    assert isinstance(risks, TaskRisks)
    assert first(risks) == second(risks.risks, present)
    assert torch.equal(first.task_weights, second.task_weights)
