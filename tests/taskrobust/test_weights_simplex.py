"""What softmax weights are: a point of the simplex with the symmetries and limits of Eq. (7)."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from taskrobust import smooth_max, softmax_weights
from tests.taskrobust.helpers import (
    EPS,
    assert_near,
    dyadic_losses,
    losses,
    losses_and_index,
    on_each_backend,
    rounding,
    sharpness,
    spread,
)


@on_each_backend
@given(f=losses(bound=1e6), alpha=sharpness(-9, 9))
def test_weights_are_on_the_simplex(backend, f, alpha):
    w = backend(softmax_weights, f, alpha)
    assert w.shape == f.shape
    assert np.all(w >= 0)
    assert abs(math.fsum(w) - 1) <= 4 * len(f) * EPS


@on_each_backend
@given(f=dyadic_losses(), shift=st.integers(-(2**26), 2**26), alpha=sharpness())
def test_exact_shift_changes_no_bit(backend, f, shift, alpha):
    shifted = backend(softmax_weights, f + shift / 64, alpha)
    np.testing.assert_array_equal(shifted, backend(softmax_weights, f, alpha))


@on_each_backend
@given(f=losses(), shift=st.floats(-1e6, 1e6), alpha=sharpness())
def test_rounded_shift_changes_weights_by_the_rounding(backend, f, shift, alpha):
    shifted = f + shift
    moved = alpha * EPS * float(np.max(np.abs(shifted)))  # of alpha (f - max f)
    tolerance = math.expm1(2 * moved) + rounding(f, alpha)
    expected = backend(softmax_weights, f, alpha)
    assert_near(backend(softmax_weights, shifted, alpha), expected, tolerance)


@on_each_backend
@given(f=losses(), alpha=sharpness(), order=st.randoms(use_true_random=False))
def test_permuting_tasks_permutes_weights(backend, f, alpha, order):
    permutation = order.sample(range(len(f)), len(f))
    w = backend(softmax_weights, f, alpha)
    permuted = backend(softmax_weights, f[permutation], alpha)
    assert_near(permuted, w[permutation], 4 * (len(f) + 2) * EPS)


@on_each_backend
@given(f=dyadic_losses(), alpha=sharpness(), k=st.integers(-300, 300))
def test_scaling_alpha_or_losses_by_a_power_of_two_agrees_bit_for_bit(backend, f, alpha, k):
    c = 2.0**k
    np.testing.assert_array_equal(
        backend(softmax_weights, f, c * alpha), backend(softmax_weights, c * f, alpha)
    )
    np.testing.assert_array_equal(
        c * backend(smooth_max, f, c * alpha), backend(smooth_max, c * f, alpha)
    )


@on_each_backend
@given(case=losses_and_index(bound=10.0), alpha=sharpness(-2, 2), rise=st.floats(1e-3, 10.0))
def test_raising_a_loss_raises_its_weight_and_lowers_all_others(backend, case, alpha, rise):
    f, s = case
    raised = f.copy()
    raised[s] += rise
    old, new = (backend(softmax_weights, g, alpha) for g in (f, raised))
    tolerance = rounding(raised, alpha)
    others = np.arange(len(f)) != s
    assert new[s] >= old[s] * (1 - tolerance)
    assert np.all(new[others] <= old[others] * (1 + tolerance))
    # The weight moves by about w (1 - w) alpha rise, far above rounding unless saturated.
    if alpha * rise > 1e-4 and 1e-6 < old[s] < 1 - 1e-6:
        assert new[s] > old[s]
        visible = others & (old > 1e-290)
        assert np.all(new[visible] < old[visible])


@on_each_backend
@given(f=losses(min_tasks=2), alpha=sharpness())
def test_weights_keep_the_order_of_the_losses(backend, f, alpha):
    w = backend(softmax_weights, f, alpha)
    order = np.argsort(f)
    f, w = f[order], w[order]
    assert np.all(w[1:] >= w[:-1] * (1 - 4 * EPS))
    clear = (alpha * np.diff(f) > 64 * EPS) & (w[1:] > 1e-290)
    assert np.all(w[1:][clear] > w[:-1][clear])
    assert np.all(w[1:][np.diff(f) == 0] == w[:-1][np.diff(f) == 0])


@on_each_backend
@given(f=losses(bound=1e3), alpha=sharpness(-12, 3))
def test_small_alpha_is_near_uniform(backend, f, alpha):
    tasks = len(f)
    distance = np.sum(np.abs(backend(softmax_weights, f, alpha) - 1 / tasks))
    assert distance <= min(alpha * spread(f) / 2, 2) + 4 * tasks * EPS


@on_each_backend
@given(f=losses(bound=1e300))
def test_zero_alpha_is_uniform(backend, f):
    np.testing.assert_array_equal(backend(softmax_weights, f, 0.0), np.full(len(f), 1 / len(f)))


@on_each_backend
@given(f=dyadic_losses(), k=st.integers(-900, 900), repeats=st.integers(1, 3))
def test_infinite_alpha_is_the_argmax_and_splits_ties_evenly(backend, f, k, repeats):
    f = np.tile(f * 2.0**k, repeats)
    best = f == f.max()
    np.testing.assert_array_equal(backend(softmax_weights, f, math.inf), best / np.sum(best))


@on_each_backend
@given(f=st.floats(allow_nan=False, allow_infinity=False, max_value=1e308))
@example(f=0.0)
def test_infinite_alpha_tells_adjacent_floats_apart(backend, f):
    pair = np.array([f, np.nextafter(f, math.inf)])
    np.testing.assert_array_equal(backend(softmax_weights, pair, math.inf), [0.0, 1.0])


@on_each_backend
@given(f=losses(), g=losses(), alpha=sharpness(-3, 2))
def test_weights_are_lipschitz_in_the_losses(backend, f, g, alpha):
    tasks = min(len(f), len(g))
    f, g = f[:tasks], g[:tasks]
    v, w = (backend(softmax_weights, h, alpha) for h in (f, g))
    bound = 2 * math.tanh(alpha * float(np.max(np.abs(f - g))) / 2)
    assert np.sum(np.abs(v - w)) <= bound + rounding(f, alpha) + rounding(g, alpha)


@on_each_backend
@given(half=st.floats(1e-3, 50.0), alpha=sharpness(-3, 2))
def test_lipschitz_bound_is_attained_by_swapping_two_losses(backend, half, alpha):
    f = np.array([half, -half])
    moved = np.sum(np.abs(backend(softmax_weights, f, alpha) - backend(softmax_weights, -f, alpha)))
    assert_near(moved, 2 * math.tanh(alpha * half), rounding(f, alpha), 8 * EPS)


@on_each_backend
@given(case=losses_and_index(min_tasks=1), alpha=sharpness())
def test_duplicating_a_task_splits_its_weight(backend, case, alpha):
    f, s = case
    doubled = np.append(f, f[s])
    w, split = (backend(softmax_weights, g, alpha) for g in (f, doubled))
    # Each copy gets w_s / (1 + w_s): together more than before, at most twice.
    assert_near(split, np.append(w, w[s]) / (1 + w[s]), rounding(doubled, alpha))
    assert split[s] == split[-1]
    raised = backend(smooth_max, doubled, alpha) - backend(smooth_max, f, alpha)
    rounded = 4 * EPS * (np.max(np.abs(f)) + (len(f) + 4) / alpha)
    assert_near(raised, math.log1p(w[s]) / alpha, 0.0, rounded)
    assert raised <= math.log(2) / alpha + rounded


@on_each_backend
@given(loss=st.floats(allow_nan=False), alpha=st.floats(min_value=0.0))
def test_a_single_task_has_weight_one(backend, loss, alpha):
    np.testing.assert_array_equal(backend(softmax_weights, np.array([loss]), alpha), [1.0])
