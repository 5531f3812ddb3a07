"""Per-task risks in one process, against loops over Python numbers.

What many processes make of them is tested in tests/taskrobust/distributed.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskrobust.risks import (
    TaskSums,
    all_sum,
    global_risks,
    grouped_risks,
    mean_risks,
    num_ranks,
    task_sums,
)

FLOATING = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
INTEGERS = [np.uint8, np.int8, np.int16, np.int32, np.int64]


@st.composite
def batches(draw, max_side=5):
    """Values, task ids of the same shape (some negative, there NaN or infinite) and T."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=max_side))
    num_groups = draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(INTEGERS))
    low = 0 if dtype is np.uint8 else -3
    groups = draw(hnp.arrays(dtype, shape, elements=st.integers(low, num_groups - 1)))
    values = draw(hnp.arrays(np.float64, shape, elements=st.floats(-100, 100)))
    ignored = groups < 0
    junk = draw(st.sampled_from([math.nan, math.inf, -math.inf, 7.0]))
    values = np.where(ignored, junk, values)
    return torch.tensor(values), torch.tensor(groups), num_groups


def by_loop(values, groups, num_groups):
    """Sum, sum of sizes, and count of each task, summed without rounding."""
    members = [[] for _ in range(num_groups)]
    for value, group in zip(values.flatten().tolist(), groups.flatten().tolist(), strict=True):
        if 0 <= group < num_groups:
            members[group].append(value)
    sums = [math.fsum(m) for m in members]
    sizes = [math.fsum(map(abs, m)) for m in members]
    return sums, sizes, [len(m) for m in members]


@given(batches(), st.sampled_from(FLOATING))
def test_sums_and_counts_are_those_of_a_loop(batch, dtype):
    values, groups, num_groups = batch
    values = values.to(dtype)
    sums, sizes, counts = by_loop(values, groups, num_groups)
    found = task_sums(values, groups, num_groups)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.sums.dtype == found.counts.dtype == wide
    assert found.counts.tolist() == counts
    # n - 1 additions and one rounding to the dtype of the result
    unit = torch.finfo(wide).eps / 2
    for total, exact, size, count in zip(found.sums.tolist(), sums, sizes, counts, strict=True):
        assert abs(total - exact) <= count * unit * size * 1.01


@given(batches())
def test_risks_are_means_over_the_present_and_zero_elsewhere(batch):
    values, groups, num_groups = batch
    sums, sizes, counts = by_loop(values, groups, num_groups)
    found = grouped_risks(values, groups, num_groups)
    assert found.present.tolist() == [n > 0 for n in counts]
    assert found.counts.tolist() == counts
    for risk, total, size, count in zip(found.risks.tolist(), sums, sizes, counts, strict=True):
        expected = total / count if count else 0.0
        assert abs(risk - expected) <= 1e-15 * (size + 1) * max(count, 1)


@given(batches())
def test_the_gradient_of_a_risk_is_one_over_the_count_on_its_members(batch):
    values, groups, num_groups = batch
    values.requires_grad_()
    risks, _, counts = grouped_risks(values, groups, num_groups)
    for task in range(num_groups):
        (found,) = torch.autograd.grad(risks[task], values, retain_graph=True)
        members = (groups == task).double()
        torch.testing.assert_close(found, members / counts[task].clamp(min=1), rtol=1e-15, atol=0)


def test_gradients_of_any_order_are_those_of_finite_differences():
    torch.manual_seed(0)
    values = torch.randn(7, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([0, 2, 2, -1, 0, 2, -100])

    def cubed(values):
        return grouped_risks(values, groups, 4).risks.pow(3).sum()

    assert torch.autograd.gradcheck(cubed, values)
    assert torch.autograd.gradgradcheck(cubed, values)


def test_ignored_entries_get_gradient_zero_though_their_value_is_nan():
    values = torch.tensor([1.0, math.nan, 3.0, math.inf], requires_grad=True)
    grouped_risks(values, torch.tensor([0, -100, 0, -1]), 2).risks.sum().backward()
    assert values.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_nan_of_one_task_stays_with_that_task():
    values = torch.tensor([1.0, math.nan, 3.0])
    risks = grouped_risks(values, torch.tensor([0, 1, 2]), 3).risks.tolist()
    assert risks[0] == 1.0
    assert math.isnan(risks[1])
    assert risks[2] == 3.0


@pytest.mark.parametrize("shape", [(0,), (0, 4), ()])
def test_a_batch_without_examples_has_no_present_task_but_a_graph(shape):
    values = torch.zeros(shape, requires_grad=True)
    found = grouped_risks(values, torch.full(shape, -100), 3)
    assert found.risks.tolist() == [0, 0, 0]
    assert not found.present.any()
    found.risks.sum().backward()
    assert not values.grad.any()


def test_gradients_of_all_risks_in_one_batched_call():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    groups = torch.tensor([0, 1, 1, 2, 0, 2, 2, -1])
    risks = grouped_risks(layer(torch.randn(8, 3)).squeeze(1), groups, 4).risks
    (batched,) = torch.autograd.grad(
        risks, layer.weight, torch.eye(4), is_grads_batched=True, retain_graph=True
    )
    for task in range(4):
        (single,) = torch.autograd.grad(risks[task], layer.weight, retain_graph=True)
        torch.testing.assert_close(batched[task], single)
    assert batched[:3].abs().amin() > 0


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_compiled_without_a_graph_break_is_eager(dtype):
    compiled = torch.compile(grouped_risks, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    for size in (5, 9, 12):  # the second size makes the graph dynamic
        groups = torch.randint(-2, 4, (2, size))
        found, expected = [], []
        for function, results in ((compiled, found), (grouped_risks, expected)):
            torch.manual_seed(size)
            values = torch.randn(2, size, dtype=dtype, requires_grad=True)
            risks = function(values, groups, 4)
            torch.sum(risks.risks * torch.arange(1.0, 5.0)).backward()
            results += [*risks, values.grad]
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)


def test_sums_of_two_batches_add_up_to_those_of_both():
    values, groups = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 1, 0, 1])
    first, second = (task_sums(values[i], groups[i], 3) for i in (slice(2), slice(2, 4)))
    both = first.plus(second)
    assert both.sums.tolist() == [5.0, 10.0, 0.0]
    assert both.counts.tolist() == [2.0, 2.0, 0.0]
    with pytest.raises(ValueError, match="should have 3 sums; found 1"):
        first.plus(TaskSums(torch.ones(1), torch.ones(1)))


def test_one_process_needs_no_process_group():
    assert num_ranks() == 1
    tensor = torch.ones(2)
    assert all_sum(tensor) is tensor
    local = TaskSums(torch.tensor([6.0]), torch.tensor([3.0]))
    for reduction in ("mean", "sum"):
        assert global_risks(local, gradient_reduction=reduction).risks.tolist() == [2.0]


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_sums_are_single_precision_under_autocast(autocast):
    values = torch.linspace(0, 1, 1000, dtype=torch.float32)
    groups = torch.zeros(1000, dtype=torch.long)
    expected = grouped_risks(values, groups, 1)
    with torch.autocast("cpu", dtype=autocast):
        found = grouped_risks(values, groups, 1)
    assert found.risks.dtype == torch.float32
    assert torch.equal(found.risks, expected.risks)


def test_a_mean_over_many_losses_is_not_eroded_by_adding_them_one_by_one():
    torch.manual_seed(0)
    values = 5 + 4 * torch.rand(200_000)
    risk = grouped_risks(values, torch.zeros(200_000, dtype=torch.long), 1).risks.item()
    exact = math.fsum(values.tolist()) / 200_000
    assert abs(risk - exact) <= 3e-7 * exact


VALUES, GROUPS = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"values": VALUES.long()}, TypeError, r"`values` should be floating; found .*int64"),
        ({"values": VALUES.cfloat()}, TypeError, r"`values` should be floating; found .*complex"),
        ({"groups": VALUES}, TypeError, r"`groups` should be integer .* found .*float32"),
        ({"groups": VALUES.cfloat()}, TypeError, r"`groups` should be integer .* found .*complex"),
        ({"groups": VALUES.bool()}, TypeError, r"`groups` should be integer .* found .*bool"),
        ({"groups": GROUPS[0]}, ValueError, r"`groups` should have the shape \(2, 3\).*\(3,\)"),
        ({"groups": GROUPS.T}, ValueError, r"`groups` should have the shape \(2, 3\).*\(3, 2\)"),
        ({"num_groups": 0}, ValueError, r"`num_groups` should be at least 1; found 0"),
        (
            {"gradient_reduction": "max"},
            ValueError,
            r"`gradient_reduction` should be 'mean' or 'sum'; found 'max'",
        ),
    ],
    ids=lambda p: "-".join(p) if isinstance(p, dict) else None,
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = SimpleNamespace(values=VALUES, groups=GROUPS, num_groups=2)
    vars(arguments).update(change)
    with pytest.raises(error, match=message):
        grouped_risks(**vars(arguments))


@pytest.mark.parametrize("task", [3, 4, 1000])
def test_a_task_id_of_the_number_of_tasks_or_more_is_an_error(task):
    groups = torch.tensor([0, task, -100])
    with pytest.raises(ValueError, match=rf"task ids from 0 to 2 .* found {task}"):
        task_sums(torch.ones(3), groups, 3)


def test_means_with_counts_are_the_risks_of_the_examples():
    values, groups = torch.tensor([1.0, 3.0, 5.0, 9.0]), torch.tensor([0, 0, 2, 2])
    expected = grouped_risks(values, groups, 3)
    means = torch.tensor([2.0, math.nan, 7.0], requires_grad=True)
    found = mean_risks(means, torch.tensor([2, 0, 2]))
    torch.testing.assert_close(found, expected)
    found.risks.sum().backward()
    assert means.grad.tolist() == [1, 0, 1]


def test_a_rank_outside_the_group_is_an_error_not_a_negated_gradient(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: -1)
    with pytest.raises(ValueError, match="`process_group` should include this rank"):
        grouped_risks(torch.ones(2), torch.tensor([0, 1]), 2)
