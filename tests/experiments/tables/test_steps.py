"""What a step of each method costs, as exact facts, and that its executions agree."""

import pytest
import torch

from experiments.tables.step_cost import measurement, steps
from experiments.tables.step_cost.measurement import count
from experiments.tables.step_cost.pass_counter import Passes
from taskrobust.balancers import balancer_info, list_balancers
from tests.experiments.tables.helpers import MLP, TRANSFORMER, TRUNKS, double

METHODS = steps.methods()
LOSSES_ONLY = [
    name for name in list_balancers() if not balancer_info(name).balancer.needs_task_gradients
]
TASKS = (2, 5)


def found(balancer, execution, variant=""):
    key = (balancer, execution, variant)
    (method,) = [m for m in METHODS if (m.balancer, m.execution, m.variant) == key]
    return method


def counted(method, sizes, tasks):
    return count(method, sizes, tasks, seed=0)


def forward_flops(sizes, tasks):
    """Two for every multiplication of the MLP's and its heads' matrix products."""
    trunk = sizes.inputs * sizes.width + (sizes.depth - 1) * sizes.width**2
    return 2 * sizes.batch * trunk, 2 * sizes.batch * tasks * sizes.width * sizes.classes


def test_the_average_in_one_pass_comes_first():
    assert (METHODS[0].balancer, METHODS[0].execution) == ("average", "one pass")


def test_every_balancer_of_the_registry_is_measured():
    names = [method.balancer for method in METHODS if method.execution == "one pass"]
    assert set(list_balancers()) <= set(names)
    assert len(names) == len(set(names))


def test_no_two_methods_share_a_name():
    keys = [(m.balancer, m.execution, m.variant) for m in METHODS]
    assert len(keys) == len(set(keys))
    assert {m.execution for m in METHODS} == set(steps.EXECUTIONS)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
@pytest.mark.parametrize("name", LOSSES_ONLY)
def test_balancers_that_look_at_losses_cost_one_ordinary_step(name, sizes, tasks):
    passes, flops = counted(found(name, "one pass"), sizes, tasks)
    assert passes == Passes(forward=1, heads=tasks, last_shared=1, trunk=1)
    assert flops == counted(METHODS[0], sizes, tasks)[1]


@pytest.mark.parametrize("tasks", TASKS)
def test_flops_of_the_ordinary_step_are_those_by_hand(tasks):
    trunk, heads = forward_flops(MLP, tasks)
    no_gradient_of_the_inputs = 2 * MLP.batch * MLP.inputs * MLP.width
    expected = 3 * (trunk + heads) - no_gradient_of_the_inputs
    assert counted(METHODS[0], MLP, tasks)[1] == expected


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("name", ["uncertainty", "dwa", "minimax"])
def test_losses_in_a_pass_of_their_own_cost_one_forward_pass_more(name, tasks):
    passes, flops = counted(found(name, "losses apart"), MLP, tasks)
    assert passes == Passes(forward=2, heads=tasks, last_shared=1, trunk=1)
    assert flops - counted(METHODS[0], MLP, tasks)[1] == sum(forward_flops(MLP, tasks))


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
@pytest.mark.parametrize("name", ["average", "uncertainty", "dwa", "minimax"])
def test_a_backward_pass_a_task_is_counted_t_times(name, sizes, tasks):
    passes, _ = counted(found(name, "task by task"), sizes, tasks)
    assert passes == Passes(forward=1, heads=tasks, last_shared=tasks, trunk=tasks)


@pytest.mark.parametrize("tasks", TASKS)
def test_flops_of_a_backward_pass_a_task_are_those_by_hand(tasks):
    trunk, heads = forward_flops(MLP, tasks)
    backward = 2 * trunk - 2 * MLP.batch * MLP.inputs * MLP.width
    _, flops = counted(found("minimax", "task by task"), MLP, tasks)
    assert flops == trunk + tasks * backward + 3 * heads


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
def test_norms_by_t_calls_visit_the_last_shared_layer_t_times_more(sizes, tasks):
    passes, _ = counted(found("gradnorm", "gradient norms", "layer"), sizes, tasks)
    assert passes == Passes(forward=1, heads=2 * tasks, last_shared=tasks + 1, trunk=1)
    passes, _ = counted(found("gradnorm", "gradient norms", "trunk"), sizes, tasks)
    assert passes == Passes(forward=1, heads=2 * tasks, last_shared=tasks + 1, trunk=tasks + 1)


@pytest.mark.parametrize("tasks", TASKS)
def test_our_gradnorm_takes_one_backward_pass_of_the_trunk(tasks):
    for sizes in TRUNKS:
        passes, flops = counted(found("gradnorm", "one pass"), sizes, tasks)
        assert (passes.forward, passes.trunk) == (1, 1)
        assert flops > counted(METHODS[0], sizes, tasks)[1]


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
def test_jacobian_methods_take_t_passes_of_the_trunk(sizes, tasks):
    passes, _ = counted(found("MGDA", "Jacobian", "torchjd"), sizes, tasks)
    assert passes == Passes(forward=1, heads=tasks, last_shared=tasks, trunk=tasks)
    passes, _ = counted(found("MGDA", "Jacobian", "balancer"), sizes, tasks)
    assert (passes.last_shared, passes.trunk) == (tasks + 1, tasks + 1)


@pytest.mark.parametrize("name", ["addmm_", "baddbmm_"])
def test_matrix_products_in_place_are_counted(name):
    shapes = [(4, 6), (4, 5), (5, 6)] if name == "addmm_" else [(3, 4, 6), (3, 4, 5), (3, 5, 6)]

    def with_product(model, batch):
        step = METHODS[0].make(model, batch)
        total, left, right = map(torch.zeros, shapes)

        def longer():
            step()
            getattr(total, name)(left, right)

        return longer

    _, flops = counted(steps.Method("longer", "one pass", with_product), MLP, 3)
    products = 2 * 4 * 5 * 6 * (1 if name == "addmm_" else 3)
    assert flops - counted(METHODS[0], MLP, 3)[1] == products


def gradients(method, sizes, num_tasks, num_steps=2):
    """Gradients of the model after a few steps on one batch."""
    model, batch = double(sizes, num_tasks)
    step = method.make(model, batch)
    for _ in range(num_steps):
        step()
    return [p.grad for p in model.parameters()], model


@pytest.mark.parametrize("sizes", TRUNKS, ids=lambda sizes: sizes.kind)
@pytest.mark.parametrize("name", ["average", "uncertainty", "dwa", "gradnorm", "minimax"])
def test_every_execution_of_a_method_takes_the_same_step(name, sizes):
    expected, _ = gradients(found(name, "one pass"), sizes, 3)
    others = [
        method
        for method in METHODS
        if method.balancer == name
        and method.execution != "one pass"
        and method.variant != "trunk"  # norms of other gradients
    ]
    assert others
    for method in others:
        for gradient, same in zip(gradients(method, sizes, 3)[0], expected, strict=True):
            torch.testing.assert_close(gradient, same, rtol=1e-9, atol=1e-12)


def test_the_balancer_of_torchjd_takes_its_step_of_the_trunk():
    ours, model = gradients(found("MGDA", "Jacobian", "balancer"), TRANSFORMER, 3)
    theirs, _ = gradients(found("MGDA", "Jacobian", "torchjd"), TRANSFORMER, 3)
    shared = len(list(model.trunk.parameters()))
    for gradient, same in zip(ours[:shared], theirs[:shared], strict=True):
        torch.testing.assert_close(gradient, same, rtol=1e-6, atol=1e-9)


def test_without_torchjd_its_rows_are_left_out(monkeypatch):
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    names = {method.balancer for method in steps.methods()}
    assert names == set(list_balancers())


def test_a_step_that_backpropagates_per_task_would_be_seen_as_such():
    def slow_minimax(model, batch):
        def step():
            for loss in model.losses(batch):
                loss.backward(retain_graph=True)

        return step

    slow = steps.Method("minimax", "one pass", slow_minimax)
    passes, flops = counted(slow, MLP, 4)
    assert passes.trunk == 4
    assert flops > 1.5 * counted(METHODS[0], MLP, 4)[1]
    assert measurement.count(METHODS[0], MLP, 4, seed=0)[0].trunk == 1
