import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.estimates import estimate, paired_difference

numbers = st.floats(-1e3, 1e3)


@given(st.lists(numbers, min_size=2, max_size=8).filter(lambda v: np.std(v) > 1e-6))
def test_intervals_are_those_of_scipys_t_test(values):
    found = estimate(values)
    wanted = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))


@given(st.dictionaries(st.integers(0, 9), st.tuples(numbers, numbers), min_size=3))
def test_differences_are_a_paired_t_test(values):
    ours = {seed: a for seed, (a, _) in values.items()}
    theirs = {seed: b for seed, (_, b) in values.items()}
    found = paired_difference(ours, {**theirs, 77: 1.0})
    each = [ours[seed] - theirs[seed] for seed in values]
    if np.std(each) < 1e-6:
        return
    assert found.value == pytest.approx(np.mean(each), abs=1e-9)
    p_value = stats.ttest_rel([*ours.values()], [*theirs.values()]).pvalue
    if abs(p_value - 0.05) > 1e-6:
        assert (found.sign != 0) == (p_value < 0.05)
        assert found.sign in (0, np.sign(found.value))


def test_one_seed_says_nothing_of_others():
    found = estimate([3.0])
    assert (found.value, found.deviation, found.interval, found.sign) == (3.0, None, None, 0)


def test_differences_are_by_seed_whatever_the_order():
    ours, theirs = {2: 5.0, 0: 1.0, 1: 3.0}, {3: 9.0, 1: 2.0, 0: 1.0, 2: 3.0}
    assert paired_difference(ours, theirs) == estimate([0.0, 1.0, 2.0])


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_seeds_that_agree_to_the_last_digit_cannot_tell(value):
    assert estimate([value, value, value]).sign == 0


def test_no_seed_has_no_mean():
    for values in ([], [1.0, math.nan], [math.inf, 1.0]):
        with pytest.raises(ValueError, match="at least one number, and finite ones; found"):
            estimate(values)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for sample in rng.normal(2.0, 3.0, size=(4000, 3)):
        lower, upper = estimate(sample.tolist()).interval
        covered += lower <= 2.0 <= upper
    assert 0.94 < covered / 4000 < 0.96
