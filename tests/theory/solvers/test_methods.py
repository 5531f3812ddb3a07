"""What single methods promise beyond their bound, and the recorder they share."""

from dataclasses import replace

import numpy as np
import pytest

from tests.theory.solvers.runs import case, single
from theory import bounds
from theory.descent import descend
from theory.optima import certify
from theory.problems import Ball, DiagonalQuadratic, MaxLinear, jacobian
from theory.schedules import SCHEDULES, Setting
from theory.solvers import SOLVERS, Recorder
from theory.solvers.accelerated import FIRST_STAGE, complete_stage, continuation, minimize_smoothed
from theory.solvers.average import average_descent
from theory.solvers.epigraph import epigraph
from theory.solvers.group_dro import group_dro
from theory.solvers.mgda import mgda
from theory.solvers.softmax_descent import softmax_descent


def worst(one, theta):
    return float(np.max(one.problem.losses(theta)))


@pytest.mark.parametrize("name", ["paper", "sharpened", "strongly convex"])
def test_algorithm_1_is_descend(name):
    whole = case("quadratic")
    setting = whole.setting(30)
    result = softmax_descent(whole.problem, setting, whole.start, schedule=SCHEDULES[name])
    run = descend(whole.problem, SCHEDULES[name](setting), whole.start)
    np.testing.assert_allclose(result.average, run.average, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(result.last, run.last)
    np.testing.assert_allclose(result.lower_bound, run.lower_bound, rtol=1e-12)


def test_recorder_by_hand():
    problem = MaxLinear(Ball.of(np.zeros(1), 1.0), np.array([[1.0], [-1.0]]), np.array([0.0, 0.5]))
    recorder = Recorder(problem, 3, (1,))
    for k, (x, w) in enumerate([(0.8, [1.0, 0.0]), (-0.4, [0.0, 1.0]), (0.0, [0.5, 0.5])]):
        theta, weights = np.array([x]), np.array(w)
        losses = recorder.problem.losses(theta)
        gradient = recorder.problem.weighted_gradient(theta, weights)
        recorder.visit(theta, losses, weights, gradient, share=k + 1.0)
        recorder.reach(k + 1, theta)
    first, last = recorder.result().history
    assert (first.step, first.loss_evaluations, first.backward_passes) == (1, 2, 1)
    assert (last.step, last.loss_evaluations, last.backward_passes) == (3, 6, 3)
    assert first.average == 0.8
    assert last.average == pytest.approx((0.8 - 2 * 0.4 + 0) / 6)
    assert last.best == 0.0  # F = 0.5 there, 0.8 and 0.9 at the other points
    # tangents x, 0.5 - x, 0.25 with shares 1, 2, 3
    assert last.lower_bound == pytest.approx((1 * 0 + 2 * 0.5 + 3 * 0.25) / 6 - 1 / 6)
    assert first.lower_bound == -1.0


def test_recorder_keeps_the_best_bound_it_was_told():
    problem = single("quadratic", 1).problem
    recorder = Recorder(problem, 1)
    theta = problem.domain.center
    recorder.visit(theta, recorder.problem.losses(theta))
    recorder.bound(-3.0)
    recorder.bound(-5.0)
    recorder.reach(1, theta)
    assert recorder.result().lower_bound == -3.0


def test_complete_stages_add_up():
    lengths = [FIRST_STAGE * 2**i + 2**i - 1 for i in range(12)]
    ends = np.cumsum(lengths)
    for steps in range(1, 3_000):
        done = [n for n, end in zip(lengths, ends, strict=True) if end < steps]
        assert complete_stage(steps) == (done[-1] if done else 0)
        if steps > FIRST_STAGE:
            assert complete_stage(steps) >= steps / 4


def test_a_stage_of_continuation_is_accelerated_descent_from_the_last():
    one = single("logistic", FIRST_STAGE + 15)
    result = continuation(one.problem, one.setting, one.start, (FIRST_STAGE,))
    x = one.start
    for length in (FIRST_STAGE, 15):
        alpha = (length + 1) * np.sqrt(np.log(4) / 2) / (one.setting.lipschitz * 4.0)
        curvature = one.setting.smoothness + alpha * one.setting.lipschitz**2
        x = minimize_smoothed(one.problem, np.asarray(alpha), np.array([curvature]), x, length)
    np.testing.assert_allclose(result.last, x, atol=1e-13)


@pytest.mark.parametrize("factor", [0.1, 1.0, 100.0, 1e6])
def test_weights_that_have_seen_the_risks_allow_any_rate(factor):
    whole = case("max-linear")
    setting = whole.setting(50)
    rate = factor / setting.loss_bound
    result = group_dro(whole.problem, setting, whole.start, weights_first=True, weight_rate=rate)
    gap = whole.gap(result.average)[1]
    assert np.all(gap <= bounds.group_dro_weights_first(setting, rate))


def test_mirror_prox_constant_is_an_eigenvalue_below_the_printed_sum():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tasks = int(rng.integers(1, 50))
        radius, lipschitz, smoothness = rng.lognormal(size=3)
        setting = Setting(tasks, 7, radius, lipschitz, smoothness=smoothness)
        curved = smoothness * radius**2
        steep = lipschitz * radius * np.sqrt(2 * np.log(max(tasks, 2)))
        largest = np.max(np.linalg.eigvalsh([[curved, steep], [steep, 0.0]]))
        assert bounds.mirror_prox_constant(setting) == pytest.approx(largest, rel=1e-12)
        assert bounds.mirror_prox(setting) <= (curved + steep) / 7 * (1 + 1e-12)
        if tasks > 1:
            # the constant 3/2 of the norm with log T
            printed = 1.5 * (curved + lipschitz * radius * np.sqrt(np.log(tasks)))
            assert bounds.mirror_prox(setting) <= printed / 7


@pytest.mark.parametrize("family", ["quadratic", "logistic", "ill-conditioned", "Huber"])
def test_prox_linear_never_rises_and_knows_its_gap(family):
    one = single(family, 15)
    history = one.run(SOLVERS["prox-linear"], tuple(range(1, 15))).history
    values = [worst(one, one.start), *(worst(one, c.last) for c in history)]
    assert np.all(np.diff(values) <= 1e-9)
    bounds_found = [float(c.lower_bound) for c in history]
    assert np.all(np.diff(bounds_found) >= 0)
    assert bounds_found[-1] <= one.target


def test_level_bundle_stops_at_its_resolution():
    one = single("max-linear", 200)
    final = one.run(SOLVERS["level bundle"]).final
    assert final.step < 40
    width = worst(one, final.best) - float(final.lower_bound)
    assert 0 <= width <= 1e-8 * one.setting.diameter * one.setting.lipschitz * (1 + 1e-6)
    assert final.backward_passes == final.step * 4


@pytest.mark.parametrize("family", ["absolute", "quadratic", "near-ties"])
def test_level_bundle_brackets_the_optimum_ever_closer(family):
    one = single(family, 15)
    history = one.run(SOLVERS["level bundle"], tuple(range(1, 15))).history
    lower = np.array([float(c.lower_bound) for c in history])
    upper = np.array([worst(one, c.best) for c in history])
    best = certify(one.problem)
    assert np.all(lower <= best.upper)
    assert np.all(upper >= best.lower)
    assert np.all(np.diff(lower) >= 0)
    assert np.all(np.diff(upper) <= 0)
    assert np.all(
        upper - lower <= [4 * 2 * one.setting.lipschitz / np.sqrt(c.step) for c in history]
    )


def test_mgda_stays_at_every_pareto_point_and_the_maximum_does_not_matter():
    """Two tasks |x - c|^2/2 on a line: every point between the minimisers is stationary."""
    centers = np.array([[-1.0], [1.0]])
    problem = DiagonalQuadratic(Ball.of(np.zeros(1), 2.0), np.ones((2, 1)), centers)
    setting = Setting(2, 10, 1.0, 3.0, smoothness=1.0)
    for x in (-1.0, -0.7, 0.0, 0.4, 1.0):
        assert mgda(problem, setting, np.array([x])).last == pytest.approx(x, abs=1e-15)
    # from outside it stops at the nearest of them, the minimiser of one task: F = 2, F* = 1/2
    end = mgda(problem, setting, np.array([1.8])).last
    assert end == pytest.approx(1.0)
    assert np.max(problem.losses(end)) == pytest.approx(2.0)


def test_mgda_step_at_the_boundary_is_the_constrained_one():
    problem = DiagonalQuadratic(
        Ball.of(np.zeros(2), 1.0), np.full((2, 2), 0.1), np.array([[-1.0, 0.0], [-0.9, 0.1]])
    )
    setting = Setting(2, 1, 1.0, 1.0, smoothness=0.01)  # too long a step on purpose
    start = np.array([0.6, 0.7])
    end = mgda(problem, setting, start).last
    assert np.linalg.norm(end) == pytest.approx(1.0)
    gradients = jacobian(problem, start)

    def objective(x):
        return np.max(gradients @ (x - start)) + 0.005 * np.sum((x - start) ** 2)

    angles = np.linspace(0, 2 * np.pi, 3_000)
    around = [objective(np.array([np.cos(a), np.sin(a)])) for a in angles]
    assert objective(end) <= min(around) + 1e-6


def test_mgda_refuses_linear_tasks():
    one = single("max-linear", 3)
    with pytest.raises(ValueError, match="no step size for linear"):
        one.run(SOLVERS["MGDA"])


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
@pytest.mark.parametrize("family", ["max-linear", "quadratic", "logistic"])
def test_epigraph_reaches_and_certifies_the_optimum(method, family):
    one = single(family, 400)
    result = epigraph(one.problem, one.setting, one.start, method=method)
    unit = one.setting.radius * one.setting.lipschitz
    assert worst(one, result.last) - one.target <= 1e-5 * unit
    assert worst(one, result.last) - float(result.lower_bound) <= 1e-3 * unit
    assert float(result.lower_bound) <= one.target + 1e-12


def test_average_descent_steps_by_the_smoothness_where_there_is_one():
    one = single("quadratic", 1)
    mean = np.full(4, 0.25)
    gradient = one.problem.weighted_gradient(one.start, mean)
    for smoothness, size in (
        (one.setting.smoothness, 1 / one.setting.smoothness),
        (0.0, one.setting.radius / one.setting.lipschitz),
        (np.inf, one.setting.radius / one.setting.lipschitz),
    ):
        setting = replace(one.setting, smoothness=smoothness)
        end = average_descent(one.problem, setting, one.start).last
        np.testing.assert_allclose(end, one.problem.domain.project(one.start - size * gradient))


def test_bounds_by_hand():
    setting = Setting(5, 16, 3.0, 2.0, loss_bound=8.0, smoothness=0.5, diameter=4.0)
    descent = 3.0 * 2.0 / 4
    assert bounds.group_dro(setting) == pytest.approx(descent + 8 * np.sqrt(np.log(5) / 32))
    assert bounds.group_dro_weights_first(setting, 0.1) == pytest.approx(descent + np.log(5) / 1.6)
    # vertices are sqrt(4/5) from the centre, half the range of five losses is 4 sqrt 5 long
    ascent = np.sqrt(4 / 5) * 4 * np.sqrt(5) / 4
    assert bounds.gradient_descent_ascent(setting) == pytest.approx(descent + ascent)
    assert bounds.gradient_descent(setting) == pytest.approx(0.5 * 9 / 32)
    assert bounds.level_bundle(setting) == pytest.approx(2 * 4 * 2 / 4)
