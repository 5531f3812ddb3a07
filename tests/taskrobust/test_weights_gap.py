"""The smooth maximum, the softmax gap, and the identities and bounds that tie them together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import sharp_constant, smooth_max, softmax_gap, softmax_weights
from tests.taskrobust.helpers import (
    EPS,
    SUBNORMAL,
    assert_near,
    losses,
    masked_losses,
    on_each_backend,
    rounding,
    sharpness,
    spread,
)


@on_each_backend
@given(f=losses(bound=1e6), alpha=sharpness(-9, 9))
def test_gap_lies_between_zero_and_the_sharp_bound(backend, f, alpha):
    gap = backend(softmax_gap, f, alpha)
    assert gap.shape == ()
    assert 0 <= gap <= sharp_constant(len(f)) / alpha * (1 + 4 * (len(f) + 8) * EPS)


@on_each_backend
@given(tasks=st.integers(2, 3_000), alpha=sharpness(-9, 9))
def test_sharp_bound_is_attained(backend, tasks, alpha):
    constant = sharp_constant(tasks)
    f = np.full(tasks, -(1 + constant) / alpha)
    f[0] = 0.0
    assert_near(backend(softmax_gap, f, alpha), constant / alpha, 1e-12)


@on_each_backend
@given(f=losses(), alpha=sharpness())
def test_gap_is_the_maximum_minus_the_weighted_average(backend, f, alpha):
    w = backend(softmax_weights, f, alpha)
    cancellation = (2 + len(f)) * (EPS * np.max(np.abs(f)) + SUBNORMAL)
    average = math.fsum(w * f)
    tolerance = rounding(f, alpha) * spread(f) + cancellation
    assert_near(f.max() - average, backend(softmax_gap, f, alpha), 0.0, tolerance)


@on_each_backend
@given(f=losses(bound=1e6), alpha=sharpness(-9, 9))
def test_smooth_max_is_at_most_log_tasks_above_the_maximum(backend, f, alpha):
    smooth = backend(smooth_max, f, alpha)
    assert smooth.shape == ()
    ceiling = f.max() + math.log(len(f)) / alpha
    assert f.max() <= smooth <= ceiling + 4 * EPS * abs(ceiling) + 4 * EPS * len(f) / alpha


@on_each_backend
@given(f=losses(), alpha=sharpness())
def test_average_plus_entropy_over_alpha_is_the_smooth_max(backend, f, alpha):
    w = backend(softmax_weights, f, alpha)
    entropy = -math.fsum(p * math.log(p) for p in w if p > 0)
    identity = math.fsum(w * f) + entropy / alpha
    # Errors of w cancel to first order: the left side is maximal in w at the softmax.
    tolerance = 8 * EPS * (len(f) + 2) * (np.max(np.abs(f)) + (1 + math.log(len(f))) / alpha)
    assert_near(backend(smooth_max, f, alpha), identity, 0.0, tolerance)


@on_each_backend
@given(f=losses(), low=sharpness(), factor=st.floats(1.0, 100.0))
def test_gap_falls_as_alpha_grows(backend, f, low, factor):
    blunt, sharp = (backend(softmax_gap, f, alpha) for alpha in (low, low * factor))
    assert sharp <= blunt * (1 + rounding(f, low * factor))


@on_each_backend
@given(f=losses(bound=2.0), low=st.floats(0.0, 2.0), width=st.floats(0.1, 1.0))
def test_derivative_of_the_average_in_alpha_is_the_variance(backend, f, low, width):
    # Both ends of the integral of d/d alpha: exact to rounding with 20 Gauss-Legendre nodes.
    nodes, quadrature = np.polynomial.legendre.leggauss(20)
    alphas = low + width * (nodes + 1) / 2
    w = backend(softmax_weights, f, alphas)
    average = np.sum(w * f, axis=-1, keepdims=True)
    variance = np.sum(w * (f - average) ** 2, axis=-1)
    rise = backend(softmax_gap, f, low) - backend(softmax_gap, f, low + width)
    assert_near(rise, width / 2 * np.sum(quadrature * variance), 1e-12, 1e-13)


@on_each_backend
@pytest.mark.parametrize("function", [smooth_max, softmax_gap])
@given(case=masked_losses(), alpha=sharpness())
def test_masked_value_is_that_of_the_present_tasks(backend, function, case, alpha):
    f, present = case
    kept = f[present]
    expected = backend(function, kept, alpha)
    tolerance = rounding(kept, alpha) * (np.max(np.abs(kept)) + 1 / alpha)
    assert_near(backend(function, f, alpha, present), expected, 0.0, tolerance)


@on_each_backend
@given(f=losses(bound=1e300))
def test_limits_in_alpha(backend, f):
    assert backend(smooth_max, f, math.inf) == f.max()
    assert backend(softmax_gap, f, math.inf) == 0
    mean_gap = math.fsum(f.max() / len(f) - f / len(f))
    assert_near(backend(softmax_gap, f, 0.0), mean_gap, 4 * EPS * (len(f) + 2), 1e-320)


@on_each_backend
@given(loss=st.floats(allow_nan=False, allow_infinity=False), alpha=sharpness(-300, 300))
def test_a_single_task_is_its_own_smooth_max(backend, loss, alpha):
    assert backend(smooth_max, np.array([loss]), alpha) == loss
    assert backend(softmax_gap, np.array([loss]), alpha) == 0
