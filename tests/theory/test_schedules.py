"""Schedules against literal re-derivations of their formulas."""

import math

import numpy as np
import pytest
from scipy.special import lambertw

from theory.schedules import SCHEDULES, Schedule, Setting, stack

K = 7
SCALAR = Setting(5, K, 0.8, 2.5, loss_bound=3.0, smoothness=1.7, strong_convexity=0.4, diameter=4.0)
ARRAYS = Setting(
    5,
    K,
    np.array([0.8, 1.1, 0.3]),
    np.array([2.5, 0.7, 1.0]),
    loss_bound=np.array([3.0, 9.0, 1.0]),
    smoothness=np.array([1.7, 0.2, 0.0]),
    strong_convexity=np.array([0.4, 0.1, 0.05]),
    diameter=np.array([4.0, 6.0, 2.0]),
)
C5 = float(lambertw(4 / math.e).real)

# (alpha_k, eta_k, share of iterate k) with R = R0, G = L', D the diameter, m = mu, as printed in
# Theorem 3.1 or derived in the guarantees
FORMULAS = {
    "paper": lambda k, R, G, B, L, m, D: (
        4 * math.sqrt(k + 1) / (R * G) * math.log(4 * 5 * B * math.sqrt(k + 1) / (R * G)),
        R / (G * math.sqrt(K)),
        1,
    ),
    "sharpened": lambda k, R, G, B, L, m, D: (
        2 * C5 * math.sqrt(k + 1) / (R * G),
        R / (G * math.sqrt(K)),
        1,
    ),
    "log T": lambda k, R, G, B, L, m, D: (
        2 * math.log(5) * math.sqrt(k + 1) / (R * G),
        R / (G * math.sqrt(K)),
        1,
    ),
    "constant": lambda k, R, G, B, L, m, D: (
        C5 * math.sqrt(K) / (R * G),
        R / (G * math.sqrt(K)),
        1,
    ),
    "alpha = 1": lambda k, R, G, B, L, m, D: (1.0, R / (G * math.sqrt(K)), 1),
    "anytime": lambda k, R, G, B, L, m, D: (
        2 * C5 * math.sqrt(k + 1) / (D * G),
        D / (G * math.sqrt(k + 1)),
        1,
    ),
    "strongly convex": lambda k, R, G, B, L, m, D: (
        m * (k + 1) * C5 / G**2,
        2 / (m * (k + 2)),
        k + 1,
    ),
    "smoothed": lambda k, R, G, B, L, m, D: (
        math.sqrt(2 * K * math.log(5)) / (G * R),
        1 / (L + math.sqrt(2 * K * math.log(5)) / (G * R) * G**2),
        1,
    ),
}
each = pytest.mark.parametrize("name", FORMULAS)


def constants(setting, i):
    values = (
        setting.radius,
        setting.lipschitz,
        setting.loss_bound,
        setting.smoothness,
        setting.strong_convexity,
        setting.diameter,
    )
    return tuple(float(np.broadcast_to(v, (3,))[i]) for v in values)


def rows(array, k, batch=(3,)):
    return np.broadcast_to(array[k], batch)


def test_every_named_schedule_has_a_formula_here():
    assert set(SCHEDULES) == set(FORMULAS)


@each
@pytest.mark.parametrize("setting", [SCALAR, ARRAYS], ids=["scalars", "arrays"])
def test_named_schedule_follows_its_formula(name, setting):
    schedule = SCHEDULES[name](setting)
    assert schedule.num_steps == K
    assert len(schedule.step_size) == len(schedule.averaging) == K
    for k in range(K):
        for i in range(3):
            alpha, step_size, share = FORMULAS[name](k, *constants(setting, i))
            assert rows(schedule.alpha, k)[i] == pytest.approx(alpha, rel=1e-12)
            assert rows(schedule.step_size, k)[i] == pytest.approx(step_size, rel=1e-12)
            assert rows(schedule.averaging, k)[i] == share


@each
@pytest.mark.parametrize("tasks", [1, 2, 1_000])
def test_one_iteration_and_one_task_are_no_special_case(name, tasks):
    setting = Setting(
        tasks, 1, 0.8, 2.5, loss_bound=3.0, smoothness=1.7, strong_convexity=0.4, diameter=4.0
    )
    schedule = SCHEDULES[name](setting)
    assert schedule.num_steps == 1
    for array in (schedule.alpha, schedule.step_size, schedule.averaging):
        assert array.shape == (1,)
        assert np.all(np.isfinite(array))
    if tasks == 1 and name not in ("paper", "alpha = 1"):
        assert schedule.alpha[0] == 0.0  # a single task needs no sharpness


@each
def test_sharpness_never_falls_and_steps_never_grow(name):
    schedule = SCHEDULES[name](ARRAYS)
    assert np.all(np.diff(schedule.alpha, axis=0) >= 0)
    assert np.all(np.diff(schedule.step_size, axis=0) <= 0)
    assert np.all(schedule.averaging > 0)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("paper", "loss_bound"),
        ("anytime", "diameter"),
        ("strongly convex", "strong_convexity"),
    ],
)
def test_a_constant_that_the_schedule_needs_is_asked_for_by_name(name, field):
    defaults = Setting(5, K, 0.8, 2.5)
    with pytest.raises(ValueError, match=f"`{field}`|`radius`"):
        SCHEDULES[name](defaults)


@pytest.mark.parametrize("name", ["paper", "sharpened", "log T", "constant", "alpha = 1"])
@pytest.mark.parametrize("field", ["radius", "lipschitz"])
def test_a_zero_distance_or_slope_is_refused_by_name(name, field):
    good = {"radius": 0.8, "lipschitz": 2.5}
    with pytest.raises(ValueError, match=f"`{field}` should be positive and finite"):
        SCHEDULES[name](Setting(5, K, loss_bound=3.0, **good | {field: 0.0}))


def test_stacked_rows_are_the_schedules():
    chosen = [SCHEDULES[name](ARRAYS) for name in FORMULAS]
    together = stack(chosen, (3,))
    for field in ("alpha", "step_size", "averaging"):
        array = getattr(together, field)
        assert array.shape == (K, len(chosen), 3)
        for s, schedule in enumerate(chosen):
            for k in range(K):
                np.testing.assert_array_equal(array[k, s], rows(getattr(schedule, field), k))
    assert together.num_steps == K


def test_stacking_for_a_single_instance_adds_one_axis():
    together = stack([SCHEDULES[name](SCALAR) for name in ("paper", "alpha = 1")], ())
    assert together.alpha.shape == (K, 2)
    np.testing.assert_array_equal(together.alpha[:, 1], 1.0)


def test_stacking_keeps_two_batch_axes_apart():
    by_row = Schedule(np.arange(2.0 * K).reshape(K, 2, 1), np.ones(K), np.ones(K))
    together = stack([by_row, by_row], (2, 3))
    assert together.alpha.shape == (K, 2, 2, 3)
    np.testing.assert_array_equal(together.alpha[4, 1, :, 2], by_row.alpha[4, :, 0])
    by_column = Schedule(np.arange(3.0 * K).reshape(K, 3), np.ones(K), np.ones(K))
    together = stack([by_row, by_column], (2, 3))
    np.testing.assert_array_equal(together.alpha[4, 1, 0], by_column.alpha[4])


def test_schedules_of_different_length_do_not_stack():
    short = SCHEDULES["constant"](Setting(5, K - 1, 0.8, 2.5))
    with pytest.raises(ValueError, match="shape"):
        stack([SCHEDULES["constant"](SCALAR), short], ())


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("sharpened", "radius"),
        ("strongly convex", "strong_convexity"),
        ("smoothed", "smoothness"),
        ("anytime", "diameter"),
        ("paper", "loss_bound"),
    ],
)
@pytest.mark.parametrize("length", [3, K])
def test_an_array_may_stand_for_any_constant(name, field, length):
    values = np.linspace(1.0, 2.0, length)
    good = {"loss_bound": 3.0, "diameter": 4.0, "smoothness": 1.0}
    good |= {"radius": 0.8, "lipschitz": 2.5, "strong_convexity": 0.4}
    schedule = SCHEDULES[name](Setting(5, K, **good | {field: values}))
    for i in (0, length - 1):
        alone = SCHEDULES[name](Setting(5, K, **good | {field: float(values[i])}))
        for part in ("alpha", "step_size"):
            found = np.stack([rows(getattr(schedule, part), k, (length,)) for k in range(K)])
            np.testing.assert_allclose(found[:, i], getattr(alone, part), rtol=1e-12)


def test_the_smoothed_schedule_refuses_tasks_that_are_not_smooth():
    with pytest.raises(ValueError, match="`smoothness`"):
        SCHEDULES["smoothed"](Setting(5, K, 0.8, 2.5))
