import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.scalarization import DWA

from taskrobust import DynamicWeightAverage, create_balancer
from tests.taskrobust.balancers import invariants
from tests.taskrobust.balancers.invariants import FLOATS, histories

LONG = histories(max_calls=12)
WINDOWS = (None, 1, 3)


def maker(window=None):
    return lambda num_tasks: DynamicWeightAverage(num_tasks, window=window, temperature=0.5)


def fed(balancer, *epochs):
    """The balancer after epochs of one call each."""
    for risks in epochs:
        balancer(torch.tensor(risks, dtype=torch.float64))
        balancer.end_epoch()
    return balancer


def next_weights(balancer, present=None):
    """The weights of a further call, whose own risks do not matter to them."""
    balancer(torch.ones(balancer.num_tasks, dtype=torch.float64), present)
    return balancer.last.weights


def softmax(exponents):
    powers = [math.exp(x) for x in exponents]
    return [p / math.fsum(powers) for p in powers]


@given(LONG, st.sampled_from(WINDOWS))
def test_weights_are_on_the_simplex_and_with_their_scale_the_gradient(history, window):
    invariants.check_simplex_and_gradient(maker(window), history)


@given(LONG, st.sampled_from(WINDOWS), st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(history, window, random):
    order = random.sample(range(history.num_tasks), history.num_tasks)
    invariants.check_permutation(maker(window), history, order)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data(), history=LONG, window=st.sampled_from(WINDOWS))
def test_resuming_is_never_having_stopped(dtype, data, history, window):
    cut = data.draw(st.integers(0, history.num_calls))
    invariants.check_resume(maker(window), history, cut, dtype)


@given(LONG, st.sampled_from(WINDOWS))
def test_evaluation_mode_changes_nothing(history, window):
    invariants.check_evaluation_freezes(maker(window), history)


@given(histories())
def test_half_precision_casts_spare_the_history(history):
    invariants.check_half_precision_casts(maker(), history)


@given(histories(max_calls=12, decades=1))
def test_single_precision_follows_double(history):
    invariants.check_single_precision(maker(), history)


@pytest.mark.parametrize("window", WINDOWS)
def test_reads_nothing_back_to_the_host(window):
    invariants.check_no_read_back(DynamicWeightAverage(3, window=window, nonfinite="ignore"))


@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=6),
    st.integers(1, 6),
    st.sampled_from([0.3, 2.0, 10.0]),
    st.integers(0, 2**31),
)
def test_equals_torchjds_times_the_number_of_tasks(epochs, num_tasks, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    balancer = DynamicWeightAverage(num_tasks, temperature=temperature, scale=num_tasks).double()
    oracle = DWA(temperature)
    for calls in epochs:
        for _ in range(calls):
            risks = 0.1 + torch.rand(num_tasks, dtype=torch.float64, generator=generator)
            same = risks.clone().requires_grad_()
            expected = oracle(same)
            expected.backward()
            loss = balancer(risks)
            torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
            found = balancer.last.scale * balancer.last.weights
            torch.testing.assert_close(found, same.grad, rtol=1e-12, atol=0)
        oracle.step()
        balancer.end_epoch()


@given(LONG)
def test_equals_a_plain_loop_over_each_tasks_windows(history):
    balancer = DynamicWeightAverage(history.num_tasks, window=3).double()
    means = [[] for _ in range(history.num_tasks)]
    current = [[] for _ in range(history.num_tasks)]
    for k, (risks, present) in enumerate(zip(history.risks, history.present, strict=True)):
        there = [t for t in range(history.num_tasks) if present[t]]
        ratios = [means[t][-1] / means[t][-2] if len(means[t]) > 1 else 1.0 for t in there]
        top = max(ratios, default=0.0)
        expected = softmax([(r - top) / 2 for r in ratios])
        balancer(risks, present)
        assert balancer.last.weights[there].tolist() == pytest.approx(expected, rel=1e-10)
        for t in there:
            current[t].append(float(risks[t]))
        if k % 3 == 2:
            for t in range(history.num_tasks):
                if current[t]:
                    means[t].append(math.fsum(current[t]) / len(current[t]))
            current = [[] for _ in range(history.num_tasks)]


@given(LONG, st.integers(1, 4))
def test_a_window_of_n_calls_is_an_epoch_of_n_calls(history, window):
    by_count = DynamicWeightAverage(history.num_tasks, window=window).double()
    by_epoch = DynamicWeightAverage(history.num_tasks).double()
    for k, row in enumerate(zip(history.risks, history.present, strict=True), start=1):
        assert torch.equal(by_count(*row), by_epoch(*row))
        by_count.end_epoch()  # to no effect
        if k % window == 0:
            by_epoch.end_epoch()
        assert torch.equal(by_count.last.weights, by_epoch.last.weights)
    invariants.assert_same_state(by_count.state_dict(), by_epoch.state_dict())


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.integers(1, 3))
def test_the_first_two_windows_have_uniform_weights_whatever_the_risks(risks, window):
    balancer = DynamicWeightAverage(len(risks), window=window).double()
    for k in range(2 * window):
        balancer(torch.tensor(risks, dtype=torch.float64) * (k + 1))
        assert balancer.last.weights.tolist() == pytest.approx([1 / len(risks)] * len(risks))


def test_the_task_that_falls_slowest_gets_the_weight():
    weights = next_weights(fed(DynamicWeightAverage(3).double(), [8, 4, 2], [4, 4, 4]))
    assert weights.tolist() == pytest.approx(softmax([0.25, 0.5, 1.0]), rel=1e-14)


def test_torchjds_state_dict_loses_the_history_and_ours_keeps_it():
    oracle, balancer = DWA(), DynamicWeightAverage(2).double()
    for risks in ([1.0, 4.0], [1.0, 1.0]):
        oracle(torch.tensor(risks))
        oracle.step()
        fed(balancer, risks)
    risks = torch.tensor([1.0, 0.0])
    fresh, ours = DWA(), DynamicWeightAverage(2).double()
    fresh.load_state_dict(oracle.state_dict())
    ours.load_state_dict(balancer.state_dict())
    assert oracle.state_dict() == {}
    assert oracle(risks) > 1.1
    assert fresh(risks) == 1.0
    assert torch.equal(next_weights(ours), next_weights(balancer))
    assert next_weights(ours)[0] > 0.55


def test_a_window_without_a_task_leaves_its_mean_and_its_ratio():
    balancer = fed(DynamicWeightAverage(2).double(), [1, 2], [1, 1])
    only_first = torch.tensor([True, False])
    for risk in (2.0, 3.0):
        balancer(torch.tensor([risk, 77.0], dtype=torch.float64), only_first)
        balancer.end_epoch()
    assert balancer.means.tolist() == [3.0, 1.0]
    assert balancer.ratios.tolist() == [1.5, 0.5]
    assert next_weights(balancer).tolist() == pytest.approx(softmax([0.75, 0.25]), rel=1e-14)
    fed(balancer, [3, 4])
    # The call that looked at the weights above had risks of 1: means of 2 and 2.5.
    assert balancer.ratios.tolist() == pytest.approx([2 / 3, 2.5])


def test_a_task_counts_as_unchanged_until_two_windows_have_had_it():
    balancer = DynamicWeightAverage(2).double()
    late = [[True, False], [True, False], [True, True], [True, True]]
    ratios = []
    for k, present in enumerate(late):
        balancer(torch.tensor([2.0**-k, 4.0**-k], dtype=torch.float64), torch.tensor(present))
        balancer.end_epoch()
        ratios.append(balancer.ratios.tolist())
    assert ratios == [[1.0, 1.0], [0.5, 1.0], [0.5, 1.0], [0.5, 0.25]]


@pytest.mark.parametrize("before", [0.0, 1e-310])
@pytest.mark.parametrize("after", [0.0, 5.0])
def test_an_undefined_ratio_counts_as_unchanged(before, after):
    balancer = fed(DynamicWeightAverage(2).double(), [before, 1], [after, 2])
    defined = before > 0 and after == 0
    assert balancer.ratios.tolist() == [0.0 if defined else 1.0, 2.0]
    assert torch.isfinite(next_weights(balancer)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_risks_enter_no_mean(bad):
    balancer = DynamicWeightAverage(2, nonfinite="ignore").double()
    for first, second in pairwise([1.0, bad, 3.0, bad]):
        balancer(torch.tensor([first, second], dtype=torch.float64))
    balancer.end_epoch()
    assert balancer.means.tolist() == [2.0, 3.0]
    fed(balancer, [bad, 6])
    assert balancer.means.tolist() == [2.0, 6.0]
    assert balancer.ratios.tolist() == [1.0, 2.0]


def test_skipped_calls_are_in_no_window():
    balancer = DynamicWeightAverage(1, window=2, nonfinite="skip").double()
    for risk in (1.0, math.nan, 3.0):
        balancer(torch.tensor([risk], dtype=torch.float64))
    assert balancer.means.tolist() == [2.0]


def test_calls_in_evaluation_mode_are_in_no_window_but_its_end_may_be_told_there():
    balancer = DynamicWeightAverage(1).double()
    balancer(torch.ones(1, dtype=torch.float64))
    balancer.eval()
    balancer(torch.full((1,), 9.0, dtype=torch.float64))
    balancer.end_epoch()
    assert balancer.means.tolist() == [1.0]


def test_an_epoch_without_calls_is_no_epoch():
    balancer = fed(DynamicWeightAverage(2).double(), [1, 2], [1, 1])
    before = invariants.state(balancer)
    balancer.end_epoch()
    invariants.assert_same_state(balancer.state_dict(), before)


@pytest.mark.parametrize("window", [0, -1, True, 2.0, "epoch"])
def test_refuses_a_window_that_is_no_number_of_calls(window):
    with pytest.raises(ValueError, match="`window` should be an integer of at least 1 or None"):
        DynamicWeightAverage(2, window=window)


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan])
def test_refuses_a_temperature_that_is_not_positive_and_finite(temperature):
    with pytest.raises(ValueError, match="`temperature` should be positive and finite"):
        DynamicWeightAverage(2, temperature=temperature)


def test_is_known_by_name_and_shows_its_arguments():
    balancer = create_balancer("dwa", 2, window=5, scale=2)
    assert type(balancer) is DynamicWeightAverage
    expected = "DynamicWeightAverage(num_tasks=2, scale=2, window=5, temperature=2)"
    assert repr(balancer) == expected
