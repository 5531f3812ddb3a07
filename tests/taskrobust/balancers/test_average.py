"""The average over tasks (Eq. 4) and over examples."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import Average, grouped_risks
from tests.taskrobust.balancers.cases import TASKS

RISKS = st.lists(st.floats(-100, 100), min_size=1, max_size=7)


@given(RISKS, st.data())
def test_it_is_the_mean_over_present_tasks(values, data):
    present = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    losses = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    balancer = Average(len(values))
    loss = balancer(losses, torch.tensor(present))
    taken = [v for v, p in zip(values, present, strict=True) if p]
    mean = math.fsum(taken) / max(len(taken), 1)
    assert abs(loss.item() - mean) <= 1e-13 * (1 + math.fsum(map(abs, taken)))
    (gradient,) = torch.autograd.grad(loss, losses)
    share = 1 / max(len(taken), 1)
    assert gradient.tolist() == pytest.approx([share if p else 0.0 for p in present])


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(-1, TASKS - 1)), min_size=1, max_size=30))
def test_over_examples_it_is_the_mean_over_all_examples_with_a_task(pairs):
    values = torch.tensor([v for v, _ in pairs], dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([g for _, g in pairs])
    loss = Average(TASKS, over="examples")(grouped_risks(values, groups, TASKS))
    taken = [v for v, g in pairs if g >= 0]
    expected = math.fsum(taken) / max(len(taken), 1)
    assert abs(loss.item() - expected) <= 1e-13 * (1 + math.fsum(map(abs, taken)))
    loss.backward()
    share = 1 / max(len(taken), 1)
    assert values.grad.tolist() == pytest.approx([share if g >= 0 else 0.0 for _, g in pairs])


def test_the_two_means_differ_where_counts_do():
    risks = grouped_risks(torch.tensor([1.0, 1.0, 4.0]), torch.tensor([0, 0, 1]), 2)
    assert Average(2)(risks) == 2.5
    assert Average(2, over="examples")(risks) == 2.0


def test_the_sum_of_the_authors_code_is_scale_times_the_mean():
    assert Average(3, scale=3)(torch.tensor([1.0, 2.0, 6.0])) == 9


def test_a_mean_over_examples_needs_their_numbers():
    with pytest.raises(ValueError, match=r"`over` = 'examples' needs `counts`"):
        Average(2, over="examples")(torch.ones(2))


def test_an_unknown_mean_is_refused():
    with pytest.raises(ValueError, match="`over` should be 'tasks' or 'examples'; found 'batches'"):
        Average(2, over="batches")
