"""How accurate the weights are: against decimal ground truth and independent libraries."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskrobust import smooth_max, softmax_gap, softmax_weights
from tests.taskrobust import exact
from tests.taskrobust.helpers import (
    BACKENDS,
    EPS,
    SUBNORMAL,
    assert_near,
    losses,
    on_each_backend,
    sharpness,
    spread,
)

EPS32 = float(np.finfo(np.float32).eps)
TINY32 = float(np.finfo(np.float32).tiny)

any_losses = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 8)),
    elements=st.one_of(st.floats(-50, 50), st.floats(-1e308, 1e308)),
)
any_sharpness = st.one_of(
    sharpness(), st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
)

# Three roundings an exponent, an ulp of exp, the sum and its mean exponent (at most c_T < T).
# Halving a subnormal loss rounds it, which alpha may amplify.


def weight_tolerance(truth, alpha, eps=EPS, subnormal=SUBNORMAL):
    exponents = np.maximum(truth.exponents, -1e4)
    return 4 * eps * (-exponents + len(exponents) + 4) + alpha * (4 * subnormal)


@on_each_backend
@given(f=any_losses, alpha=any_sharpness)
def test_weights_match_decimal_arithmetic(backend, f, alpha):
    truth = exact.softmax(f, alpha)
    w = backend(softmax_weights, f, alpha)
    assert_near(w, truth.weights, weight_tolerance(truth, alpha))


@on_each_backend
@given(f=any_losses, alpha=sharpness(-290, 300))
def test_smooth_max_matches_decimal_arithmetic(backend, f, alpha):
    truth = exact.softmax(f, alpha)
    tolerance = 4 * EPS * (np.max(np.abs(f)) + (len(f) + 4) / alpha) + 4 * SUBNORMAL
    assert_near(backend(smooth_max, f, alpha), truth.smooth_max, 0.0, tolerance)


@on_each_backend
@given(f=losses(bound=1e100), alpha=sharpness(-100, 100))
def test_gap_has_full_relative_accuracy(backend, f, alpha):
    truth = exact.softmax(f, alpha)
    visible = max((-x for x in truth.exponents if x > -745), default=0.0)
    tolerance = 4 * EPS * (visible + len(f) + 8)
    # Below exp(-700) the weights themselves are subnormal.
    assert_near(backend(softmax_gap, f, alpha), truth.gap, tolerance, 1e-300 / alpha)


@on_each_backend
@given(
    f=hnp.arrays(np.float32, st.tuples(st.integers(1, 8)), elements=st.floats(-50, 50, width=32)),
    alpha=sharpness(-6, 6),
)
def test_single_precision_matches_decimal_arithmetic(backend, f, alpha):
    truth = exact.softmax(f, alpha)
    w = backend(softmax_weights, f, alpha)
    assert w.dtype == np.float32
    subnormal = float(np.finfo(np.float32).smallest_subnormal)
    assert_near(w, truth.weights, weight_tolerance(truth, alpha, EPS32, subnormal), TINY32)


@given(f=losses(bound=700.0), k=st.integers(-4, 4))
def test_equals_the_libraries_softmax_for_powers_of_two(f, k):
    # alpha f is exact, and so the references subtract the very same numbers.
    alpha = 2.0**k
    assert_near(softmax_weights(f, alpha), scipy.special.softmax(alpha * f), 1e-15)
    tensor = torch.tensor(f)
    assert_near(softmax_weights(tensor, alpha), torch.softmax(alpha * tensor, -1), 1e-15)


@given(f=losses(bound=100.0), alpha=sharpness(-3, 1))
def test_equals_the_libraries_softmax_of_the_scaled_differences(f, alpha):
    drop = f - f.max()
    assert_near(softmax_weights(f, alpha), scipy.special.softmax(alpha * drop), 1e-15)
    tensor = torch.tensor(drop)
    expected = torch.softmax(alpha * tensor, -1)
    assert_near(softmax_weights(torch.tensor(f), alpha), expected, 1e-15)


@given(f=losses(bound=100.0), alpha=sharpness(-3, 1))
def test_differs_from_softmax_of_alpha_f_only_by_the_rounding_of_alpha_f(f, alpha):
    # Half an ulp of alpha f on either side of their difference, one more for the difference, and
    # the same again for the mean exponent in the normaliser; ours round twice.
    tolerance = 1e-15 + EPS * (2 * alpha * np.max(np.abs(f)) + 3 * alpha * spread(f))
    assert_near(softmax_weights(f, alpha), scipy.special.softmax(alpha * f), tolerance)
    tensor = torch.tensor(f)
    expected = torch.softmax(alpha * tensor, -1)
    assert_near(softmax_weights(tensor, alpha), expected, tolerance)


@pytest.mark.parametrize("function", [softmax_weights, smooth_max, softmax_gap])
@given(
    f=hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 8)),
                 elements=st.floats(-50, 50)),
    alpha=sharpness(),
)  # fmt: skip
def test_backends_agree(function, f, alpha):
    ours, theirs = (backend(function, f, alpha) for backend in BACKENDS)
    assert ours.dtype == theirs.dtype == np.float64
    scale = 1.0 if function is softmax_weights else 1 + np.max(np.abs(f)) + 1 / alpha
    assert_near(ours, theirs, 0.0, 1e-12 * scale)
    if function is softmax_weights:
        assert_near(ours, theirs, 8 * EPS * (f.shape[-1] + 2))
