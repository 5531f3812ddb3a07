import pytest
import torch
from torchjd import aggregation
from torchjd.autojac import backward, jac_to_grad

from taskrobust import TorchJDBalancer, plan_accumulation
from taskrobust.balancers._seeding import seeded
from taskrobust.risks import task_sums
from tests.taskrobust.balancers.torchjd_cases import (
    LOOKING_AT_GRADIENTS,
    SHARES,
    STATEFUL_AGGREGATORS,
    TASKS,
    Network,
    Projector,
    batch,
)

on_each_method = pytest.mark.parametrize("name", LOOKING_AT_GRADIENTS)
CPU = torch.device("cpu")
GRAMIAN_OF_A_BARE_WEIGHTING = ("CRMOGM of a Gramian",)
BARE = ("CRMOGM of a Gramian", "CRMOGM of a Jacobian", "bare weighting")
FORGETFUL = sorted(
    set(LOOKING_AT_GRADIENTS)
    - set(STATEFUL_AGGREGATORS)
    - {"CRMOGM in an aggregator", "Krum", *BARE}
)


def jacobian(network, seed):
    """Gradients of the task risks at the shared layer, one backward pass a task."""
    rows = []
    for risk in network(batch(seed)):
        found = torch.autograd.grad(risk, list(network.shared.parameters()), retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def aggregated(name, method, matrix):
    """What TorchJD makes of a Jacobian."""
    if name not in BARE:
        return method(matrix)
    stat = matrix @ matrix.T if name in GRAMIAN_OF_A_BARE_WEIGHTING else matrix
    return method(stat) @ matrix


def flat_gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def double(method):
    """With the vectors of an aggregator's method in the precision of the test."""
    for part in method.modules():
        for key, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                setattr(part, key, value.double())
    return method


@on_each_method
def test_the_gradient_at_the_shared_layer_is_the_aggregation_step_after_step(name):
    network, method = Network(), double(LOOKING_AT_GRADIENTS[name]())
    balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared, seed=5)
    for step in range(5):
        network.zero_grad()
        balancer(network(batch(step))).backward()
        with seeded(f"5 {step}", CPU):
            expected = aggregated(name, method, jacobian(network, step))
        torch.testing.assert_close(flat_gradient(network.shared), expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["MGDA", "UPGrad", "CAGrad", "IMTLG", "AlignedMTL", "Mean"])
def test_torchjds_own_engine_gives_the_same_gradient_and_weights(name):
    ours, theirs = Network(), Network()
    method = LOOKING_AT_GRADIENTS[name]
    balancer = TorchJDBalancer(method(), TASKS, ours.shared)
    balancer(ours(batch(0))).backward()
    shared = list(theirs.shared.parameters())
    backward(list(theirs(batch(0))), inputs=shared)
    weights = jac_to_grad(shared, double(method()))
    torch.testing.assert_close(flat_gradient(ours.shared), flat_gradient(theirs.shared))
    last = balancer.last
    torch.testing.assert_close(last.scale * last.weights, weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["UPGrad", "DualProj"])
def test_the_aggregation_conflicts_with_no_task(name):
    network = Network()
    balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared)
    balancer(network(batch(0))).backward()
    rows = jacobian(network, 0)
    assert (rows @ rows.T < -1e-3).any(), "no conflict to resolve"
    assert (rows @ flat_gradient(network.shared) >= -1e-9).all()


@on_each_method
def test_heads_get_the_gradient_of_the_loss_with_the_same_weights(name):
    network = Network()
    balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared, scale=3.0)
    risks = network(batch(0))
    loss = balancer(risks)
    last = balancer.last
    coefficients = last.scale * last.weights
    assert loss.item() == pytest.approx((coefficients @ risks.detach()).item(), rel=1e-12)
    heads = list(network.heads.parameters())
    expected = torch.autograd.grad(risks, heads, coefficients, retain_graph=True)
    found = torch.autograd.grad(loss, heads)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_the_scale_of_unnormalised_weights_is_in_the_log():
    method = aggregation.UPGrad(projector=Projector())
    balancer = TorchJDBalancer(method, 2, [torch.nn.Parameter(torch.zeros(2))])
    matrix = torch.tensor([[1.0, 0.0], [-2.0, 0.5]])
    balancer(torch.ones(2), task_gradients=matrix)
    weights = method.weighting(matrix)
    assert weights.sum() > 1.5
    torch.testing.assert_close(balancer.last.scale, weights.sum())
    torch.testing.assert_close(balancer.last.weights, weights / weights.sum())


@pytest.mark.parametrize("name", FORGETFUL)
def test_absent_tasks_are_as_if_they_had_never_been_there(name):
    network, method = Network(), double(LOOKING_AT_GRADIENTS[name]())
    present = torch.tensor([True, False, True, True])
    if name in ("AlignedMTL", "UPGrad"):
        method.pref_vector = method.pref_vector[present]
    if name == "Constant":
        method = aggregation.Constant(torch.tensor(SHARES)[present].double())
    balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared)
    balancer(network(batch(0)), present).backward()
    with seeded("0 0", CPU):
        expected = method(jacobian(network, 0)[present])
    torch.testing.assert_close(flat_gradient(network.shared), expected, rtol=1e-6, atol=1e-10)
    assert balancer.last.weights[1] == 0


@pytest.mark.parametrize("name", [*STATEFUL_AGGREGATORS, "CRMOGM in an aggregator"])
def test_methods_with_memory_refuse_absent_tasks(name):
    network = Network()
    balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared)
    present = torch.tensor([True, False, True, True])
    with pytest.raises(ValueError, match="every step; absent at step 0: task 1"):
        balancer(network(batch(0)), present)


@on_each_method
def test_given_task_gradients_stand_in_for_the_graph(name):
    network = Network()
    by_graph, given = (
        TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared) for _ in range(2)
    )
    for step in range(3):
        risks = network(batch(step))
        by_graph(risks)
        leaf = risks.detach().requires_grad_()
        loss = given(leaf, task_gradients=jacobian(network, step))
        (coefficients,) = torch.autograd.grad(loss, leaf)
        last = by_graph.last
        torch.testing.assert_close(coefficients, last.scale * last.weights, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["MGDA", "UPGrad", "GradVac", "ExcessMTL", "CRMOGM of a Gramian"])
def test_accumulation_over_micro_batches_is_the_step_on_the_whole_batch(name):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    groups = torch.tensor([0, 1, 2, 3] * 3)

    def gradients(size):
        network = Network()
        balancer = TorchJDBalancer(LOOKING_AT_GRADIENTS[name](), TASKS, network.shared)

        def forward(part):
            outputs = network.heads(torch.tanh(network.shared(x[part])))
            values = outputs.gather(1, groups[part][:, None]).squeeze(1)
            return task_sums((values - x[part].sum(1)).square(), groups[part], TASKS)

        parts = [slice(i, i + size) for i in range(0, 12, size)]
        for _ in range(2):
            plan = plan_accumulation(balancer, forward, parts)
            for part in parts:
                plan.loss(forward(part)).backward()
        return flat_gradient(network)

    torch.testing.assert_close(gradients(3), gradients(12), rtol=1e-9, atol=1e-11)


def test_a_gradient_scale_is_taken_out_again():
    network = Network()
    plain, scaled = (
        TorchJDBalancer(aggregation.MGDA(), TASKS, network.shared, gradient_scale=scale)
        for scale in (1.0, 2.0**-1060)
    )
    plain(network(batch(0)))
    scaled(network(batch(0)))
    assert not torch.equal(plain.last.weights, scaled.last.weights), "the scale is not used"
    scaled = TorchJDBalancer(aggregation.MGDA(), TASKS, network.shared, gradient_scale=2.0**16)
    scaled(network(batch(0)))
    assert torch.equal(plain.last.weights, scaled.last.weights)


def test_only_methods_that_look_at_gradients_say_so():
    layer = torch.nn.Linear(1, 1)
    assert TorchJDBalancer(aggregation.MGDA(), 2, layer).needs_task_gradients
    assert not TorchJDBalancer("Mean", 2).needs_task_gradients
    assert not TorchJDBalancer.needs_task_gradients
    with pytest.raises(NotImplementedError, match="needs no task gradients"):
        TorchJDBalancer("Mean", 2).task_gradients(torch.ones(2))


def test_parameters_of_the_shared_layer_are_not_the_balancers():
    assert list(TorchJDBalancer(aggregation.MGDA(), 2, torch.nn.Linear(1, 1)).parameters()) == []


def test_risks_without_graph_and_gradients_of_another_shape_are_refused():
    balancer = TorchJDBalancer(aggregation.MGDA(), 2, torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"`losses` should have a graph, .* MGDA looks"):
        balancer(torch.ones(2))
    with pytest.raises(
        ValueError, match=r"`task_gradients` should have shape \(2, n\); found \(3,"
    ):
        balancer(torch.ones(2), task_gradients=torch.ones(3, 5))


def test_without_any_task_the_loss_is_zero():
    network = Network()
    balancer = TorchJDBalancer(aggregation.MGDA(), TASKS, network.shared)
    loss = balancer(network(batch(0)), torch.zeros(TASKS, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not flat_gradient(network).any()
