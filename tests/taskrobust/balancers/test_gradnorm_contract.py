import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from taskrobust import GradNorm, create_balancer, plan_accumulation
from taskrobust.risks import TaskRisks, TaskSums, global_risks, task_sums
from tests.taskrobust.balancers.gradnorm_cases import TASKS, WIDTH, Network, batch


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


@pytest.mark.parametrize("sketch_size", [None, 2])
@pytest.mark.parametrize(("dropout", "pieces"), [(0.0, 1), (0.0, 4), (0.4, 4)])
def test_four_micro_batches_are_one_batch(dropout, pieces, sketch_size):
    states = []
    for step_of in (planned, partial(at_once, pieces=pieces)):
        torch.manual_seed(3)
        model = Micro(dropout)
        balancer = GradNorm(TASKS, model.network.shared, lr=0.3, sketch_size=sketch_size).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for step in range(5):
            optimizer.zero_grad()
            step_of(model, balancer, step)
            optimizer.step()
        states.append((model.state(), dict(balancer.state_dict())))
    torch.testing.assert_close(*states, rtol=1e-12, atol=1e-13)
    assert (states[0][1]["task_weights"] - 1).abs().mean() > 0.02


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
    assert repr(GradNorm(3, layer, sketch_size=8)).endswith("lr=0.025, sketch_size=8)")


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
        ({"gradient_scale": 0.0}, ValueError, "`gradient_scale` should be in"),
        ({"sketch_size": 0}, ValueError, "`sketch_size`. should be an integer of at least 1"),
        ({"sketch_size": 64.0}, ValueError, "`sketch_size`. should be an integer of at least 1"),
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
