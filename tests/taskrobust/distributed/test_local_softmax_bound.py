"""What averaging over ranks of softmax weights per rank costs at most, and that it can cost it.

With risks f^(j) of rank j and their mean over ranks: the per-rank version minimises the mean of the
smooth maxima of f^(j), which is at least the smooth maximum of the mean.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskrobust import smooth_max, softmax_weights
from tests.taskrobust.helpers import sharpness

RISKS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-20, 20)
)


def excess(risks, alpha):
    """Mean of local smooth maxima minus the smooth maximum of the mean."""
    return np.mean(smooth_max(risks, alpha)) - smooth_max(risks.mean(0), alpha)


def spread(risks):
    """Largest deviation of a task's risk from its mean, by rank."""
    return np.abs(risks - risks.mean(0)).max(1)


@given(RISKS, sharpness(-2, 2))
def test_the_mean_of_local_smooth_maxima_is_above_the_global_one_by_at_most_the_bound(risks, alpha):
    bound = min(alpha / 2 * np.mean(spread(risks) ** 2), np.mean(spread(risks)))
    rounding = 1e-13 * (1 + np.abs(risks).max() + 1 / alpha)
    assert -rounding <= excess(risks, alpha) <= bound + rounding


@given(RISKS, sharpness(-2, 2))
def test_local_weights_differ_from_the_global_ones_by_at_most_the_bound(risks, alpha):
    difference = softmax_weights(risks, alpha) - softmax_weights(risks.mean(0), alpha)
    bound = min(2.0, alpha * np.mean(spread(risks)))
    assert np.mean(np.abs(difference).sum(1)) <= bound * (1 + 1e-12) + 1e-13


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_both_sides_of_the_bound_are_attained(alpha):
    # Two tasks that trade places: quadratic for a small difference, linear for a large one.
    small, large = 1e-3 / alpha, 1e3 / alpha
    for size, bound in ((small, alpha / 2 * small**2), (large, large)):
        risks = np.array([[size, -size], [-size, size]])
        assert excess(risks, alpha) == pytest.approx(bound, rel=1e-3)
    weights = softmax_weights(risks, alpha) - softmax_weights(risks.mean(0), alpha)
    assert np.abs(weights).sum(1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_with_one_task_a_rank_the_mean_of_the_local_ones_is_the_average(tasks):
    risks = np.arange(1.0, tasks + 1)
    present = np.eye(tasks, dtype=bool)
    each = smooth_max(np.tile(risks, (tasks, 1)), 2.0, present)
    assert np.mean(each) == pytest.approx(risks.mean())
    assert smooth_max(risks, 2.0) >= risks.max()
    assert not math.isclose(smooth_max(risks, 2.0), risks.mean(), rel_tol=0.1)
