"""Every schedule against the literal formula of its source, and against the bound it is for."""

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import taskrobust as tr
from taskrobust import schedules
from tests.taskrobust import exact
from tests.taskrobust.helpers import EPS

counts = st.one_of(st.integers(2, 100), st.floats(0.4, 300).map(lambda e: int(10.0**e)))
positive = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)
steps = st.integers(0, 10**9)
near = {"rel": 1e-14, "abs": 0.0}

CONSTANTS = [
    (2, 0.2785),
    (3, 0.4631),
    (9, 1.0401),
    (10, 1.1010),
    (100, 2.6286),
    (10**4, 6.3602),
]  # theory's table of c_T, to its four digits


@pytest.mark.parametrize(("tasks", "printed"), CONSTANTS)
def test_sharp_constant_has_its_tabulated_values(tasks, printed):
    assert tr.sharp_constant(tasks) == pytest.approx(printed, abs=5e-5)


def test_sharp_constant_is_the_lambert_function():
    tasks = [*range(1, 300), *(10**e for e in range(3, 301))]
    expected = scipy.special.lambertw([(n - 1) / math.e for n in tasks]).real
    found = [tr.sharp_constant(n) for n in tasks]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


@given(tasks=counts)
def test_sharp_constant_is_the_root_to_the_last_digit(tasks):
    assert exact.near_lambert_root(tr.sharp_constant(tasks), tasks, 2 * EPS)


@given(tasks=counts)
def test_sharp_constant_is_below_log_tasks_and_increasing(tasks):
    constant = tr.sharp_constant(tasks)
    assert isinstance(constant, float)
    assert 0 < constant < math.log(tasks)
    assert constant <= tr.sharp_constant(tasks + 1)
    assert constant < tr.sharp_constant(2 * tasks)


@pytest.mark.parametrize("tasks", [2, 3, 10, 1_000, 10**6])
def test_sharp_constant_is_the_largest_gap(tasks):
    # One task at 0 and T - 1 at -u, by the definition of the weights at alpha = 1.
    def negative_gap(u):
        others = (tasks - 1) * math.exp(-u)
        return -others * u / (1 + others)

    best = minimize_scalar(negative_gap, bounds=(0.0, 60.0), options={"xatol": 1e-10})
    assert tr.sharp_constant(tasks) == pytest.approx(-best.fun, rel=1e-12)


def test_sharp_constant_of_one_task_is_zero():
    assert tr.sharp_constant(1) == 0.0
    assert tr.sharp_constant(np.int64(10)) == tr.sharp_constant(10)


@given(tasks=st.integers(2, 2_000), tolerance=positive)
def test_alpha_for_tolerance_is_the_smallest_that_keeps_the_gap(tasks, tolerance):
    alpha = tr.alpha_for_tolerance(tasks, tolerance)
    losses = np.zeros(tasks)
    losses[1:] = -(1 + tr.sharp_constant(tasks)) / alpha  # the extremal losses
    assert tr.softmax_gap(losses, alpha) == pytest.approx(tolerance, rel=1e-12)
    assert tr.softmax_gap(losses / 0.99, 0.99 * alpha) > tolerance * (1 + 1e-3)


@given(k=steps, tasks=st.integers(1, 10**6), radius=positive, lipschitz=positive, bound=positive)
def test_paper_alpha_is_the_printed_threshold(k, tasks, radius, lipschitz, bound):
    scale = radius * lipschitz
    argument = 4 * tasks * bound * math.sqrt(k + 1) / scale
    printed = 4 * math.sqrt(k + 1) / scale * math.log(argument)
    found = tr.paper_alpha(k, num_tasks=tasks, radius=radius, lipschitz=lipschitz, loss_bound=bound)
    assert found >= 0
    rounded = 4 * math.sqrt(k + 1) / scale * 8 * EPS * (1 + abs(math.log(argument)))
    assert found == pytest.approx(max(printed, 0.0), rel=0.0, abs=rounded)


def test_paper_alpha_is_zero_where_the_printed_threshold_is_not_positive():
    constants = {"num_tasks": 1, "radius": 4.0, "lipschitz": 1.0}
    assert tr.paper_alpha(0, loss_bound=1.0, **constants) == 0.0
    assert tr.paper_alpha(0, loss_bound=0.1, **constants) == 0.0
    assert tr.paper_alpha(1, loss_bound=1.0, **constants) > 0


@pytest.mark.parametrize(
    ("tasks", "k", "ratio"), [(10, 0, 6.7), (10, 9_999, 15.1), (10**4, 0, 3.3), (10**4, 9_999, 4.8)]
)
def test_printed_schedule_is_this_much_sharper(tasks, k, ratio):
    unit = {"num_tasks": tasks, "radius": 1.0, "lipschitz": 1.0}
    found = tr.paper_alpha(k, loss_bound=1.0, **unit) / tr.sharpened_alpha(k, **unit)
    assert found == pytest.approx(ratio, abs=0.05)


@given(k=steps, tasks=st.integers(1, 10**6), radius=positive, lipschitz=positive)
def test_schedules_in_the_distance_are_their_formulas(k, tasks, radius, lipschitz):
    root, scale = math.sqrt(k + 1), radius * lipschitz
    constant = scipy.special.lambertw((tasks - 1) / math.e).real
    in_tasks = {"num_tasks": tasks, "lipschitz": lipschitz}
    sharpened = 2 * root * constant / scale
    assert tr.sharpened_alpha(k, radius=radius, **in_tasks) == pytest.approx(sharpened, **near)
    assert tr.anytime_alpha(k, diameter=radius, **in_tasks) == pytest.approx(sharpened, **near)
    step = radius / (lipschitz * root)
    any_time = tr.anytime_step_size(k, diameter=radius, lipschitz=lipschitz)
    assert any_time == pytest.approx(step, **near)
    horizon = tr.constant_step_size(k + 1, radius=radius, lipschitz=lipschitz)
    assert horizon == pytest.approx(step, **near)
    for factor in (1.0, 0.3):
        alpha = tr.constant_alpha(k + 1, radius=radius, factor=factor, **in_tasks)
        assert alpha == pytest.approx(factor * constant * root / scale, **near)
    half = tr.constant_alpha(k + 1, radius=radius, **in_tasks)
    assert half == pytest.approx(sharpened / 2, **near)


@given(k=steps, tasks=st.integers(1, 10**6), modulus=positive, lipschitz=positive)
def test_strongly_convex_schedules_are_their_formulas(k, tasks, modulus, lipschitz):
    constant = scipy.special.lambertw((tasks - 1) / math.e).real
    alpha = tr.strongly_convex_alpha(
        k, num_tasks=tasks, lipschitz=lipschitz, strong_convexity=modulus
    )
    assert alpha == pytest.approx(modulus * (k + 1) * constant / lipschitz**2, **near)
    step = tr.strongly_convex_step_size(k, strong_convexity=modulus)
    assert step == pytest.approx(2 / (modulus * (k + 2)), **near)


# The softmax term (1/K) sum c_T / alpha_k of each bound, and its descent term, from the schedule.


@given(num_steps=st.integers(1, 2_000), tasks=st.integers(2, 10**6), r=positive, lip=positive)
def test_schedules_earn_their_guarantees(num_steps, tasks, r, lip):
    k, constant = np.arange(num_steps), tr.sharp_constant(tasks)
    unit = r * lip / math.sqrt(num_steps)
    in_tasks = {"num_tasks": tasks, "lipschitz": lip}
    sharpened = np.mean(constant / tr.sharpened_alpha(k, radius=r, **in_tasks))
    assert sharpened <= unit * (1 + 1e-12)
    fixed = constant / tr.constant_alpha(num_steps, radius=r, factor=0.5, **in_tasks)
    assert fixed == pytest.approx(2 * unit, rel=1e-12)
    eta = tr.constant_step_size(num_steps, radius=r, lipschitz=lip)
    assert r**2 / (2 * eta * num_steps) + eta * lip**2 / 2 == pytest.approx(unit, rel=1e-12)
    printed = tr.paper_alpha(k, radius=r, loss_bound=r * lip / 4, **in_tasks)
    assert np.all(printed * (1 + 1e-12) >= tr.sharpened_alpha(k, radius=r, **in_tasks))


@given(num_steps=st.integers(1, 2_000), tasks=st.integers(2, 10**6), d=positive, lip=positive)
def test_anytime_schedule_earns_its_guarantee(num_steps, tasks, d, lip):
    k, constant = np.arange(num_steps), tr.sharp_constant(tasks)
    eta = tr.anytime_step_size(k, diameter=d, lipschitz=lip)
    softmax = np.mean(constant / tr.anytime_alpha(k, num_tasks=tasks, diameter=d, lipschitz=lip))
    descent = (d**2 / (2 * eta[-1]) + np.sum(eta) * lip**2 / 2) / num_steps
    assert softmax + descent <= 2.5 * d * lip / math.sqrt(num_steps) * (1 + 1e-12)


@given(num_steps=st.integers(1, 2_000), tasks=st.integers(2, 10**6), mu=positive, lip=positive)
def test_strongly_convex_schedule_earns_its_guarantee(num_steps, tasks, mu, lip):
    k = np.arange(num_steps)
    alpha = tr.strongly_convex_alpha(k, num_tasks=tasks, lipschitz=lip, strong_convexity=mu)
    eta = tr.strongly_convex_step_size(k, strong_convexity=mu)
    share = (k + 1) / np.sum(k + 1)
    # Distances telescope: what step k leaves, (k + 1) / (2 eta_k), step k + 1 takes up.
    taken, left = (k + 1) * (1 / eta - mu) / 2, (k + 1) / (2 * eta)
    assert taken[0] == pytest.approx(0, abs=1e-12 * mu)
    np.testing.assert_allclose(taken[1:], left[:-1], rtol=1e-12)
    total = np.sum(share * (tr.sharp_constant(tasks) / alpha + eta * lip**2 / 2))
    assert total <= 4 * lip**2 / (mu * (num_steps + 1)) * (1 + 1e-12)


CALLS = {
    "alpha_for_tolerance": {"num_tasks": 3, "tolerance": 0.1},
    "paper_alpha": {"step": 4, "num_tasks": 3, "radius": 2.0, "lipschitz": 0.5, "loss_bound": 9.0},
    "sharpened_alpha": {"step": 4, "num_tasks": 3, "radius": 2.0, "lipschitz": 0.5},
    "constant_alpha": {
        "num_steps": 5, "num_tasks": 3, "radius": 2.0, "lipschitz": 0.5, "factor": 0.5
    },
    "constant_step_size": {"num_steps": 5, "radius": 2.0, "lipschitz": 0.5},
    "anytime_alpha": {"step": 4, "num_tasks": 3, "diameter": 2.0, "lipschitz": 0.5},
    "anytime_step_size": {"step": 4, "diameter": 2.0, "lipschitz": 0.5},
    "strongly_convex_alpha": {
        "step": 4, "num_tasks": 3, "lipschitz": 0.5, "strong_convexity": 0.1
    },
    "strongly_convex_step_size": {"step": 4, "strong_convexity": 0.1},
    "sharp_constant": {"num_tasks": 3},
}  # fmt: skip
COUNTS = {"num_tasks", "num_steps"}
ARRAYS = [(name, key) for name, call in CALLS.items() for key in call if key not in COUNTS]
WHOLE = [(name, key) for name, call in CALLS.items() for key in call if key in COUNTS]


def test_every_public_function_is_called_here():
    assert set(CALLS) == set(schedules.__all__)


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_arguments_broadcast(name, key):
    call, function = CALLS[name], getattr(tr, name)
    values = np.array([[1.0], [2.0], [7.5]]) * max(call[key], 0.5)
    found = function(**{**call, key: values})
    assert found.shape == (3, 1)
    assert found.dtype == np.float64
    for value, row in zip(values[:, 0], found[:, 0], strict=True):
        assert row == pytest.approx(function(**{**call, key: value}), rel=1e-15)
    others = [other for other in call if other not in COUNTS | {key}]
    if others:
        crossed = function(**{**call, key: values, others[0]: np.full(2, call[others[0]])})
        np.testing.assert_allclose(crossed, np.broadcast_to(found, (3, 2)), rtol=1e-15)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "sharp_constant"])
def test_results_are_arrays_of_float64(name):
    found = getattr(tr, name)(**CALLS[name])
    assert isinstance(found, np.ndarray)
    assert found.shape == ()
    assert found.dtype == np.float64


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_values_out_of_range_are_refused_by_name(name, key):
    if key == "step":
        bad, message = [-1, -1e-9, math.nan, [0, -1]], "`step` should be at least 0; found"
    else:
        bad = [0.0, -1.0, math.nan, math.inf, [1.0, 0.0]]
        message = f"`{key}` should be positive and finite; found"
    for value in bad:
        with pytest.raises(ValueError, match=message):
            getattr(tr, name)(**{**CALLS[name], key: value})


@pytest.mark.parametrize(("name", "key"), WHOLE)
@pytest.mark.parametrize("value", [0, -3, True, 2.0, math.nan, math.inf, "3", None, [3]], ids=repr)
def test_counts_out_of_range_are_refused_by_name(name, key, value):
    with pytest.raises(ValueError, match=f"`{key}` should be an integer of at least 1; found"):
        getattr(tr, name)(**{**CALLS[name], key: value})


@pytest.mark.parametrize(("name", "key"), ARRAYS)
def test_values_that_are_not_real_numbers_are_refused_by_name(name, key):
    for value in ("wide", "1.0", 1j, np.array([1j]), [None]):
        with pytest.raises(TypeError, match=f"`{key}` should be a real number"):
            getattr(tr, name)(**{**CALLS[name], key: value})


def test_anytime_step_size_does_not_overflow_where_it_is_finite():
    for size in (1e200, 1e-200):
        assert tr.anytime_step_size(0, diameter=size, lipschitz=size) == 1.0
