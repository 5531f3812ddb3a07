import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import GroupDRO, create_balancer
from tests.taskrobust.balancers import invariants
from tests.taskrobust.balancers.invariants import FLOATS, histories
from tests.taskrobust.exact import EXACT
from tests.theory.solvers.runs import single
from theory.solvers.group_dro import group_dro


def maker(adjusted=False):
    def make(num_tasks):
        options = {"adjustment": 2.0, "group_sizes": [4] * num_tasks} if adjusted else {}
        return GroupDRO(num_tasks, step_size=0.3, **options)

    return make


def call(balancer, risks, present=None):
    """A call with float64 risks; the weights of it."""
    mask = None if present is None else torch.tensor(present)
    balancer(torch.tensor(risks, dtype=torch.float64), mask)
    return balancer.last.weights


def log_mass(balancer):
    """Logarithm of the sum of all weights, 0 but for rounding."""
    return float(torch.logsumexp(balancer.log_weights.double(), 0))


def multiplied(history, step_size, extra=None):
    """The paper's update in 60 digits; weights over the present tasks after each call.

    The weights are multiplied by exp(step size · risk) and divided by a sum, which is that of all
    tasks in the paper and that of the present ones in units of their share where some are absent.
    """
    with localcontext(EXACT):
        rate, tasks = Decimal(step_size), range(history.num_tasks)
        extra = [Decimal(e) for e in extra or [0.0] * history.num_tasks]
        q = [1 / Decimal(history.num_tasks) for _ in tasks]
        for risks, present in zip(history.risks.tolist(), history.present.tolist(), strict=True):
            there = [t for t in tasks if present[t]]
            share = sum(q[t] for t in there)
            raw = {t: q[t] * (rate * (Decimal(risks[t]) + extra[t])).exp() for t in there}
            for t in there:
                q[t] = share * raw[t] / sum(raw.values())
            yield [float(q[t] / share) if present[t] else 0.0 for t in tasks]


@given(histories(), st.booleans())
def test_weights_are_on_the_simplex_and_with_their_scale_the_gradient(history, adjusted):
    invariants.check_simplex_and_gradient(maker(adjusted), history)


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(history, random):
    order = random.sample(range(history.num_tasks), history.num_tasks)
    invariants.check_permutation(maker(), history, order)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data(), history=histories(), adjusted=st.booleans())
def test_resuming_is_never_having_stopped(dtype, data, history, adjusted):
    cut = data.draw(st.integers(0, history.num_calls))
    invariants.check_resume(maker(adjusted), history, cut, dtype)


@given(histories())
def test_evaluation_mode_changes_nothing(history):
    invariants.check_evaluation_freezes(maker(), history)


@given(histories())
def test_half_precision_casts_spare_the_weights(history):
    invariants.check_half_precision_casts(maker(), history)


@given(histories(decades=2))
def test_single_precision_follows_double(history):
    invariants.check_single_precision(maker(), history)


@pytest.mark.parametrize("options", [{}, {"adjustment": 1.0, "group_sizes": [3, 1, 2]}])
def test_reads_nothing_back_to_the_host(options):
    invariants.check_no_read_back(GroupDRO(3, nonfinite="ignore", **options))


@given(histories(max_calls=10), st.sampled_from([0.01, 0.3, 5.0]))
def test_equals_the_multiplicative_update_in_exact_arithmetic(history, step_size):
    balancer = GroupDRO(history.num_tasks, step_size=step_size).double()
    expected = multiplied(history, step_size)
    for risks, present, weights in zip(history.risks, history.present, expected, strict=True):
        loss = balancer(risks, present)
        assert balancer.last.weights.tolist() == pytest.approx(weights, rel=2e-11, abs=1e-300)
        wanted = math.fsum(np.array(weights) * risks.numpy())
        assert loss.item() == pytest.approx(wanted, rel=2e-11, abs=1e-300)


@pytest.mark.parametrize("family", ["max-linear", "quadratic"])
def test_descends_like_the_solver_of_the_theory_in_the_papers_order(family):
    steps, rate = 40, 0.7
    one = single(family, steps)
    balancer = GroupDRO(one.problem.num_tasks, step_size=rate).double()
    step_size = one.setting.radius / (one.setting.lipschitz * math.sqrt(steps))
    theta, visited = one.start, []
    for _ in range(steps):
        visited.append(theta)
        weights = call(balancer, one.problem.losses(theta)).numpy()
        gradient = one.problem.weighted_gradient(theta, weights)
        theta = one.problem.domain.project(theta - step_size * gradient)
    run = {
        order: group_dro(
            one.problem, one.setting, one.start, weights_first=order, weight_rate=rate
        ).final
        for order in (True, False)
    }
    np.testing.assert_allclose(theta, run[True].last, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.mean(visited, axis=0), run[True].average, rtol=0, atol=1e-12)
    assert np.max(np.abs(theta - run[False].last)) > 1e-4


@given(histories(), st.lists(st.integers(1, 10**6), min_size=5, max_size=5))
def test_the_adjustment_enters_the_update_and_not_the_loss(history, sizes):
    sizes, tasks = sizes[: history.num_tasks], history.num_tasks
    balancer = GroupDRO(tasks, step_size=0.5, adjustment=3.0, group_sizes=sizes).double()
    expected = multiplied(history, 0.5, [3.0 / math.sqrt(n) for n in sizes])
    for risks, present, weights in zip(history.risks, history.present, expected, strict=True):
        loss = balancer(risks, present)
        assert balancer.last.weights.tolist() == pytest.approx(weights, rel=2e-11, abs=1e-300)
        assert loss.item() == pytest.approx(float(torch.dot(balancer.last.weights, risks)))


@given(histories(), st.floats(-100, 100))
def test_a_number_added_to_all_risks_of_a_batch_changes_no_weight(history, number):
    plain, moved = (GroupDRO(history.num_tasks, step_size=0.3).double() for _ in range(2))
    for k, (risks, present) in enumerate(zip(history.risks, history.present, strict=True)):
        plain(risks, present)
        moved(risks + k * number, present)
        torch.testing.assert_close(plain.last.weights, moved.last.weights, rtol=1e-10, atol=1e-300)
        torch.testing.assert_close(plain.log_weights, moved.log_weights, rtol=1e-10, atol=1e-10)


@given(histories())
def test_absent_tasks_keep_their_weight_and_the_others_their_total(history):
    balancer = GroupDRO(history.num_tasks, step_size=0.3).double()
    for risks, present in zip(history.risks, history.present, strict=True):
        before = balancer.log_weights.clone()
        balancer(risks, present)
        assert torch.equal(balancer.log_weights[~present], before[~present])
        total, earlier = (w[present].exp().sum() for w in (balancer.log_weights, before))
        assert float(total) == pytest.approx(float(earlier), rel=1e-13)


def test_a_rare_task_of_the_same_risk_keeps_the_same_weight():
    balancer = GroupDRO(3, step_size=0.5).double()
    for k in range(60):
        call(balancer, [2.0, 2.0, 1.0], [True, k % 20 == 0, True])
    # It is compared with the third task in three calls only, but has lost nothing by absence.
    assert balancer.log_weights[1] > math.log(1 / 3)


def test_a_batch_of_one_task_changes_nothing():
    balancer = GroupDRO(3, step_size=0.5).double()
    before = call(balancer, [1.0, 2.0, 0.0])
    assert call(balancer, [50.0, 1.0, 1.0], [True, False, False]).tolist() == [1.0, 0.0, 0.0]
    balancer.eval()
    torch.testing.assert_close(call(balancer, [0.0] * 3), before, rtol=1e-14, atol=0)


def test_evaluation_uses_the_weights_as_they_are():
    balancer = GroupDRO(2, step_size=1.0).double().eval()
    assert call(balancer, [0.0, 9.0]).tolist() == [0.5, 0.5]
    balancer.train()
    trained = call(balancer, [0.0, 1.0])
    assert torch.equal(call(balancer.eval(), [7.0, 0.0]), trained)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
def test_a_long_run_is_the_softmax_of_the_summed_risks_and_its_mass_does_not_drift(
    dtype, tolerance
):
    steps, rate = 10_000, 0.0625
    generator = torch.Generator().manual_seed(0)
    risks = 50 + 0.2 * torch.rand(steps, 3, generator=generator)
    balancer = GroupDRO(3, step_size=rate).to(dtype)
    for row in risks.to(dtype):
        balancer(row)
    exponents = [rate * math.fsum(column) for column in risks.T.tolist()]
    expected = torch.softmax(torch.tensor(exponents, dtype=torch.float64), 0)
    found = balancer.last.weights.double()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    assert abs(log_mass(balancer)) < tolerance


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_extreme_risks_neither_overflow_nor_stick(dtype, size):
    balancer = GroupDRO(3, step_size=10.0).to(dtype)
    masks = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0]]).bool()
    generator = torch.Generator().manual_seed(0)
    for k in range(2_000):
        risks = size * (2 * torch.rand(3, generator=generator, dtype=dtype) - 1)
        balancer(risks, masks[k % 5])
        assert torch.isfinite(balancer.log_weights).all()
        assert torch.all(balancer.last.weights >= 0)
        assert abs(float(balancer.last.weights.sum()) - bool(masks[k % 5].any())) < 1e-6
    for _ in range(10):
        balancer(torch.tensor([0.0, 0.0, size], dtype=dtype))
    assert balancer.last.weights[2] == 1


def test_tasks_whose_weight_is_as_good_as_gone_still_compare_with_each_other():
    balancer = GroupDRO(3)
    for _ in range(5):
        balancer(torch.tensor([3e38, -3e38, -3e38]))
    pair = torch.tensor([False, True, True])
    assert call(balancer, [0.0, 1.0, 1.0], pair.tolist()).tolist() == [0.0, 0.5, 0.5]
    # A double carries on where single precision has no number for the state.
    wide = GroupDRO(3).double()
    for _ in range(5):
        call(wide, [1e308, -7e307, -7e307])
    assert torch.all(wide.log_weights[1:] < torch.finfo(torch.float32).min)
    wide(torch.tensor([0.0, 1.0, 1.0]), pair)
    assert wide.last.weights.tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_risks_take_no_part_in_the_update(bad):
    balancer, other = (
        GroupDRO(3, step_size=0.5, nonfinite=n).double() for n in ("ignore", "raise")
    )
    call(balancer, [1.0, bad, 3.0])
    call(other, [1.0, 0.0, 3.0], [True, False, True])
    assert torch.equal(balancer.log_weights, other.log_weights)
    torch.testing.assert_close(balancer.last.weights, balancer.log_weights.exp())


def test_the_arguments_are_not_part_of_the_state():
    balancer = GroupDRO(2, adjustment=1.0, group_sizes=torch.tensor([1, 4]))
    assert set(balancer.state_dict()) == {"log_weights", "_extra_state"}


@pytest.mark.parametrize("step_size", [0, -0.1, math.inf, math.nan])
def test_refuses_a_step_size_that_is_not_positive_and_finite(step_size):
    with pytest.raises(ValueError, match="`step_size` should be positive and finite"):
        GroupDRO(2, step_size=step_size)


@pytest.mark.parametrize("adjustment", [-1.0, math.inf, math.nan])
def test_refuses_an_adjustment_out_of_range(adjustment):
    with pytest.raises(ValueError, match="`adjustment` should be positive and finite"):
        GroupDRO(2, adjustment=adjustment, group_sizes=[1, 2])


@pytest.mark.parametrize("options", [{"adjustment": 1.0}, {"group_sizes": [1, 2]}])
def test_refuses_an_adjustment_without_group_sizes_and_the_reverse(options):
    with pytest.raises(ValueError, match="`adjustment` and `group_sizes` should be given together"):
        GroupDRO(2, **options)


@pytest.mark.parametrize("sizes", [[1], [0, 1], [1.5, 2.0], [True, True], [[1, 2]]])
def test_refuses_group_sizes_that_are_no_counts(sizes):
    with pytest.raises(ValueError, match="`group_sizes` should be 2 integers of at least 1"):
        GroupDRO(2, adjustment=1.0, group_sizes=sizes)


def test_is_known_by_name_and_shows_its_arguments():
    balancer = create_balancer("group-dro", 2, step_size=0.1, adjustment=2, group_sizes=[5, 6])
    assert type(balancer) is GroupDRO
    assert repr(balancer) == "GroupDRO(num_tasks=2, step_size=0.1, adjustment=2)"
