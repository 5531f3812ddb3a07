"""Algorithm 1 against a plain loop over one instance, and its batching."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.theory.instances import EVERY, RANDOM, batch, points, single
from tests.theory.user_problems import Stated
from theory.descent import descend
from theory.problems import Ball, MaxLinear, starting_points
from theory.schedules import SCHEDULES, Schedule, Setting, stack

both = pytest.mark.parametrize("convention", ["proof", "algorithm"])
STEPS = 30


def setting_of(problem, num_steps=STEPS, radius=1.0):
    constants = problem.constants()
    return Setting(
        problem.num_tasks,
        num_steps,
        radius,
        constants.lipschitz,
        loss_bound=constants.loss_bound,
        smoothness=constants.smoothness,
        strong_convexity=constants.strong_convexity,
        diameter=2 * problem.domain.radius,
    )


def plain_loop(problem, schedule, start, convention="proof", *, project=True):
    """Algorithm 1 as the paper prints it, or as it proves it: all iterates, and the tangents."""
    shift = {"proof": 0, "algorithm": 1}[convention]
    center, radius = problem.domain.center, float(problem.domain.radius)
    iterates, tangents = [start], []
    for k in range(shift, schedule.num_steps):
        theta = iterates[-1]
        losses = problem.losses(theta)
        scores = np.exp(float(schedule.alpha[k]) * (losses - losses.max()))
        weights = scores / scores.sum()
        gradient = problem.weighted_gradient(theta, weights)
        tangents.append((weights @ losses - gradient @ theta, gradient))
        theta = theta - float(schedule.step_size[k]) * gradient
        distance = np.linalg.norm(theta - center)
        if project and distance > radius:
            theta = center + radius * (theta - center) / distance
        iterates.append(theta)
    return np.array(iterates), tangents


@both
@pytest.mark.parametrize("name", [name for name in EVERY if name != "digits"])
@pytest.mark.parametrize("project", [True, False])
def test_equals_a_plain_loop(name, convention, project):
    problem = single(name)
    start = points(problem.domain, 1)[0]
    rng = np.random.default_rng(1)
    schedule = Schedule(
        10 ** rng.uniform(-1, 1.5, STEPS),
        10 ** rng.uniform(-2, 0, STEPS) / float(problem.constants().lipschitz),
        rng.uniform(0.5, 2, STEPS),
    )
    iterates, tangents = plain_loop(problem, schedule, start, convention, project=project)
    run = descend(problem, schedule, start, index_convention=convention, project=project)
    share = schedule.averaging / schedule.averaging.sum()
    close = {"rtol": 0, "atol": 1e-12 * float(problem.domain.radius)}
    np.testing.assert_allclose(run.last, iterates[-1], **close)
    np.testing.assert_allclose(run.average, share @ iterates[:STEPS], **close)
    mixture = schedule.averaging[: len(tangents)] / schedule.averaging[: len(tangents)].sum()
    intercept = mixture @ [value for value, _ in tangents]
    slope = mixture @ np.array([gradient for _, gradient in tangents])
    bound = intercept + slope @ problem.domain.center
    bound -= float(problem.domain.radius) * np.linalg.norm(slope)
    assert run.lower_bound == pytest.approx(
        bound, abs=1e-11 * float(problem.constants().loss_range)
    )
    assert run.updates == len(iterates) - 1


@given(
    slopes=hnp.arrays(np.float64, (3, 2), elements=st.floats(-2, 2)),
    offsets=hnp.arrays(np.float64, 3, elements=st.floats(-2, 2)),
    alpha=hnp.arrays(np.float64, 6, elements=st.floats(0, 20)),
    step_size=hnp.arrays(np.float64, 6, elements=st.floats(0, 0.1)),
    averaging=hnp.arrays(np.float64, 6, elements=st.floats(0.01, 10)),
    convention=st.sampled_from(["proof", "algorithm"]),
    start=st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)).map(np.array),
)
def test_equals_a_plain_loop_on_any_linear_tasks(
    slopes, offsets, alpha, step_size, averaging, convention, start
):
    problem = MaxLinear(Ball.of(np.zeros(2), 1.0), slopes, offsets)
    schedule = Schedule(alpha, step_size, averaging)
    iterates, _ = plain_loop(problem, schedule, start, convention)
    run = descend(problem, schedule, start, index_convention=convention)
    # a step multiplies an earlier rounding error by at most 1 + eta alpha |slope|^2
    close = {"rtol": 0, "atol": 1e-14 * np.prod(1 + 8 * alpha * step_size)}
    np.testing.assert_allclose(run.last, iterates[-1], **close)
    average = averaging / averaging.sum() @ iterates[:6]
    np.testing.assert_allclose(run.average, average, **close)
    assert np.linalg.norm(run.last) <= 1 + 1e-15


def test_the_printed_loop_never_uses_the_first_sharpness_and_makes_one_update_less():
    problem = single("quadratic")
    start = points(problem.domain, 1)[0]
    schedule = SCHEDULES["sharpened"](setting_of(problem))
    changed = Schedule(schedule.alpha.copy(), schedule.step_size.copy(), schedule.averaging)
    changed.alpha[0], changed.step_size[0] = 1e6, 1e6
    printed, other = (
        descend(problem, s, start, index_convention="algorithm") for s in (schedule, changed)
    )
    assert printed.updates == STEPS - 1
    np.testing.assert_array_equal(printed.average, other.average)
    np.testing.assert_array_equal(printed.last, other.last)
    proof, moved = (descend(problem, s, start) for s in (schedule, changed))
    assert proof.updates == STEPS
    assert np.linalg.norm(proof.average - moved.average) > 1e-3


@both
def test_a_single_iteration(convention):
    problem = single("Huber")
    start = points(problem.domain, 1)[0]
    run = descend(
        problem, SCHEDULES["constant"](setting_of(problem, 1)), start, index_convention=convention
    )
    np.testing.assert_array_equal(run.average, start)
    if convention == "algorithm":  # no update at all: no tangent, hence no bound
        np.testing.assert_array_equal(run.last, start)
        assert run.lower_bound == -np.inf
    else:
        assert np.linalg.norm(run.last - start) > 0
        assert np.isfinite(run.lower_bound)


def test_weights_proportional_to_k_plus_one():
    problem = single("quadratic")
    start = points(problem.domain, 1)[0]
    schedule = SCHEDULES["strongly convex"](setting_of(problem))
    iterates, _ = plain_loop(problem, schedule, start)
    shares = 2 * np.arange(1, STEPS + 1) / (STEPS * (STEPS + 1))
    expected = shares @ iterates[:STEPS]
    np.testing.assert_allclose(descend(problem, schedule, start).average, expected, atol=1e-12)


@both
@pytest.mark.parametrize("family", RANDOM)
def test_batch_row_equals_a_single_run(family, convention):
    problem = batch(family)
    start = starting_points(problem, np.random.default_rng(2))
    setting = setting_of(problem, radius=np.array([0.5, 1.0, 2.0]))
    schedule = SCHEDULES["sharpened"](setting)
    assert schedule.alpha.shape == (STEPS, 3)
    together = descend(problem, schedule, start, index_convention=convention)
    assert together.lower_bound.shape == (3,)
    for i, instance in enumerate(problem.instances()):
        own = Schedule(schedule.alpha[:, i], schedule.step_size[:, i], schedule.averaging)
        alone = descend(instance, own, start[i], index_convention=convention)
        for field in ("average", "last", "lower_bound"):
            found, expected = getattr(together, field)[i], getattr(alone, field)
            scale = float(instance.constants().loss_range) if field == "lower_bound" else 1.0
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


def test_stacked_schedules_equal_separate_runs():
    problem = batch("max-linear")
    start = starting_points(problem, np.random.default_rng(2))
    setting = setting_of(problem, radius=np.array([0.5, 1.0, 2.0]))
    schedules = [
        SCHEDULES[name](setting) for name in ("paper", "sharpened", "alpha = 1", "anytime")
    ]
    schedules.append(Schedule(np.full(STEPS, np.inf), np.full(STEPS, 0.1), np.arange(1.0, 31.0)))
    together = descend(problem, stack(schedules, (3,)), start)
    assert together.average.shape == (5, 3, 3)
    assert together.lower_bound.shape == (5, 3)
    for s, schedule in enumerate(schedules):
        alone = descend(problem, schedule, start)
        for field in ("average", "last", "lower_bound"):
            np.testing.assert_allclose(
                getattr(together, field)[s], getattr(alone, field), rtol=0, atol=1e-12
            )


def test_one_start_serves_a_batch_and_many_starts_one_instance():
    problem = batch("Huber")
    schedule = SCHEDULES["alpha = 1"](setting_of(problem[0]))
    shared = descend(problem, schedule, np.zeros(3))
    assert shared.average.shape == (3, 3)
    alone = descend(problem[1], schedule, np.zeros(3))
    np.testing.assert_allclose(shared.average[1], alone.average, atol=1e-13)
    starts = points(problem[1].domain, 4)
    many = descend(problem[1], schedule, starts)
    assert many.average.shape == (4, 3)
    np.testing.assert_allclose(
        many.last[2], descend(problem[1], schedule, starts[2]).last, atol=1e-13
    )


@both
def test_the_start_is_left_alone_and_the_callback_sees_every_step(convention):
    problem = single("logistic")
    start = points(problem.domain, 1)[0]
    before = start.copy()
    schedule = SCHEDULES["strongly convex"](
        Setting(4, STEPS, 1.0, problem.constants().lipschitz, strong_convexity=0.5)
    )
    seen = []
    run = descend(problem, schedule, start, index_convention=convention, callback=seen.append)
    np.testing.assert_array_equal(start, before)
    iterates, _ = plain_loop(problem, schedule, start, convention)
    shift = 0 if convention == "proof" else 1
    assert [iterate.step for iterate in seen] == list(range(STEPS - shift))
    for k, iterate in enumerate(seen):
        np.testing.assert_allclose(iterate.theta, iterates[k], atol=1e-12)
        np.testing.assert_array_equal(iterate.losses, problem.losses(iterate.theta))
        scores = np.exp(schedule.alpha[k + shift] * (iterate.losses - iterate.losses.max()))
        np.testing.assert_allclose(iterate.weights, scores / scores.sum(), atol=1e-13)
        expected = problem.weighted_gradient(iterate.theta, iterate.weights)
        np.testing.assert_allclose(iterate.gradient, expected, atol=1e-13)
        share = np.arange(1, k + 2) / np.arange(1, k + 2).sum()
        np.testing.assert_allclose(iterate.average, share @ iterates[: k + 1], atol=1e-12)
    if convention == "proof":
        np.testing.assert_array_equal(seen[-1].average, run.average)


def short_schedule(**changes):
    arrays = {"alpha": np.ones(4), "step_size": np.full(4, 0.1), "averaging": np.ones(4)}
    return Schedule(**arrays | changes)


@pytest.mark.parametrize("start", [np.zeros(2), np.zeros((3, 4)), np.float64(0.0)])
def test_a_start_of_the_wrong_dimension_is_refused(start):
    with pytest.raises(ValueError, match=r"`start` should have shape \(\.\.\., 3\); found"):
        descend(single("Huber"), short_schedule(), start)


@pytest.mark.parametrize("value", [1.5, np.nan, np.inf])
def test_a_start_outside_the_domain_is_refused(value):
    with pytest.raises(ValueError, match="`start` should lie in the domain"):
        descend(single("Huber"), short_schedule(), np.full(3, value))


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match=r"`index_convention` should be .* found 'printed'"):
        descend(single("Huber"), short_schedule(), np.zeros(3), index_convention="printed")


@pytest.mark.parametrize("broken", [{"losses": lambda theta: theta * np.nan}, {}])
def test_iterates_that_stop_being_finite_are_an_error(broken):
    parts = {
        "dim": 1,
        "num_tasks": 1,
        "losses": lambda theta: theta,
        "gradients": lambda theta: np.full((*theta.shape, 1), np.nan if not broken else 1.0),
        "constraints": lambda theta, levels: [theta <= levels],
    }
    with pytest.raises(FloatingPointError, match="diverged on Stated"):
        descend(Stated(**parts | broken), short_schedule(), np.zeros(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"step_size": np.full(3, 0.1)},
        {"averaging": np.ones(3)},
        {"averaging": np.ones(5)},
        {"averaging": np.array([1.0, -1.0, 1.0, 1.0])},
        {"alpha": -np.ones((4, 1))},
        {"alpha": np.full((4, 1), np.nan)},
        {"alpha": np.ones(0), "step_size": np.ones(0), "averaging": np.ones(0)},
    ],
    ids=["steps", "averaging", "long", "negative share", "negative", "NaN", "empty"],
)
def test_a_schedule_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValueError, match=r"`(alpha|step_size|averaging)`"):
        descend(single("Huber"), short_schedule(**changes), np.zeros(3))
