import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from taskrobust import TorchJDBalancer, plan_accumulation
from taskrobust.balancers._module_state import fit_state
from taskrobust.risks import task_sums
from tests.taskrobust.balancers.torchjd_cases import (
    REMEMBERING,
    SCALARIZERS,
    SHARES,
    TASKS,
    bare_scalarizer,
    scalarizer,
)

DETERMINISTIC = sorted(set(SCALARIZERS) - {"Random"})
FORGETFUL = sorted(set(SCALARIZERS) - set(REMEMBERING))

on_each_scalarizer = pytest.mark.parametrize("name", SCALARIZERS)
histories = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(0.5, 5, (7, TASKS)).tolist()
)
few = settings(max_examples=20)  # times the number of methods


def leaf(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def gradient(function, values):
    risks = leaf(values)
    loss = function(risks)
    (found,) = torch.autograd.grad(loss, risks)
    return loss.item(), found


@pytest.mark.parametrize("name", DETERMINISTIC)
@few
@given(history=histories, scale=st.sampled_from([1.0, 0.25]))
def test_loss_and_gradient_are_those_of_torchjd_step_after_step(name, history, scale):
    ours, theirs = scalarizer(name, scale=scale), bare_scalarizer(name)
    for k, values in enumerate(history):
        loss, found = gradient(ours, values)
        expected_loss, expected = gradient(theirs, values)
        assert loss == scale * expected_loss
        assert torch.equal(found, scale * expected)
        if name == "FAMO":
            ours.method.update(0.9 * leaf(values))
            theirs.update(0.9 * leaf(values))
        if k % 2:
            ours.end_epoch()
            if name == "DWA":
                theirs.step()


@on_each_scalarizer
@few
@given(history=histories, scale=st.sampled_from([1.0, 0.25]))
def test_the_log_is_the_gradient_in_the_risks(name, history, scale):
    balancer = scalarizer(name, scale=scale)
    for values in history:
        _, found = gradient(balancer, values)
        last = balancer.last
        torch.testing.assert_close(last.scale * last.weights, found, rtol=1e-12, atol=1e-14)
        if found.sum() > 0:
            assert last.weights.sum().item() == pytest.approx(1, abs=1e-9)
            assert last.scale.item() == pytest.approx(found.sum().item(), rel=1e-12)
        else:
            assert last.scale.item() == scale
        assert not any(t.requires_grad for t in last if t is not None)


@pytest.mark.parametrize("weights", [[-1.0, -2.0], [1.0, -1.0], [0.0, 0.0]])
def test_coefficients_without_a_positive_sum_are_logged_as_they_are(weights):
    balancer = TorchJDBalancer("Constant", 2, options={"weights": weights}, scale=3.0)
    balancer(torch.ones(2))
    assert balancer.last.weights.tolist() == weights
    assert balancer.last.scale.item() == 3


def test_random_weights_are_positive_shares_that_follow_seed_and_step_only():
    def run(seed):
        balancer, found = TorchJDBalancer("Random", TASKS, seed=seed), []
        for k in range(3):
            torch.manual_seed(100 * seed + k)
            balancer(torch.ones(TASKS))
            found.append(balancer.last.weights)
        return torch.stack(found)

    first, again, other = run(0), run(0), run(1)
    assert torch.equal(first, again)
    assert (first > 0).all()
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, other)


@on_each_scalarizer
def test_the_random_state_of_the_process_is_left_alone(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    scalarizer(name)(leaf(SHARES))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "count"), [("UW", 1), ("IMTLL", 1), ("FAMO", 0), ("STCH", 0)])
def test_learned_parameters_are_handed_to_the_optimiser_once_and_famos_never(name, count):
    groups = scalarizer(name).param_groups(lr=0.5)
    assert [len(group["params"]) for group in groups] == [1] * count
    assert all(group["lr"] == 0.5 and group["weight_decay"] == 0 for group in groups)
    assert len(list(scalarizer(name).parameters())) == (1 if name in ("UW", "IMTLL", "FAMO") else 0)


@pytest.mark.parametrize("name", ["UW", "IMTLL"])
def test_learned_parameters_get_their_gradient_also_without_a_graph_of_the_risks(name):
    ours, theirs = scalarizer(name), bare_scalarizer(name)
    ours(leaf(SHARES).detach()).backward()
    theirs(leaf(SHARES).detach()).backward()
    (found,), (expected,) = ours.parameters(), theirs.parameters()
    assert torch.equal(found.grad, expected.grad)


@pytest.mark.parametrize("name", FORGETFUL)
def test_risks_without_graph_give_a_loss_without_graph(name):
    balancer = scalarizer(name)
    assert not balancer(leaf(SHARES).detach()).requires_grad
    with torch.no_grad():
        assert not balancer(leaf(SHARES)).requires_grad
    assert math.isfinite(balancer.last.weights.sum().item())


def on_present(name, present):
    """TorchJD's own object for the present tasks, its vectors cut by hand."""
    method = bare_scalarizer(name)
    for key in ("weights", "reference"):
        if key in SCALARIZERS[name]:
            setattr(method, key, getattr(method, key)[present])
    return method


@pytest.mark.parametrize("name", sorted(set(FORGETFUL) - {"Random"}))
@few
@given(
    values=st.lists(st.floats(0.5, 5), min_size=TASKS, max_size=TASKS),
    present=st.lists(st.booleans(), min_size=TASKS, max_size=TASKS).filter(any),
)
def test_absent_tasks_are_as_if_they_had_never_been_there(name, values, present):
    mask = torch.tensor(present)
    balancer, method = scalarizer(name), on_present(name, mask)
    risks = leaf(values)
    loss = balancer(torch.where(mask, risks, torch.nan), mask)
    (found,) = torch.autograd.grad(loss, risks)
    expected_loss, expected = gradient(method, risks.detach()[mask].tolist())
    assert loss.item() == expected_loss
    assert torch.equal(found[mask], expected)
    assert (balancer.last.weights[~mask] == 0).all()
    everyone, expected_loss = balancer(risks), bare_scalarizer(name)(risks)
    assert everyone.item() == expected_loss.item()


@pytest.mark.parametrize("name", FORGETFUL)
def test_without_any_task_the_loss_is_zero_with_zero_gradient(name):
    balancer, risks = scalarizer(name), leaf(SHARES)
    loss = balancer(risks, torch.zeros(TASKS, dtype=torch.bool))
    (found,) = torch.autograd.grad(loss, risks)
    assert loss.item() == 0
    assert found.tolist() == balancer.last.weights.tolist() == [0] * TASKS


@pytest.mark.parametrize("name", REMEMBERING)
def test_methods_with_memory_refuse_absent_tasks_by_name_and_change_nothing(name):
    names = ["tags", "words", "lines", "pages"]
    balancer = scalarizer(name, task_names=names)
    balancer(leaf(SHARES))
    before = balancer.state_dict()["_extra_state"]
    present = torch.tensor([True, False, True, False])
    with pytest.raises(ValueError, match=rf"TorchJD's {name} .* at step 1: words, pages$"):
        balancer(leaf(SHARES), present)
    assert torch.equal(balancer.state_dict()["_extra_state"], before)


def test_a_skipped_step_is_not_remembered():
    balancer = scalarizer("DWA", nonfinite="skip")
    balancer(leaf([1.0, 2, 3, 4]))
    balancer(leaf([1.0, math.nan, 3, 4]))
    assert balancer.method._n_batches == 1
    assert balancer.skipped == 1


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_accumulation_over_micro_batches_is_the_step_on_the_whole_batch(name):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    groups = torch.tensor([0, 1, 2, 3] * 3)

    def gradients(size):
        model = nn.Linear(3, 1, dtype=torch.float64)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        balancer = scalarizer(name)

        def forward(part):
            return task_sums(model(x[part]).square().squeeze(1), groups[part], TASKS)

        parts = [slice(i, i + size) for i in range(0, 12, size)]
        plan = plan_accumulation(balancer, forward, parts)
        for part in parts:
            plan.loss(forward(part)).backward()
        learned = [p for group in balancer.param_groups() for p in group["params"]]
        return torch.cat([p.grad.flatten() for p in [*model.parameters(), *learned]])

    torch.testing.assert_close(gradients(2), gradients(12), rtol=1e-12, atol=1e-13)


def test_half_losses_are_computed_in_single_precision():
    balancer = TorchJDBalancer("STCH", TASKS, options=SCALARIZERS["STCH"])
    assert balancer(torch.rand(TASKS).half()).dtype == torch.float32
    assert balancer.last.weights.dtype == torch.float32


def test_vectors_and_cache_keys_of_a_method_follow_the_risks():
    part = nn.Module()
    part.key = (3, torch.float64, torch.device("cpu"))
    part.vectors = [torch.ones(2), torch.ones(2, dtype=torch.int64)]
    fit_state(part, torch.float16, torch.device("meta"))
    assert part.key == (3, torch.float16, torch.device("meta"))
    assert [v.dtype for v in part.vectors] == [torch.float16, torch.int64]
    assert {v.device.type for v in part.vectors} == {"meta"}
    fit_state(part, None, torch.device("meta"))
    assert part.vectors[0].dtype == part.key[1] == torch.float16


def test_equal_risks_get_the_weights_of_a_plain_mean_from_symmetric_methods():
    for name in ("Mean", "Sum", "GeometricMean", "UW", "IMTLL", "DWA"):
        balancer = scalarizer(name)
        balancer(leaf([2.0] * TASKS))
        np.testing.assert_allclose(balancer.last.weights, 1 / TASKS, rtol=1e-14)
