"""Losses and sharpness at the ends of the floating-point range, infinities and NaN included."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import smooth_max, softmax_gap, softmax_weights
from tests.taskrobust import exact
from tests.taskrobust.helpers import (
    EPS,
    HUGE,
    SUBNORMAL,
    assert_near,
    masked_losses,
    on_each_backend,
    rounding,
    sharpness,
)

FUNCTIONS = pytest.mark.parametrize("function", [softmax_weights, smooth_max, softmax_gap])

extreme_losses = st.lists(
    st.sampled_from(
        [-math.inf, -HUGE, -1e308, -1.0, -1e-308, 0.0, 1e-308, 1.0, 1e308, HUGE, math.inf]
    ),
    min_size=1,
    max_size=6,
).map(np.array)
extreme_sharpness = st.sampled_from(
    [0.0, SUBNORMAL, 1e-308, 1e-300, 1.0, 1e300, 1e308, HUGE, math.inf]
)


def limit_weights(f, alpha):
    """The weights by cases, each a limit of Eq. (7), with relative tolerances."""
    if alpha == 0:
        chosen = np.ones(len(f), dtype=bool)
    elif alpha == math.inf or not math.isfinite(f.max()):
        chosen = f == f.max()
    else:
        finite = np.isfinite(f)
        truth = exact.softmax(f[finite], alpha)
        w, tolerance = np.zeros(len(f)), np.zeros(len(f))
        w[finite] = truth.weights
        tolerance[finite] = 4 * EPS * (np.minimum(np.abs(truth.exponents), 1e4) + len(f) + 4)
        return w, tolerance + alpha * (4 * SUBNORMAL)
    return chosen / np.sum(chosen), np.zeros(len(f))


@on_each_backend
@given(f=extreme_losses, alpha=extreme_sharpness)
def test_weights_are_the_limit_of_their_definition(backend, f, alpha):
    w = backend(softmax_weights, f, alpha)
    assert_near(w, *limit_weights(f, alpha))
    assert np.all(w >= 0)
    assert abs(math.fsum(w) - 1) <= 4 * len(f) * EPS
    np.testing.assert_array_equal(backend(softmax_weights, f, np.array(alpha)), w)


@on_each_backend
@given(f=extreme_losses, alpha=st.sampled_from([1e-290, 1.0, 1e308, HUGE, math.inf]))
def test_smooth_max_stays_above_the_maximum(backend, f, alpha):
    f = np.clip(f, -1e308, 1e308)  # infinities are tested below
    smooth = backend(smooth_max, f, alpha)
    top = f.max()
    assert top <= smooth <= top + 4 * EPS * abs(top) + 2 * math.log(len(f)) / alpha


@on_each_backend
@pytest.mark.parametrize("alpha", [1.0, 1e308, math.inf])
def test_infinite_losses_decide_the_smooth_max(backend, alpha):
    inf = math.inf
    assert backend(smooth_max, np.array([inf, 0.0, -inf]), alpha) == inf
    assert backend(smooth_max, np.array([inf, inf]), alpha) == inf
    assert backend(smooth_max, np.array([-inf, 2.0]), alpha) == 2.0
    assert backend(smooth_max, np.array([-inf, -inf]), alpha) == -inf


@on_each_backend
@pytest.mark.parametrize("alpha", [1.0, 1e308, math.inf])
def test_the_gap_of_infinite_losses_is_zero_where_they_have_no_weight(backend, alpha):
    inf = math.inf
    assert backend(softmax_gap, np.array([inf, 0.0, -inf]), alpha) == 0
    assert backend(softmax_gap, np.array([-inf, 2.0]), alpha) == 0
    assert backend(softmax_gap, np.array([inf, inf]), alpha) == 0
    assert backend(softmax_gap, np.array([-inf, -inf]), alpha) == 0


@on_each_backend
def test_results_above_the_largest_float_are_infinite_without_a_warning(backend):
    assert backend(smooth_max, np.zeros(20), 1e-308) == math.inf  # log 20 / 1e-308
    far = np.array([HUGE] + [-HUGE] * 9)
    assert backend(softmax_gap, far, 0.0) == math.inf  # 1.8 HUGE


@on_each_backend
@FUNCTIONS
@given(case=masked_losses(), alpha=sharpness(), absent=st.sampled_from([math.nan, math.inf, 1e308]))
def test_absent_losses_are_never_looked_at(backend, function, case, alpha, absent):
    f, present = case
    spoiled = np.where(present, f, absent)
    for validate in (True, False):
        np.testing.assert_array_equal(
            backend(function, spoiled, alpha, present, validate=validate),
            backend(function, f, alpha, present),
        )


@on_each_backend
@given(case=masked_losses(), alpha=sharpness())
def test_an_absent_task_is_a_task_left_out(backend, case, alpha):
    f, present = case
    w = backend(softmax_weights, f, alpha, present)
    assert np.all(w[~present] == 0)
    kept = f[present]
    assert_near(w[present], backend(softmax_weights, kept, alpha), rounding(kept, alpha))


@on_each_backend
def test_absent_tasks_take_no_share_of_limits(backend):
    present = np.array([True, True, False])
    half = [0.5, 0.5, 0.0]
    for f, alpha in [
        ([-math.inf, -math.inf, 0.0], 2.0),
        ([1.0, 9.0, 5.0], 0.0),
        ([3.0, 3.0, 9.0], math.inf),
        ([math.inf, math.inf, math.inf], 1.0),
    ]:
        np.testing.assert_array_equal(backend(softmax_weights, np.array(f), alpha, present), half)


@on_each_backend
@pytest.mark.parametrize("alpha", [0.0, 1.0, 1e308, math.inf])
@FUNCTIONS
def test_unchecked_nan_fills_its_row_and_no_other(backend, function, alpha):
    if function is smooth_max and alpha == 0:
        alpha = 1e-3  # infinite at 0
    f = np.array([[1.0, math.nan, 2.0], [0.0, 1.0, 2.0], [math.nan, math.inf, 0.0]])
    for sharp in (alpha, np.array(alpha)):
        found = backend(function, f, sharp, validate=False)
        assert np.all(np.isnan(found[[0, 2]]))
        np.testing.assert_array_equal(found[1], backend(function, f[1], alpha))


@on_each_backend
def test_an_unchecked_row_without_a_task_has_no_weight(backend):
    present = np.array([[False, False], [True, True]])
    f = np.array([[1.0, math.nan], [3.0, 3.0]])
    w = backend(softmax_weights, f, 2.0, present, validate=False)
    np.testing.assert_array_equal(w, [[0.0, 0.0], [0.5, 0.5]])


@on_each_backend
def test_unchecked_smooth_max_without_a_finite_value_is_a_limit(backend):
    nobody = np.array([False, False])
    f = np.array([1.0, 2.0])
    assert backend(smooth_max, f, 1.0, nobody, validate=False) == -math.inf
    assert backend(smooth_max, f, 0.0, validate=False) == math.inf


@on_each_backend
@pytest.mark.parametrize("alpha", [1e308, np.array(1e308)], ids=["number", "array"])
def test_alpha_beyond_single_precision_is_the_hard_maximum(backend, alpha):
    f = np.array([1.0, 2.0, 2.0], dtype=np.float32)
    w = backend(softmax_weights, f, alpha)
    assert w.dtype == np.float32
    np.testing.assert_array_equal(w, [0.0, 0.5, 0.5])
    assert backend(smooth_max, f, alpha) == 2


@on_each_backend
def test_alpha_below_single_precision_is_uniform(backend):
    f = np.array([1.0, 2.0], dtype=np.float32)
    np.testing.assert_array_equal(backend(softmax_weights, f, 1e-308), [0.5, 0.5])
    assert backend(smooth_max, f, 1e-308) == math.inf  # 7e307, beyond float32
    w = backend(softmax_weights, np.array([0.0, -math.inf], dtype=np.float32), 1e-308)
    assert np.sum(w) == 1
