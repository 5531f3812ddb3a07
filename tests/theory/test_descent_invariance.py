"""What leaves Algorithm 1's path fixed, and what it guarantees on every instance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrobust.schedules import sharp_constant
from taskrobust.weights import smooth_max
from tests.theory.instances import EVERY, RANDOM, batch, points, single
from tests.theory.test_descent import STEPS, setting_of
from theory.descent import descend
from theory.optima import certify
from theory.problems import (
    FAMILIES,
    Ball,
    DenseQuadratic,
    MaxLinear,
    starting_points,
)
from theory.schedules import SCHEDULES, Schedule


def path(problem, schedule, start, **options):
    """Iterates 0 to K - 1, then the average and the last one, ``[K + 2, ..., d]``."""
    seen = []
    run = descend(problem, schedule, start, callback=lambda i: seen.append(i.theta), **options)
    return np.stack([*seen, run.average, run.last])


def constant(alpha, step_size, num_steps=STEPS):
    return Schedule(np.full(num_steps, alpha), np.full(num_steps, step_size), np.ones(num_steps))


def draw(seed, family="quadratic", tasks=4, dim=3):
    rng = np.random.default_rng(seed)
    problem = FAMILIES[family](rng, 1, tasks, dim)[0]
    return problem, starting_points(problem, rng)


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.floats(-5, 5))
def test_translation_moves_the_path(seed, shift):
    problem, start = draw(seed)
    moved = replace(
        problem,
        domain=Ball(problem.domain.center + shift, problem.domain.radius),
        minimizers=problem.minimizers + shift,
    )
    schedule = constant(5.0, 0.5)
    expected = path(problem, schedule, start) + shift
    np.testing.assert_allclose(path(moved, schedule, start + shift), expected, atol=1e-11)


@given(seeds)
def test_an_orthogonal_map_turns_the_path(seed):
    problem, start = draw(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    turned = turn @ problem.hessians @ turn.T
    rotated = DenseQuadratic(
        Ball(turn @ problem.domain.center, problem.domain.radius),
        0.5 * (turned + np.swapaxes(turned, -1, -2)),
        problem.minimizers @ turn.T,
    )
    schedule = constant(5.0, 0.5)
    expected = path(problem, schedule, start) @ turn.T
    np.testing.assert_allclose(path(rotated, schedule, turn @ start), expected, atol=1e-11)


@given(seeds, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**30]))
def test_scaling_the_losses_is_undone_by_the_schedule_to_the_bit(seed, scale):
    problem, start = draw(seed, "max-linear")
    scaled = replace(problem, slopes=scale * problem.slopes, offsets=scale * problem.offsets)
    expected = path(problem, constant(5.0, 0.5), start)
    found = path(scaled, constant(5.0 / scale, 0.5 / scale), start)
    np.testing.assert_array_equal(found, expected)


@given(seeds, st.floats(0.01, 100))
def test_scaling_the_losses_is_undone_by_the_schedule(seed, scale):
    problem, start = draw(seed)
    scaled = replace(problem, hessians=scale * problem.hessians)
    expected = path(problem, constant(5.0, 0.5), start)
    found = path(scaled, constant(5.0 / scale, 0.5 / scale), start)
    np.testing.assert_allclose(found, expected, atol=1e-11)


@given(seeds, st.sampled_from([0.0, 5.0, np.inf]))
def test_the_order_of_the_tasks_does_not_matter(seed, alpha):
    problem, start = draw(seed)
    order = np.random.default_rng(seed).permutation(4)
    shuffled = replace(
        problem, hessians=problem.hessians[order], minimizers=problem.minimizers[order]
    )
    schedule = constant(alpha, 0.5)
    np.testing.assert_allclose(
        path(shuffled, schedule, start), path(problem, schedule, start), atol=1e-11
    )


@given(seeds, st.lists(st.integers(0, 3), max_size=5))
def test_duplicates_change_nothing_under_the_hard_maximum(seed, copies):
    problem, start = draw(seed)
    index = [0, 1, 2, 3, *copies]
    repeated = replace(
        problem, hessians=problem.hessians[index], minimizers=problem.minimizers[index]
    )
    hard = constant(np.inf, 0.5)
    np.testing.assert_allclose(path(repeated, hard, start), path(problem, hard, start), atol=1e-11)


def test_duplicates_do_change_the_softmax_path():
    problem, start = draw(0)
    index = [0, 1, 2, 3, 3]
    repeated = replace(
        problem, hessians=problem.hessians[index], minimizers=problem.minimizers[index]
    )
    soft = constant(1.0, 0.5)
    moved = path(repeated, soft, start) - path(problem, soft, start)
    assert np.max(np.abs(moved)) > 1e-3


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("family", [f for f in RANDOM if f != "absolute"])
def test_the_smooth_maximum_never_rises_at_the_stable_step(family, project):
    problem = batch(family)
    start = starting_points(problem, np.random.default_rng(3))
    schedule = SCHEDULES["smoothed"](setting_of(problem, radius=1.0))
    values = []
    descend(
        problem,
        schedule,
        start,
        project=project,
        callback=lambda i: values.append(smooth_max(i.losses, schedule.alpha[i.step])),
    )
    change = np.diff(np.stack(values), axis=0)
    assert np.all(change <= 1e-14 * np.max(problem.constants().loss_range))
    assert np.all(np.sum(change, axis=0) < 0)


def test_the_smooth_maximum_rises_at_a_step_beyond_twice_the_stable_one():
    # two antipodal gradients attain L_alpha = alpha L'^2 at their tie
    problem = MaxLinear(Ball.of([0.0], 1.0), np.array([[1.0], [-1.0]]), np.zeros(2))
    values = []
    descend(
        problem,
        constant(10.0, 2.1 / 10.0),
        np.array([0.01]),
        callback=lambda i: values.append(float(smooth_max(i.losses, 10.0))),
    )
    assert values[1] > values[0]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("alpha", [1.0, np.inf])
def test_projected_iterates_stay_in_the_domain_and_averages_in_their_hull(name, alpha):
    problem = single(name)
    radius = float(problem.domain.radius)
    start = points(problem.domain, 1)[0]
    schedule = constant(alpha, 30 * radius / float(problem.constants().lipschitz))
    seen = path(problem, schedule, start)
    distance = np.linalg.norm(seen - problem.domain.center, axis=-1)
    assert np.all(distance <= radius * (1 + 1e-14))
    assert np.any(distance[1:-2] >= radius * (1 - 1e-12))  # the steps are too long to stay inside
    iterates, average = seen[:-2], seen[-2]
    slack = 1e-13 * radius
    assert np.all(np.min(iterates, axis=0) <= average + slack)
    assert np.all(np.max(iterates, axis=0) >= average - slack)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("schedule", ["paper", "sharpened", "alpha = 1", "anytime", "hard"])
@pytest.mark.parametrize("convention", ["proof", "algorithm"])
def test_the_certificate_is_below_the_certified_optimum(name, schedule, convention):
    problem = single(name)
    setting = setting_of(problem, 100, radius=float(problem.domain.radius))
    if schedule == "hard":
        chosen = constant(np.inf, 0.1 * setting.radius / float(setting.lipschitz), 100)
    else:
        chosen = SCHEDULES[schedule](setting)
    start = points(problem.domain, 1)[0]
    run = descend(problem, chosen, start, index_convention=convention)
    best = certify(problem)
    assert run.lower_bound <= best.upper
    assert np.max(problem.losses(run.average)) >= best.lower


@pytest.mark.parametrize("num_steps", [10, 1_000])
def test_the_certificate_closes_at_the_rate_of_the_proof(num_steps):
    problem = single("quadratic")
    start = points(problem.domain, 1)[0]
    setting = setting_of(problem, num_steps, 2 * float(problem.domain.radius))
    schedule = SCHEDULES["sharpened"](setting)
    run = descend(problem, schedule, start)
    # the proof bounds the gap to any comparator of the ball, at most a diameter away
    descent = setting.radius * float(setting.lipschitz) / np.sqrt(num_steps)
    softmax = sharp_constant(4) * np.mean(1 / schedule.alpha)
    assert np.max(problem.losses(run.average)) - run.lower_bound <= descent + softmax


@pytest.mark.parametrize("family", ["absolute", "Huber", "logistic"])
@pytest.mark.parametrize("schedule", ["sharpened", "constant", "paper"])
def test_without_projection_iterates_stay_within_twice_the_distance(family, schedule):
    # the constants of these families hold on the whole space, and so does the optimum: it is inside
    problem = FAMILIES[family](np.random.default_rng(8), 3, 4, 2)
    for instance in problem.instances():
        best = certify(instance)
        inside = np.linalg.norm(best.point - instance.domain.center) < 0.99 * instance.domain.radius
        assert inside or family == "logistic"
        if not inside:
            continue
        start = points(instance.domain, 1, seed=3)[0]
        radius = np.linalg.norm(start - best.point)
        setting = setting_of(instance, 200, radius)
        seen = path(instance, SCHEDULES[schedule](setting), start, project=False)
        assert np.max(np.linalg.norm(seen - best.point, axis=-1)) <= 2 * radius


def test_a_step_ten_times_too_long_leaves_that_ball():
    problem = MaxLinear(Ball.of([0.0], 1.0), np.array([[1.0], [-1.0]]), np.zeros(2))
    seen = path(problem, constant(100.0, 10 * 0.1, 1), np.array([0.1]), project=False)
    assert np.max(np.abs(seen)) > 2 * 0.1


def test_a_start_at_the_minimiser_of_the_only_task_stays_there():
    problem, _ = draw(4, tasks=1)
    best = problem.minimizers[0]
    run = descend(problem, constant(3.0, 0.5), best)
    np.testing.assert_array_equal(run.average, best)
    np.testing.assert_array_equal(run.last, best)
    assert run.lower_bound == 0.0


@pytest.mark.parametrize("alpha", [0.0, 1.0, np.inf])
def test_with_one_task_the_sharpness_does_not_matter(alpha):
    problem, start = draw(5, tasks=1)
    expected = [start]
    for _ in range(STEPS):
        gradient = problem.hessians[0] @ (expected[-1] - problem.minimizers[0])
        expected.append(problem.domain.project(expected[-1] - 0.5 * gradient))
    found = path(problem, constant(alpha, 0.5), start)
    np.testing.assert_allclose(found[:-2], expected[:-1], atol=1e-13)
    np.testing.assert_allclose(found[-1], expected[-1], atol=1e-13)
