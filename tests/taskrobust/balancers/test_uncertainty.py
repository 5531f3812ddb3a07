import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.scalarization import UW

from taskrobust import Uncertainty, create_balancer
from tests.taskrobust.balancers import invariants
from tests.taskrobust.balancers.invariants import FLOATS, histories

INITIALS = (0.0, 0.7, "spread")


def maker(initial=0.3):
    def make(num_tasks, **options):
        start = [0.5 * t - 0.3 for t in range(num_tasks)] if initial == "spread" else initial
        return Uncertainty(num_tasks, initial=start, **options)

    return make


def with_gradients(num_tasks, log_variances, **options):
    """A float64 balancer, and risks that will hold their gradient."""
    balancer = Uncertainty(num_tasks, initial=torch.tensor(log_variances), **options).double()
    return balancer, torch.rand(num_tasks, dtype=torch.float64).requires_grad_()


@given(histories(), st.sampled_from(INITIALS))
def test_weights_are_on_the_simplex_and_with_their_scale_the_gradient(history, initial):
    invariants.check_simplex_and_gradient(maker(initial), history)


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(history, random):
    order = random.sample(range(history.num_tasks), history.num_tasks)
    invariants.check_permutation(maker(), history, order)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data(), history=histories())
def test_resuming_is_never_having_stopped(dtype, data, history):
    cut = data.draw(st.integers(0, history.num_calls))
    invariants.check_resume(maker("spread"), history, cut, dtype)


@given(histories())
def test_evaluation_mode_changes_nothing(history):
    invariants.check_evaluation_freezes(maker(), history)


@given(histories())
def test_half_precision_casts_spare_the_log_variances(history):
    invariants.check_half_precision_casts(maker("spread"), history)


@given(histories())
def test_single_precision_follows_double(history):
    invariants.check_single_precision(maker("spread"), history)


def test_reads_nothing_back_to_the_host():
    invariants.check_no_read_back(Uncertainty(3, nonfinite="ignore"))


def test_the_loss_is_the_formula_over_present_tasks():
    s, risks = [0.5, -1.0, 2.0], [3.0, 5.0, 0.1]
    balancer = Uncertainty(3, initial=torch.tensor(s, dtype=torch.float64), scale=1.5)
    present = torch.tensor([True, False, True])
    loss = balancer(torch.tensor(risks, dtype=torch.float64), present)
    expected = 1.5 * sum(math.exp(-s[t]) * risks[t] + s[t] for t in (0, 2)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-14)


def test_at_zero_log_variances_it_is_the_average():
    losses = torch.rand(5, dtype=torch.float64)
    loss = Uncertainty(5).double()(losses)
    assert loss.item() == pytest.approx(float(losses.mean()), rel=1e-14)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5))
def test_equals_torchjds_at_half_the_sum(log_variances):
    num_tasks = len(log_variances)
    balancer, risks = with_gradients(num_tasks, log_variances, scale=num_tasks / 2)
    oracle, same = UW(num_tasks).double(), risks.detach().clone().requires_grad_()
    with torch.no_grad():
        oracle.log_var.copy_(balancer.log_variances)
    loss, expected = balancer(risks), oracle(same)
    loss.backward()
    expected.backward()
    for found, wanted in (
        (loss, expected),
        (risks.grad, same.grad),
        (balancer.log_variances.grad, oracle.log_var.grad),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=5))
def test_kendalls_classification_form_is_the_same_shifted_by_log_two(log_variances):
    num_tasks = len(log_variances)
    s = torch.tensor(log_variances, dtype=torch.float64).requires_grad_()
    shifted = [value - math.log(2) for value in log_variances]
    balancer = Uncertainty(num_tasks, initial=shifted, scale=num_tasks / 2).double()
    with torch.no_grad():
        balancer.log_variances.copy_(s - math.log(2))
    risks = torch.rand(num_tasks, dtype=torch.float64)
    loss, printed = balancer(risks), torch.sum(torch.exp(-s) * risks + s / 2)
    loss.backward()
    printed.backward()
    constant = num_tasks * math.log(2) / 2
    assert loss.item() == pytest.approx(printed.item() - constant, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(balancer.log_variances.grad, s.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_for_fixed_risks_the_log_variances_go_to_the_logarithms_of_the_risks(optimizer):
    risks = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    balancer = Uncertainty(3, scale=3).double()
    own = optimizer(balancer.param_groups(lr=0.1))
    for _ in range(1_000):
        own.zero_grad()
        balancer(risks).backward()
        own.step()
    torch.testing.assert_close(balancer.log_variances.detach(), risks.log(), rtol=0, atol=1e-8)
    effective = balancer.last.scale * balancer.last.weights
    torch.testing.assert_close(effective, 1 / risks, rtol=1e-7, atol=0)


def test_the_log_variance_of_an_absent_task_gets_a_gradient_of_exactly_zero():
    balancer = Uncertainty(3, initial=[1.0, -2.0, 0.5])
    risks = torch.tensor([1.0, torch.nan, 3.0])
    balancer(risks, torch.tensor([True, False, True])).backward()
    gradient = balancer.log_variances.grad
    assert gradient[1] == 0
    assert torch.all(gradient[[0, 2]] != 0)


def test_its_optimiser_group_is_not_decayed():
    balancer = Uncertainty(2, initial=4.0)
    own = torch.optim.AdamW(balancer.param_groups(), lr=0.5, weight_decay=0.1)
    balancer(torch.ones(2), torch.tensor([True, False])).backward()
    own.step()
    assert balancer.log_variances[1] == 4.0
    assert balancer.log_variances[0] != 4.0


def test_finds_the_noise_of_each_task():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 4, generator=generator)
    targets = inputs[:, :2] + torch.randn(64, 2, generator=generator) * torch.tensor([0.1, 2.0])
    model, balancer = torch.nn.Linear(4, 2), Uncertainty(2)
    groups = [{"params": model.parameters()}, *balancer.param_groups()]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        balancer((model(inputs) - targets).square().mean(0)).backward()
        optimizer.step()
    noise = torch.exp(0.5 * balancer.log_variances.detach())
    torch.testing.assert_close(noise, torch.tensor([0.1, 2.0]), rtol=0.2, atol=0)


@pytest.mark.parametrize("initial", [[0.0], [0.0] * 4, math.inf, math.nan, [[0.0] * 3]])
def test_refuses_initial_values_that_are_not_one_finite_number_a_task(initial):
    with pytest.raises(ValueError, match="`initial` should be one finite number or 3 of them"):
        Uncertainty(3, initial=initial)


def test_initial_values_are_copied_and_kept_in_single_precision_or_wider():
    start = torch.zeros(2, dtype=torch.float64)
    balancer = Uncertainty(2, initial=start)
    start += 1
    assert torch.all(balancer.log_variances == 0)
    assert balancer.log_variances.dtype == torch.float64
    for narrow in (torch.zeros(2).half(), [0, 0], 0):
        assert Uncertainty(2, initial=narrow).log_variances.dtype == torch.float32


def test_is_known_by_name():
    balancer = create_balancer("uncertainty", 2, initial=-0.5, scale=1.0)
    assert type(balancer) is Uncertainty
    assert torch.all(balancer.log_variances == -0.5)
